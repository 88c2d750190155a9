"""The style of workflow libraries: executors of several kinds, resources per task, options set later, one log file."""

import logging
from pathlib import Path

import parsl
from parsl import File, NullHandler, bash_app, join_app, python_app
from parsl.app.futures import DataFuture
from parsl.config import Config
from parsl.dataflow.futures import AppFuture, Future
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor, WorkQueueExecutor
from parsl.executors.base import ParslExecutor
from parsl.launchers import SimpleLauncher
from parsl.providers import LocalProvider

assert logging.NullHandler is NullHandler
folder = Path.cwd() / "internal"
folder.mkdir()
parsl.set_file_logger(filename=str(folder / "parsl.log"), name="parsl", level=logging.INFO)


def patch_folders():
    import parsl.dataflow.dflow

    parsl.dataflow.dflow.make_rundir = lambda path: path


def executors():
    model = WorkQueueExecutor(
        label="model",
        working_dir=str(folder / "model"),
        provider=LocalProvider(launcher=SimpleLauncher(), init_blocks=0),
        shared_fs=True,
        port=0,
        worker_options="--parent-death --cores=2",
        worker_executable="work_queue_worker",
        scaling_cores_per_worker=2,
    )
    default = HighThroughputExecutor(
        label="default_htex",
        working_dir=str(folder / "default_htex"),
        cores_per_worker=1,
        max_workers_per_node=1,
        cpu_affinity="none",
        provider=LocalProvider(launcher=SimpleLauncher(), init_blocks=0),
    )
    threads = ThreadPoolExecutor("default_threads", 2, working_dir=str(folder))
    held = HighThroughputExecutor(label="held", provider=LocalProvider(max_blocks=0))
    return [model, default, threads, held]


@python_app(executors=["model"])
def evaluate(x, parsl_resource_specification={}):
    import os

    return x * x, os.getpid()


@bash_app(executors=["default_htex"])
def write(text, outputs=[]):
    return f"echo {text} > {outputs[0]}"


@python_app(executors=["default_threads"])
def read(inputs=[]):
    with open(inputs[0]) as file:
        return file.read()


@join_app
def evaluate_all(values):
    resources = {"cores": 1, "memory": 100, "disk": 100, "running_time_min": 1}
    return [evaluate(value, parsl_resource_specification=resources) for value in values]


def main():
    patch_folders()
    config = Config(executors=executors(), run_dir=str(folder), initialize_logging=False, max_idletime=20, retries=1)
    assert all(isinstance(executor, ParslExecutor) for executor in config.executors)
    config.executors[0].worker_debug = True
    with parsl.load(config):
        results = evaluate_all([1, 2, 3])
        assert isinstance(results, AppFuture) and isinstance(results, Future)
        assert [value for value, _ in results.result()] == [1, 4, 9]
        written = write("good", outputs=[File(str(folder / "text.txt"))])
        assert isinstance(written.outputs[0], DataFuture)
        assert read(inputs=[written.outputs[0]]).result() == "good\n"
        parsl.wait_for_current_tasks()
    print("done")


if __name__ == "__main__":
    main()
