"""Ends of runs: what `with` does, how soon it is over, what becomes of the exit status, and that nothing is left."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import Config, LowLatencyExecutor, python_app
from parslab.client.process.launch import StartedRun
from tests.process.blocks import executor as blocks_executor
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, is_gone, until, within

if TYPE_CHECKING:
    from parslab.executors import Executor

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@python_app
def plus(x: int) -> int:
    return x + 1


def config(sandbox: Sandbox, mode: str = "cleanup", *more: Executor) -> Config:
    executors = [LowLatencyExecutor(workers=2), *more]
    return Config(executors=executors, run_dir=sandbox.runs, exit_mode=mode)


def test_cleanup_does_not_wait(sandbox: Sandbox) -> None:
    with parslab.load(config(sandbox)) as dfk:
        future = nap(60)
    assert future.cancelled()
    assert isinstance(dfk.lifecycle.process, StartedRun)
    assert dfk.lifecycle.process.popen.poll() == 0


def test_wait_waits_for_what_was_called(sandbox: Sandbox) -> None:
    with parslab.load(config(sandbox, "wait")):
        futures = [plus(nap(0.2)) for _ in range(5)]
    assert [future.result() for future in futures] == [1.2] * 5


def test_wait_does_not_wait_when_an_exception_passes(sandbox: Sandbox) -> None:
    dfk = parslab.load(config(sandbox, "wait"))
    future = nap(60)
    with within(10), pytest.raises(ZeroDivisionError), dfk:
        raise ZeroDivisionError
    assert future.cancelled()


def test_wait_ends_the_run_when_it_is_interrupted(sandbox: Sandbox) -> None:
    source = """
        @python_app
        def nap(): time.sleep(60)
        try:
            with parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=RUNS, exit_mode="wait")) as dfk:
                future = nap()
                while not future.running(): time.sleep(0.01)
                threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        except KeyboardInterrupt:
            emit(gone=dfk.lifecycle.process.popen.poll(), cancelled=future.cancelled())
    """
    with sandbox.script(source) as script:
        assert script.read_json() == {"gone": 0, "cancelled": True}
        assert script.wait() == 0


def test_skip_leaves_the_run_loaded(sandbox: Sandbox) -> None:
    with parslab.load(config(sandbox, "skip")) as dfk:
        future = nap(0.1)
    assert parslab.dfk() is dfk
    assert plus(future).result() == 1.1
    dfk.cleanup()


def test_a_second_cleanup_is_no_error(sandbox: Sandbox) -> None:
    with parslab.load(config(sandbox)) as dfk:
        dfk.cleanup()
        dfk.cleanup()


KINDS: dict[str, Any] = {"llex": lambda: LowLatencyExecutor(workers=2), "htex": lambda: blocks_executor(workers=2)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_unfinished_tasks_do_not_hold_the_end(sandbox: Sandbox, kind: str) -> None:
    dfk = parslab.load(Config(executors=[KINDS[kind]()], run_dir=sandbox.runs, strategy_period=0.2))
    try:
        futures = [nap(600) for _ in range(1000)]
        until(lambda: picture(dfk).overview.counts.get("running") == 2, 20, "all workers are busy")
        with within(2.0):
            dfk.cleanup()
        assert all(future.cancelled() for future in futures)
        until(is_gone(dfk.pid), 1)
        sandbox.assert_empty(1)
    finally:
        dfk.cleanup()
        parslab.clear()
