"""The style of executors that users write on Parsl's base for blocks: workers of their own, fed through a folder."""

import os
import sys
import threading
import time
from concurrent.futures import Future

import parsl
from parsl.config import Config
from parsl.executors.errors import BadStateException
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.error_handlers import simple_error_handler
from parsl.jobs.states import JobState
from parsl.providers import LocalProvider
from parsl.serialize import deserialize, pack_apply_message

WORKER = """
import os, pickle, sys, time
folder = sys.argv[1]
while not os.path.exists(os.path.join(folder, "stop")):
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith(".task"):
            try:
                os.rename(path, path + ".taken")
            except OSError:
                continue
            with open(path + ".taken", "rb") as file:
                function, args, kwargs = pickle.load(file)
            with open(path + ".new", "wb") as file:
                pickle.dump(function(*args, **kwargs), file)
            os.rename(path + ".new", path[: -len(".task")] + ".result")
    time.sleep(0.05)
"""


class FolderExecutor(BlockProviderExecutor):
    def __init__(self, label, provider, command=None):
        super().__init__(provider=provider, block_error_handler=simple_error_handler)
        self.label = label
        self.command = command
        self.ended = threading.Event()

    def start(self):
        super().start()
        self.folder = os.path.join(self.run_dir, self.label)
        os.makedirs(self.folder)
        with open(os.path.join(self.folder, "worker.py"), "w") as file:
            file.write(WORKER)
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def submit(self, func, resource_specification, *args, **kwargs):
        if self.bad_state_is_set:
            raise BadStateException(self.label, self.executor_exception)
        number = len(self._tasks)
        self._tasks[number] = future = Future()
        path = os.path.join(self.folder, f"{number}.new")
        with open(path, "wb") as file:
            file.write(pack_apply_message(func, args, kwargs))
        os.rename(path, os.path.join(self.folder, f"{number}.task"))
        return future

    def collect(self):
        while not self.ended.is_set():
            for number, future in list(self._tasks.items()):
                path = os.path.join(self.folder, f"{number}.result")
                if not future.done() and os.path.exists(path):
                    with open(path, "rb") as file:
                        future.set_result(deserialize(file.read()))
            time.sleep(0.05)

    def shutdown(self):
        open(os.path.join(self.folder, "stop"), "w").close()
        self.ended.set()
        self.thread.join()

    def outstanding(self):
        return sum(not future.done() for future in list(self._tasks.values()))

    @property
    def workers_per_node(self):
        return 1

    def _get_launch_command(self, block_id):
        return self.command or f"{sys.executable} {self.folder}/worker.py {self.folder}"


@parsl.python_app(executors=["folder"])
def square(x):
    import os

    return x * x, os.getpid()


@parsl.python_app(executors=["broken"])
def nobody_runs():
    return None


working = FolderExecutor("folder", LocalProvider(init_blocks=1, max_blocks=2))
broken = FolderExecutor("broken", LocalProvider(init_blocks=1), command="exit 3")
with parsl.load(Config(executors=[working, broken])):
    results = [future.result() for future in [square(n) for n in range(4)]]
    values, pids = [value for value, _ in results], [pid for _, pid in results]
    assert values == [0, 1, 4, 9] and os.getpid() not in pids
    assert working.status()["0"].state == JobState.RUNNING
    assert isinstance(nobody_runs().exception(), BadStateException)
    assert "exit status 3" in str(broken.executor_exception)
assert working.blocks_to_job_id == {}
print("done")
