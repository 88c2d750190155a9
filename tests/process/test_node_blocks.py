"""A node that is reached over the network gets a large argument of many tasks once, and its own results never."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest

from parslab import python_app
from parslab.wire.shared_memory import shares_memory
from tests.process.blocks import blocks_run
from tests.process.sandbox import blocks_of, until

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.skipif(not shares_memory, reason="this system has no sealed shared memory")


def _used(model: Any, number: int) -> tuple[int, int, int, int]:
    """Return the inode of the memory of an array, one of its numbers, and the processes of worker and manager."""
    address = model.__array_interface__["data"][0]
    with open("/proc/self/maps") as maps:
        for line in maps:
            begin, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            if begin <= address < end:
                return int(line.split()[4]), int(model[number]), os.getpid(), os.getppid()
    return -1, -1, 0, 0


def test_a_large_argument_of_many_tasks_crosses_the_network_once(sandbox: Sandbox) -> None:
    with blocks_run(sandbox, workers=2, address="127.0.0.1"):

        @python_app
        def model() -> Any:
            return np.arange(4_000_000)

        used = python_app(_used)
        made = model()
        futures = [used(made, number) for number in range(100)]
        found = [future.result(60) for future in futures]
        assert [value for _, value, _, _ in found] == list(range(100))
        # Each time it came over the network the manager would have made another block of it.
        assert len({inode for inode, *_ in found}) == 1
        manager = found[0][3]
        assert len(blocks_of(manager)) == 1
        del made, futures
        until(lambda: not blocks_of(manager), 60, "the manager lets go of a block that nobody needs")


def test_a_large_result_is_there_for_the_next_task_of_its_node(sandbox: Sandbox) -> None:
    with blocks_run(sandbox, workers=2, address="127.0.0.1"):

        @python_app
        def more(array: Any) -> Any:
            return array + 1

        @python_app
        def manager_process() -> int:
            return os.getppid()

        used = python_app(_used)
        manager = manager_process().result(60)
        last = more(np.arange(1_000_000))
        for _ in range(5):
            last = more(last)
        assert last.result(60)[-1] == 1_000_005
        # Futures of the other tasks are gone, so their results go too; the last one was made on the node.
        until(lambda: len(blocks_of(manager)) == 1, 60, "the manager keeps the last result only")
        (kept,) = blocks_of(manager)
        inode, value, _, parent = used(last, 7).result(60)
        assert (value, parent) == (13, manager)
        # The memory that the first task has written: it has not come back over the network.
        assert inode == kept
        assert list(blocks_of(manager)) == [kept]
        del last
        until(lambda: not blocks_of(manager), 60, "the manager lets go of a result that nobody needs")
