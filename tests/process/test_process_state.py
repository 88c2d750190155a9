"""What a task changes in the process of its worker: the next task on that worker does not inherit it."""

from __future__ import annotations

import contextlib
import faulthandler
import locale
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from parslab import bash_app, python_app
from parslab.remote.worker.process_state import PERIOD
from tests.process.blocks import blocks_run
from tests.process.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])


PAUSE = 2 * PERIOD
"""Seconds of a task after which the worker looks at the whole state, although nobody has called a wrapper."""
EXECUTORS = ("low_latency", "high_throughput")


@python_app
def do(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


@bash_app
def touch(name: str, outputs: Any = ()) -> str:
    return f"touch {name}"


def loaded(executor: str, sandbox: Sandbox) -> contextlib.AbstractContextManager[DataFlowKernel]:
    """A run with one worker."""
    return sandbox.load(workers=1) if executor == "low_latency" else blocks_run(sandbox, workers=1)


@pytest.fixture(scope="module", params=EXECUTORS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFlowKernel]:
    """A run with one worker for all tests of this module that leave it alive."""
    tmp_path_factory.getbasetemp()  # not in the sandbox, where temporary files go from now on
    with Sandbox().entered() as sandbox, loaded(request.param, sandbox) as dfk:
        do(os.getpid).result(60)  # the processes of the run must not count as left behind by the first test
        yield dfk


def umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


def variables() -> dict[str, str]:
    """The environment as Python shows it, and as a child process gets it."""
    text = subprocess.run(["env", "-0"], stdout=subprocess.PIPE, check=True).stdout.decode()
    return dict(os.environ) | {f"child: {pair.partition('=')[0]}": pair for pair in text.split("\0")}


def raise_it(*_: object) -> None:
    raise RuntimeError("the handler of another task ran")


def change_environment() -> None:
    del os.environ["HOME"]
    os.environ["PATH"] += ":/nowhere"
    os.environ.update(PARSLAB_TEST="1")
    os.putenv("PARSLAB_TEST_PUT", "2")


def change_environment_wrongly() -> None:
    """Variables that the system refuses must not count as changed: the worker could not restore them."""
    os.environ["PARSLAB_TEST"] = "1"
    for name in ("", "A=B", "NULL\0"):
        with contextlib.suppress(OSError, ValueError):
            os.environ[name] = "1"


def wake_up() -> None:
    _reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)


def leave_a_folder_that_is_gone() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)


def replace_environment() -> None:
    os.environ = {"PATH": os.environ["PATH"]}  # type: ignore[assignment]  # noqa: B003
    time.sleep(PAUSE)


def change_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))


