"""A node that is reached over the network gets a large argument of many tasks once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parslab import python_app
from parslab.wire.shared_memory import shares_memory
from tests.process.blocks import blocks_run
from tests.process.sandbox import blocks_of, until

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox

pytestmark = pytest.mark.skipif(not shares_memory, reason="this system has no sealed shared memory")


def test_a_large_argument_of_many_tasks_crosses_the_network_once(sandbox: Sandbox) -> None:
    with blocks_run(sandbox, workers=2, address="127.0.0.1"):

        @python_app
        def model() -> Any:
            return np.arange(4_000_000)

        @python_app
        def used(model: Any, number: int) -> tuple[int, int, int, int]:
            address = model.__array_interface__["data"][0]
            with open("/proc/self/maps") as maps:
                for line in maps:
                    begin, end = (int(bound, 16) for bound in line.split()[0].split("-"))
                    if begin <= address < end:
                        return int(line.split()[4]), int(model[number]), os.getpid(), os.getppid()
            return -1, -1, 0, 0

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
