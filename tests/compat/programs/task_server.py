"""The style of task servers: a process of its own loads the run, and answers by callbacks."""

import os
import platform
import queue
from concurrent.futures import Future
from functools import partial, update_wrapper
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp

import parsl
from parsl.app.app import AppBase
from parsl.app.bash import BashApp
from parsl.app.python import PythonApp
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

FORK = get_context("fork")


class Method:
    """A function with a name, as task servers wrap those of their users."""

    def __init__(self, function):
        self.function = function
        update_wrapper(self, function)

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs), platform.node()


def add_one(x):
    return x + 1


def fails(x):
    raise MemoryError(f"no room for {x}")


def prepare(program, value):
    folder = Path(mkdtemp(dir=os.getcwd()))
    (folder / "input.txt").write_text(f"{value}\n")
    return folder


def command(program, folder, *, stdout, stderr, **resources):
    os.chdir(folder)
    return f"{program} < input.txt > output.txt"


def finish(program, exit_code, folder):
    return exit_code, (folder / "output.txt").read_text().strip()


def named(function, *args, name):
    made = partial(function, *args)
    made.__name__ = name
    return made


class TaskServer(FORK.Process):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.requests, self.results = FORK.Queue(), FORK.Queue()
        executors = [executor.label for executor in config.executors]
        self.apps: dict[str, AppBase] = {
            "add_one": PythonApp(Method(add_one), executors=executors),
            "fails": PythonApp(Method(fails), executors=executors),
            "prepare": PythonApp(named(prepare, "tac", name="tac_prepare"), executors=executors),
            "finish": PythonApp(named(finish, "tac", name="tac_finish"), executors=executors),
            "command": BashApp(named(command, "tac", name="tac_command"), executors=executors),
        }
        assert all(isinstance(app, AppBase) for app in self.apps.values())
        assert self.apps["prepare"].func.__name__ == "tac_prepare"

    def run(self):
        parsl.load(self.config)
        while (request := self.requests.get()) is not None:
            name, value = request
            if name == "program":
                first = self.apps["prepare"](value)
                first.add_done_callback(partial(self.second_step, name))
            else:
                self.apps[name](value).add_done_callback(partial(self.answer, name))
        kernel = parsl.dfk()
        kernel.wait_for_current_tasks()
        kernel.cleanup()
        parsl.clear()

    def second_step(self, name, first: Future):
        folder = first.result()
        out, err = str(folder / "program.out"), str(folder / "program.err")
        ran = self.apps["command"](folder, stdout=out, stderr=err, node_count=1, cpu_processes=1)
        self.apps["finish"](ran, folder).add_done_callback(partial(self.answer, name))

    def answer(self, name, future: Future):
        error = future.exception()
        self.results.put((name, None, repr(error)) if error is not None else (name, future.result(), None))


def main():
    provider = LocalProvider(init_blocks=1, max_blocks=1)
    config = Config(
        executors=[
            HighThroughputExecutor(address="127.0.0.1", label="htex", max_workers_per_node=1, provider=provider)
        ],
        strategy=None,
        run_dir="run",
    )
    server = TaskServer(config)
    server.start()
    for request in (("add_one", 1), ("fails", 2), ("program", "a line")):
        server.requests.put(request)
    answers = {}
    while len(answers) < 3:
        try:
            name, value, error = server.results.get(timeout=60)
        except queue.Empty:
            raise AssertionError(f"only {answers}") from None
        answers[name] = value, error
    server.requests.put(None)
    server.join()
    assert server.exitcode == 0
    assert answers["add_one"] == ((2, platform.node()), None)
    assert answers["fails"][1] == "MemoryError('no room for 2')"
    assert answers["program"] == ((0, "a line"), None)
    print("done")


if __name__ == "__main__":
    main()
