"""Interrupts of the user's thread: work goes on, the next call works, nothing is lost or mixed up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest

from parslab import python_app
from parslab.wire import shared_memory
from tests.process.random_interrupts import interrupt_at_random
from tests.process.sandbox import Sandbox, sandbox_processes, until, within

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@python_app
def plus(x: int) -> int:
    return x + 1


@python_app
def total(array: Any) -> float:
    return float(array.sum())


@python_app
def waits(gate: Path) -> int:
    """Until the test opens the gate."""
    while not gate.exists():
        time.sleep(0.01)
    return 7


def interrupted(call: Callable[[], Any], delay: float) -> bool:
    """Call with a SIGINT on its way; whether it was interrupted."""
    sent = threading.Event()

    def send() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        sent.set()

    timer = threading.Timer(delay, send)
    caught = False
    try:
        timer.start()
        call()
        while not sent.is_set():
            time.sleep(0.001)
        time.sleep(0.01)
    except KeyboardInterrupt:
        caught = True
    timer.join()
    return caught


@pytest.mark.usefixtures("shared")
def test_result_is_interrupted_at_once_and_work_goes_on(tmp_path: Path) -> None:
    future = waits(tmp_path / "gate")
    with within(1):
        assert interrupted(future.result, 0.2)
    assert not future.done()
    assert plus(1).result() == 2
    (tmp_path / "gate").touch()
    assert future.result(10) == 7


@pytest.mark.usefixtures("shared")
def test_a_hundred_interrupts_in_a_row_lose_nothing(tmp_path: Path) -> None:
    future = waits(tmp_path / "gate")
    for n in range(100):
        assert interrupted(future.result, 0.002), n
        if n % 10 == 0:
            assert plus(n).result(10) == n + 1
    (tmp_path / "gate").touch()
    assert future.result(10) == 7


@pytest.fixture
def swallowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Interrupts that Python itself could not raise, as they came in a callback of its garbage collector."""
    found: list[str] = []
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            found.append(str(unraisable.object))
        else:
            report(unraisable)

    monkeypatch.setattr(sys, "unraisablehook", hook)
    return found


def test_calls_that_are_interrupted_while_they_are_made(shared: DataFlowKernel, swallowed: list[str]) -> None:
    """A cell that submits in a loop is interrupted in the middle of a call: later calls and earlier futures work."""
    futures: list[Any] = []

    def submit() -> None:
        lost = len(swallowed)
        for _ in range(200_000):
            n = len(futures)
            futures.append(plus(n))
            if len(swallowed) > lost:  # no interrupt is on its way any more
                return

    hits = sum(interrupted(submit, 0.02 + 0.001 * (n % 7)) for n in range(25))
    assert hits + len(swallowed) >= 25
    assert hits > 20
    assert plus(1).result(10) == 2
    assert [future.result(30) for future in futures] == list(range(1, len(futures) + 1))
    until(lambda: not shared.unfinished, 10)


@pytest.mark.usefixtures("shared")
def test_large_arguments_that_are_interrupted_on_their_way() -> None:
    array = np.ones(40_000_000, dtype=np.uint8)
    hits = 0
    for n in range(20):
        hits += interrupted(lambda: [total(array) for _ in range(5)], 0.005 + 0.004 * n)
        array[:] = 1
        assert total(array).result(10) == 40_000_000
    assert hits > 3
    assert plus(1).result(5) == 2


def test_an_array_may_be_changed_after_an_interrupted_call(
    shared: DataFlowKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not sent yet of an interrupted call is kept as it was."""
    monkeypatch.setattr(shared_memory, "most_frames", lambda: -1)  # a block would leave at once, as one byte
    array = np.ones(100_000_000, dtype=np.uint8)
    os.kill(shared.pid, signal.SIGSTOP)  # nothing is read now, so the call hangs in the middle
    try:
        got: list[Any] = []
        assert interrupted(lambda: got.append(total(array)), 0.3)
    finally:
        array[:] = 9
        os.kill(shared.pid, signal.SIGCONT)
    assert plus(1).result(10) == 2


def test_questions_and_cancelling_are_interruptible(shared: DataFlowKernel) -> None:
    future = nap(60)
    until(future.running)
    os.kill(shared.pid, signal.SIGSTOP)
    try:
        with within(2):
            assert interrupted(future.logs, 0.3)
    finally:
        os.kill(shared.pid, signal.SIGCONT)
    assert future.logs() == ""
    assert future.cancel()
    assert plus(1).result(5) == 2


def test_waiting_for_everything_is_interruptible(shared: DataFlowKernel, tmp_path: Path) -> None:
    futures = [waits(tmp_path / "gate") for _ in range(4)]
    with within(1):
        assert interrupted(shared.wait_for_current_tasks, 0.2)
    (tmp_path / "gate").touch()
    assert [future.result(10) for future in futures] == [7] * 4


def test_workers_never_see_the_interrupt_of_the_terminal(shared: DataFlowKernel) -> None:
    """Ctrl-C goes to the foreground process group, of which neither workers nor the DataFlowKernel are members."""
    group = os.getpgrp()

    @python_app
    def where() -> tuple[int, int]:
        return os.getpgrp(), os.getsid(0)

    assert group not in where().result()
    assert os.getpgid(shared.pid) != group
    assert os.getsid(shared.pid) != os.getsid(0)


def test_an_interrupted_load_leaves_nothing(sandbox: Sandbox) -> None:
    source = """
        import random
        for n in range(25):
            timer = threading.Timer(0.002 + 0.012 * n, lambda: os.kill(os.getpid(), signal.SIGINT))
            dfk = None
            try:
                timer.start()
                dfk = load(1)
                time.sleep(0.5)
            except KeyboardInterrupt:
                pass
            timer.join()
            try:
                parslab.dfk()
            except parslab.errors.NoDataFlowKernelError:
                assert dfk is None
            else:
                parslab.dfk().cleanup()
            parslab.clear()
        emit(left=[t.name for t in threading.enumerate()])
        sys.stdin.readline()
    """
    with sandbox.script("import parslab.errors\n" + textwrap.dedent(source), stdin=subprocess.PIPE) as script:
        assert script.read_json(18)["left"] == ["MainThread"]
        until(lambda: len(sandbox_processes(sandbox.token)) == 1, 5, "only the script itself is there")
        assert script.popen.stdin is not None
        script.popen.stdin.close()
        assert script.wait() == 0


def test_an_interrupted_cleanup_ends_all_the_same(sandbox: Sandbox) -> None:
    source = """
        @python_app
        def nap(): time.sleep(60)
        for n in range(5):
            dfk = load(2)
            futures = [nap() for _ in range(100)]
            timer = threading.Timer(0.01 + 0.05 * n, lambda: os.kill(os.getpid(), signal.SIGINT))
            try:
                timer.start()
                dfk.cleanup()
                time.sleep(0.5)
            except KeyboardInterrupt:
                dfk.cleanup()
            assert dfk.lifecycle.process.popen.poll() is not None
            parslab.clear()
        emit(ok=True)
    """
    with sandbox.script(source) as script:
        assert script.read_json(15)["ok"]
        assert script.wait() == 0


def test_interrupts_at_random_moments_lose_nothing(sandbox: Sandbox) -> None:
    """`python -m tests.bench.interrupts` does it with 1,000 interrupts over 50,000 tasks."""
    result = interrupt_at_random(sandbox, tasks=2000, interrupts=100, patience=18)
    assert result["hits"] + result["swallowed"] == 100
    assert (result["died"], result["lost"], result["twice"], result["wrong"]) == ([], [], [], [])
    assert len(result["ways"]) == 7
