"""Large values on one host go through shared memory, and nothing is copied twice."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest

from parslab import python_app
from parslab.wire.shared_memory import held_frames, shares_memory
from tests.process.sandbox import blocks_of, memory, rss, until

if TYPE_CHECKING:
    from pathlib import Path

    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.skipif(not shares_memory, reason="this system has no sealed shared memory")

MB = 1_000_000


def _made(log: Path, size: int, number: int) -> Any:
    with log.open("ab", 0) as file:
        file.write(b"made %d\n" % number)
    return np.full(size, number, dtype=np.uint8)


def _total(array: Any) -> int:
    return int(array.sum(dtype=np.int64))


made, total = python_app(_made), python_app(_total)


def test_a_task_gets_an_array_without_a_copy(shared: DataFlowKernel) -> None:
    @python_app
    def place_of(array: Any) -> tuple[str, bool]:
        address = array.__array_interface__["data"][0]
        with open("/proc/self/maps") as maps:
            for line in maps:
                begin, end = (int(bound, 16) for bound in line.split()[0].split("-"))
                if begin <= address < end:
                    return line.split(None, 5)[-1].strip(), bool(array.flags.writeable)
        return "nowhere", False

    place, writable = place_of(np.zeros(MB)).result()
    assert place.startswith("/memfd:parslab-value")
    assert writable


def test_an_array_goes_from_task_to_task_past_the_dataflowkernel(shared: DataFlowKernel, tmp_path: Path) -> None:
    @python_app
    def passed_on(array: Any) -> Any:
        return array

    future: Any = made(tmp_path / "log", 100 * MB, 7)
    until(future.done)
    base = rss(shared.pid)
    for _ in range(10):
        future = passed_on(future)
    assert total(future).result() == 700 * MB
    assert rss(shared.pid) - base < 20 * MB
    # All tasks of the chain have the same block: nothing was copied.
    assert memory(shared.pid) - base < 150 * MB


def test_the_memory_of_an_array_is_given_back(shared: DataFlowKernel) -> None:
    array = np.ones(20 * MB, dtype=np.uint8)
    futures = [total(array) for _ in range(5)]
    assert [future.result() for future in futures] == [20 * MB] * 5
    del futures
    gc.collect()
    until(lambda: not blocks_of(shared.pid), 60, "the DataFlowKernel lets go of the arguments")
    until(lambda: not held_frames(), 60, "and so does the client")


def test_an_argument_that_many_tasks_share_is_there_once(shared: DataFlowKernel, tmp_path: Path) -> None:
    """Each call copied it: five hundred calls with one model needed five hundred times its memory."""
    gate = tmp_path / "gate"

    @python_app
    def used(model: Any, number: int) -> tuple[int, int]:
        import time

        while not gate.exists():
            time.sleep(0.01)
        address = model.__array_interface__["data"][0]
        with open("/proc/self/maps") as maps:
            for line in maps:
                begin, end = (int(bound, 16) for bound in line.split()[0].split("-"))
                if begin <= address < end:
                    return int(line.split()[4]), int(model[number])
        return -1, -1

    model = np.arange(4 * MB, dtype=np.int32)
    futures = [used(model, number) for number in range(500)]
    until(lambda: len(blocks_of(shared.pid)) == 1, 60, "the DataFlowKernel has one block")
    until(lambda: len(held_frames()) == 1, 60, "and so has the client")
    before = model.copy()
    model[:] = -1
    changed = used(model, 7)
    gate.touch()
    found = [future.result() for future in futures]
    assert [value for _, value in found] == before[:500].tolist()
    assert len({inode for inode, _ in found}) == 1
    assert changed.result()[1] == -1
    del futures, changed
    gc.collect()
    until(lambda: not blocks_of(shared.pid), 60, "the DataFlowKernel lets go of the arguments")
    until(lambda: not held_frames(), 60, "and so does the client")


def test_more_values_than_descriptors(shared: DataFlowKernel) -> None:
    """A process that holds many values copies the others, before the system refuses descriptors."""

    @python_app
    def sizes(arrays: list[Any]) -> int:
        return sum(array.nbytes for array in arrays)

    @python_app
    def small(number: int) -> Any:
        return np.full(70_000, number % 250, dtype=np.uint8)

    futures = [small(number) for number in range(1500)]
    assert sizes(futures).result() == 1500 * 70_000
    assert [int(future.result()[0]) for future in futures] == [number % 250 for number in range(1500)]
    # Results in a notebook need no descriptor.
    assert len(os.listdir("/proc/self/fd")) < 300


def test_tasks_that_free_memory_run_first(shared: DataFlowKernel, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @python_app
    def leaf(number: int) -> Any:
        import time

        time.sleep(0.02)
        return _made(log, 200_000, number)

    @python_app
    def add(one: Any, other: Any) -> int:
        with log.open("ab", 0) as file:
            file.write(b"added\n")
        return int(one[0]) + int(other[0])

    leaves = [leaf(number) for number in range(40)]
    sums = [add(*leaves[at : at + 2]) for at in range(0, 40, 2)]
    assert sum(one.result() for one in sums) == sum(range(40))
    order = log.read_text().splitlines()
    last_leaf = max(at for at, line in enumerate(order) if line.startswith("made"))
    assert order[:last_leaf].count("added") > 5, "sums wait behind all leaves"
