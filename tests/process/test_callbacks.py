"""Callbacks of futures that wait for other tasks: they get their results, and keep no other future from its end."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import as_completed, wait
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from parslab import python_app
from tests.process.sandbox import patience, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from parslab import AppFuture, DataFlowKernel
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app
def plus(x: int) -> int:
    return x + 1


@python_app
def held(x: int, path: Path) -> int:
    """Return ``x`` when the file exists."""
    while not path.exists():
        time.sleep(0.005)
    return x


class Gate:
    """Tasks that end when the test opens the gate, so that callbacks run in the link's thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        self.received: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def task(self, x: int, callback: Callable[[AppFuture], Any]) -> AppFuture:
        """Start a task; what the callback returns or raises is received when the gate is open."""

        def call(done: AppFuture) -> None:
            try:
                self.received.put(callback(done))
            except BaseException as error:
                self.received.put(error)

        future = held(x, self.path)
        future.add_done_callback(call)
        return future

    def open(self) -> None:
        self.path.touch()

    def receive(self) -> Any:
        return self.received.get(timeout=30 * patience())


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture
def run(sandbox: Sandbox) -> Iterator[DataFlowKernel]:
    with sandbox.load(workers=2) as dfk:
        yield dfk


def result(future: Any) -> Any:
    return future.result(30 * patience())


def link_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "parslab-link"]


def test_a_callback_may_wait_for_another_task(run: DataFlowKernel, gate: Gate) -> None:
    """It blocked the thread that would have brought the result, and with it all futures of the process."""
    before = len(link_threads())
    future = gate.task(1, lambda done: result(plus(result(done))))
    gate.open()
    assert [result(plus(n)) for n in range(20)] == list(range(1, 21))
    assert gate.receive() == 2
    assert result(future) == 1
    until(lambda: len(link_threads()) == before)


def test_callbacks_of_callbacks_may_wait(run: DataFlowKernel, gate: Gate, tmp_path: Path) -> None:
    second, third = Gate(tmp_path / "2"), Gate(tmp_path / "3")
    for folder in ("2", "3"):
        (tmp_path / folder).mkdir()

    def innermost(done: AppFuture) -> Any:
        return result(plus(result(done)))

    def inner(done: AppFuture) -> Any:
        future = third.task(result(done) + 10, innermost)
        third.open()
        return result(plus(result(future)))

    def outer(done: AppFuture) -> Any:
        future = second.task(result(done) + 10, inner)
        second.open()
        return result(plus(result(future)))

    gate.task(0, outer)
    gate.open()
    assert (gate.receive(), second.receive(), third.receive()) == (11, 21, 21)


def test_many_callbacks_wait_at_once(run: DataFlowKernel, gate: Gate) -> None:
    first = gate.task(0, lambda done: [result(future) for future in futures])
    futures = [first, *(gate.task(n, lambda done: result(plus(result(done)))) for n in range(1, 40))]
    gate.open()
    received = [gate.receive() for _ in futures]
    assert list(range(40)) in received
    assert sorted(answer for answer in received if isinstance(answer, int)) == list(range(2, 41))


@pytest.mark.parametrize("way", ["as_completed", "wait", "asyncio", "exception"])
def test_each_way_to_wait_works_in_a_callback(run: DataFlowKernel, gate: Gate, way: str) -> None:
    def callback(done: AppFuture) -> list[int]:
        futures: list[Any] = [plus(n) for n in range(5)]
        if way == "as_completed":
            return sorted(future.result() for future in as_completed(futures, 30 * patience()))
        if way == "wait":
            return sorted(future.result() for future in wait(futures, 30 * patience()).done)
        if way == "exception":
            return [future.result() for future in futures if future.exception(30 * patience()) is None]

        async def gathered() -> list[int]:
            return list(await asyncio.wait_for(asyncio.gather(*futures), 30 * patience()))

        return asyncio.run(gathered())

    gate.task(0, callback)
    gate.open()
    assert gate.receive() == [1, 2, 3, 4, 5]


def test_a_loop_is_woken_while_a_callback_waits(run: DataFlowKernel, gate: Gate, tmp_path: Path) -> None:
    last = tmp_path / "last"

    async def main() -> int:
        gate.task(0, lambda done: result(held(7, last)))
        gate.open()
        wrapped = await asyncio.wait_for(asyncio.wrap_future(plus(2)), 30 * patience())
        awaited: int = await plus(wrapped)
        last.touch()
        return awaited

    assert asyncio.run(main()) == 4
    assert gate.receive() == 7


def test_a_callback_waits_while_its_run_gets_another_dataflowkernel(
    run: DataFlowKernel, gate: Gate, tmp_path: Path
) -> None:
    last = tmp_path / "last"
    waits = threading.Event()

    def callback(done: AppFuture) -> int:
        future = held(7, last)
        waits.set()
        return int(result(future))

    gate.task(0, callback)
    gate.open()
    assert waits.wait(30 * patience())
    assert result(plus(1)) == 2
    os.kill(run.pid, signal.SIGKILL)
    assert result(plus(2)) == 3
    last.touch()
    assert gate.receive() == 7


def test_a_run_may_end_while_a_callback_waits(sandbox: Sandbox, gate: Gate, tmp_path: Path) -> None:
    with sandbox.load(workers=2):
        waits = threading.Event()

        def callback(done: AppFuture) -> Any:
            future = held(7, tmp_path / "never")
            waits.set()
            return result(future)

        gate.task(0, callback)
        gate.open()
        assert waits.wait(30 * patience())
    assert isinstance(gate.receive(), Exception)
    until(lambda: not link_threads())