def change_folder_in_c() -> None:
    import ctypes

    ctypes.CDLL(None).chdir(b"/")
    time.sleep(PAUSE)


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "working folder": (os.getcwd, lambda: os.chdir("/")),
    "working folder, fchdir": (os.getcwd, lambda: os.fchdir(os.open("/", os.O_RDONLY))),
    "working folder, C": (os.getcwd, change_folder_in_c),
    "working folder, removed": (os.getcwd, leave_a_folder_that_is_gone),
    "umask": (umask, lambda: os.umask(0o077)),
    "recursion limit": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(5000)),
    "handler": (lambda: str(signal.getsignal(signal.SIGUSR1)), lambda: signal.signal(signal.SIGUSR1, raise_it)),
    "handler of SIGINT": (
        lambda: getattr(signal.getsignal(signal.SIGINT), "__name__", ""),
        lambda: signal.signal(signal.SIGINT, raise_it),
    ),
    "wake-up": (lambda: signal.set_wakeup_fd(-1), wake_up),
    "mask": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGINT)),
    ),
    "timer": (lambda: signal.getitimer(signal.ITIMER_REAL), lambda: signal.setitimer(signal.ITIMER_REAL, 3600, 60)),
    "alarm": (lambda: signal.alarm(0), lambda: signal.alarm(3600)),
    "environment": (variables, change_environment),
    "environment, refused": (lambda: (variables(), os.getpid()), change_environment_wrongly),
    "environment, cleared": (variables, lambda: os.environ.clear()),
    "environment, replaced": (variables, replace_environment),
    "locale": (lambda: locale.setlocale(locale.LC_ALL), lambda: locale.setlocale(locale.LC_ALL, "C")),
    "resource limit": (lambda: resource.getrlimit(resource.RLIMIT_NOFILE), change_limit),
    "niceness": (lambda: os.nice(0), lambda: os.nice(1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_task_does_not_inherit_it(run: DataFlowKernel, name: str) -> None:
    """It did, for each of these."""
    look, change = CHANGES[name]
    before = do(look).result(30)
    do(lambda: (change(), None)[1]).result(10)  # a former handler cannot be pickled
    assert do(look).result(30) == before


@pytest.mark.parametrize("change", [lambda: os.chdir("/"), change_folder_in_c])
def test_a_bash_app_after_it_writes_where_it_should(run: DataFlowKernel, change: Callable[[], None]) -> None:
    """It wrote to the folder of the other task, and said 0."""
    folder = do(os.getcwd).result(30)
    do(change).result(10)
    name = f"written-{os.urandom(4).hex()}"
    assert touch(name, outputs=[os.path.join(folder, name)]).result(10) == 0
    os.remove(os.path.join(folder, name))


@pytest.mark.parametrize(("handler", "after"), [(signal.SIG_DFL, 2.0), (raise_it, 0.2), (raise_it, 0.0001)])
def test_a_timer_of_an_ended_task_hits_no_other_task(run: DataFlowKernel, handler: Any, after: float) -> None:
    """It killed the worker, or raised in the next task, or in the worker itself."""

    def leave() -> int:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, after, 0.001)
        return os.getpid()

    def rest() -> int:
        time.sleep(after + 0.2)
        return os.getpid()

    pid = do(os.getpid).result(30)
    error = do(leave).exception(10)
    assert error is None or isinstance(error, RuntimeError)  # the handler may run while the task still does
    assert do(rest).result(10) == pid


def test_a_watchdog_of_an_ended_task_kills_no_other_task(run: DataFlowKernel) -> None:
    """It ended the worker."""

    def leave() -> None:
        with open(os.devnull, "w") as file:
            faulthandler.dump_traceback_later(2.0, exit=True, file=file)

    def rest() -> int:
        time.sleep(2.2)
        return os.getpid()

    pid = do(os.getpid).result(30)
    do(leave).result(10)
    assert do(rest).result(10) == pid


def test_a_signal_that_waits_behind_the_mask_of_an_ended_task_kills_nobody(run: DataFlowKernel) -> None:
    def leave() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        signal.raise_signal(signal.SIGUSR1)
        return os.getpid()

    assert do(leave).result(30) == do(os.getpid).result(10)


def test_what_a_module_changes_while_it_is_imported_stays(
    run: DataFlowKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library sets variables and handlers once, and relies on them later."""
    name = f"library_{os.urandom(4).hex()}"
    (tmp_path / f"{name}.py").write_text(
        "import os, sys, signal\n"
        "os.environ['PARSLAB_LIBRARY'] = os.environ['PARSLAB_BOTH'] = 'set'\n"
        "sys.setrecursionlimit(4321)\n"
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def use() -> list[Any]:
        os.environ["PARSLAB_TASK"] = os.environ["PARSLAB_BOTH"] = "task"
        __import__(name)
        return look()

    def look() -> list[Any]:
        found: list[Any] = [os.environ.get(f"PARSLAB_{name}") for name in ("LIBRARY", "BOTH", "TASK")]
        return [*found, sys.getrecursionlimit(), signal.getsignal(signal.SIGUSR2)]

    assert do(use).result(30) == ["set", "set", "task", 4321, signal.SIG_IGN]
    assert do(look).result(10) == ["set", "set", None, 4321, signal.SIG_IGN]


def test_python_objects_stay(run: DataFlowKernel) -> None:
    def remember() -> None:
        sys.parslab_test_cache = 42  # type: ignore[attr-defined]

    do(remember).result(30)
    assert do(lambda: sys.parslab_test_cache).result(10) == 42  # type: ignore[attr-defined]


def test_the_functions_that_a_task_sees_are_those_of_python(run: DataFlowKernel) -> None:
    """They report their calls to the worker, and nobody notices the difference."""

    def look() -> list[Any]:
        import inspect
        import posix

        class Tool:
            change = os.chdir

        Tool().change(".")  # type: ignore[misc, call-arg]
        return [
            os.chdir is os.chdir is posix.chdir,
            os.chdir in os.supports_fd,
            list(inspect.signature(os.chdir).parameters),
            os.umask.__name__,
            os.chdir.__self__.__name__,  # type: ignore[attr-defined]
            pickle.dumps(os.chdir),
            callable(signal.setitimer),
        ]

    expected = [True, True, ["path"], "umask", "posix", pickle.dumps(os.chdir), True]
    assert do(look).result(30) == expected
