"""The style of Parsl's second tutorial: several configurations, elasticity, caching, checkpoints, logs."""

import logging
import os

import parsl
from parsl import NullHandler, set_stream_logger
from parsl.addresses import address_by_hostname, address_by_interface
from parsl.app.app import bash_app, python_app
from parsl.channels import LocalChannel
from parsl.config import Config
from parsl.configs.htex_local import config as htex_local
from parsl.data_provider.data_manager import default_staging
from parsl.data_provider.files import File
from parsl.executors import HighThroughputExecutor
from parsl.executors.threads import ThreadPoolExecutor
from parsl.monitoring.monitoring import MonitoringHub
from parsl.providers import LocalProvider
from parsl.usage_tracking.levels import LEVEL_1
from parsl.utils import get_all_checkpoints


def one_worker(label, **options):
    executor = HighThroughputExecutor(
        label=label,
        worker_debug=True,
        max_workers=1,
        cores_per_worker=0.5,
        address=options.pop("address", None),
        provider=LocalProvider(channel=LocalChannel(), init_blocks=1, max_blocks=1, **options.pop("provider", {})),
    )
    return Config(executors=[executor], **options)


@bash_app(executors=["local_threads"])
def generate(outputs):
    return f"echo 7 &> {outputs[0].filepath}"


@bash_app(executors=["local_htex"])
def concat(inputs, outputs):
    return "cat {} > {}".format(" ".join(i.filepath for i in inputs), outputs[0].filepath)


@python_app
def total(inputs):
    with open(inputs[0]) as file:
        return sum(map(int, file))


@python_app
def pid():
    import os

    return os.getpid()


@python_app(cache=True)
def slow_double(x):
    with open("doubled.txt", "a") as file:
        file.write("x")
    return x * 2


@bash_app
def simulate(stdout=("output.txt", "w"), stderr=("errors.txt", "w")):
    """A task whose files are named by its signature."""
    return "echo simulated; echo warned >&2"


def end():
    parsl.dfk().cleanup()
    parsl.clear()


def several_sites():
    config = one_worker("local_htex")
    threads = ThreadPoolExecutor(
        max_threads=8, label="local_threads", working_dir=os.getcwd(), storage_access=[*default_staging]
    )
    parsl.load(Config(executors=[threads, *config.executors]))
    parts = [generate(outputs=[File(f"random-{number}.txt")]) for number in range(3)]
    joined = concat(inputs=[part.outputs[0] for part in parts], outputs=[File("all.txt")])
    assert total(inputs=[joined.outputs[0]]).result() == 21
    end()


def elastic():
    parsl.load(one_worker("elastic", provider={"parallelism": 0.1, "nodes_per_block": 1}))
    assert len({future.result() for future in [pid() for _ in range(5)]}) == 1
    end()


def checkpoints():
    parsl.load(one_worker("first", checkpoint_mode="task_exit", usage_tracking=LEVEL_1))
    assert [slow_double(n).result() for n in range(3)] == [0, 2, 4]
    end()
    parsl.load(one_worker("second", checkpoint_files=get_all_checkpoints()))
    assert [slow_double(n).result() for n in range(3)] == [0, 2, 4]
    end()
    with open("doubled.txt") as file:
        assert len(file.read()) == 3


def monitored():
    hub = MonitoringHub(hub_address=address_by_hostname(), hub_port=6553, resource_monitoring_interval=1)
    parsl.load(one_worker("monitored", monitoring=hub, address=address_by_interface("lo")))
    assert pid().result() != os.getpid()
    end()


def ready_made():
    remove = set_stream_logger(level=logging.ERROR)
    logging.getLogger("mine").addHandler(NullHandler())
    parsl.load(htex_local)
    assert simulate().result() == 0
    with open("output.txt") as file:
        assert file.read() == "simulated\n"
    remove()
    end()


if __name__ == "__main__":
    several_sites()
    elastic()
    checkpoints()
    monitored()
    ready_made()
    print("done")
