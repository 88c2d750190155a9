"""The style of projects that extend Parsl: a launcher, a provider and an executor of their own."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor as Threads

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.executors.base import ParslExecutor
from parsl.jobs.states import JobState, JobStatus
from parsl.launchers.base import Launcher
from parsl.providers import LocalProvider
from parsl.providers.base import ExecutionProvider
from parsl.utils import RepresentationMixin


class MarkingLauncher(Launcher):
    def __init__(self, mark, debug=True):
        super().__init__(debug=debug)
        self.mark = mark

    def __call__(self, command, tasks_per_node, nodes_per_block):
        return f"export LAUNCHED_BY={self.mark}-{tasks_per_node}-{nodes_per_block}\nbash -c '{command}'"


class PlainProvider(ExecutionProvider, RepresentationMixin):
    def __init__(self, init_blocks=1, min_blocks=0, max_blocks=1):
        self.init_blocks, self.min_blocks, self.max_blocks = init_blocks, min_blocks, max_blocks
        self.nodes_per_block, self.parallelism = 1, 1
        self.script_dir = None
        self.processes = {}

    @property
    def label(self):
        return "plain"

    @property
    def status_polling_interval(self):
        return 1

    def submit(self, command, tasks_per_node, job_name="parsl.auto"):
        print("a provider may print")
        with open(os.path.join(self.script_dir, f"{job_name}.out"), "w") as out:
            process = subprocess.Popen(["bash", "-c", f"export PROVIDED_BY=plain; {command}"], stdout=out, stderr=out)
        self.processes[process.pid] = process
        return process.pid

    def status(self, job_ids):
        return [self._status(job_id) for job_id in job_ids]

    def _status(self, job_id):
        code = self.processes[job_id].poll()
        if code is None:
            return JobStatus(JobState.RUNNING)
        return JobStatus(JobState.COMPLETED if code == 0 else JobState.FAILED, exit_code=code)

    def cancel(self, job_ids):
        for job_id in job_ids:
            self.processes[job_id].terminate()
            self.processes[job_id].wait()
        return [True for _ in job_ids]


class CountingExecutor(ParslExecutor):
    def __init__(self, label="counting"):
        super().__init__()
        self.label = label
        self.events = []

    def start(self):
        self.threads = Threads(2)
        self.events.append("start")

    def submit(self, func, resource_specification, *args, **kwargs):
        self.events.append(dict(resource_specification))
        return self.threads.submit(func, *args, **kwargs)

    def shutdown(self):
        self.threads.shutdown()
        self.events.append("shutdown")


@parsl.python_app(executors=["launched"])
def launched_by():
    return os.environ["LAUNCHED_BY"]


@parsl.python_app(executors=["provided"])
def provided_by():
    return os.environ["PROVIDED_BY"]


@parsl.python_app(executors=["counting"])
def here(x):
    if x == 13:
        raise ValueError("unlucky")
    return os.getpid(), x


@parsl.bash_app(executors=["counting"])
def touch(path):
    return f"touch {path}"


counting = CountingExecutor()
config = Config(
    executors=[
        HighThroughputExecutor(label="launched", max_workers=1, provider=LocalProvider(launcher=MarkingLauncher("me"))),
        HighThroughputExecutor(label="provided", max_workers=1, provider=PlainProvider()),
        counting,
    ],
    strategy=None,
)
with parsl.load(config):
    assert launched_by().result() == "me-1-1"
    assert provided_by().result() == "plain"
    first = here(1, parsl_resource_specification={"cores": 2})
    assert first.result() == (os.getpid(), 1)
    assert here(first[1]).result() == (os.getpid(), 1)
    assert str(here(13).exception()) == "unlucky"
    assert touch("touched").result() == 0
    assert os.path.exists("touched")
assert counting.events[0] == "start"
assert counting.events[1] == {"cores": 2}
assert counting.events[-1] == "shutdown"
print("done")
