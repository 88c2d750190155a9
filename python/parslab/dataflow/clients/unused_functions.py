"""Removes functions that no client and no task needs, from this process and from the workers [shell]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.operations.retry_plan import functions_needed
from parslab.wire.messages.base import ForgetFunctions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.host import ExecutorPool

__all__ = ["UnusedFunctions"]


class UnusedFunctions:
    """The functions that no client holds, until no task needs them.

    Parameters
    ----------
    functions, table, pools
        The functions, the tasks and the executors of the run.
    """

    def __init__(self, functions: FunctionRegistry, table: TaskTable, pools: Mapping[int, ExecutorPool]) -> None:
        self._functions = functions
        self._table = table
        self._pools = pools
        self._candidates: set[int] = set()
        self._checked_at = (0, 0)
        """The numbers of ended and of all tasks at the last check; a check is needed only if they have changed."""

    def drop(self, fn: int) -> None:
        """Note that a client will not call this function again."""
        if self._functions.drop(fn):
            self._candidates.add(fn)
            self._checked_at = (-1, -1)

    def add(self, fn: int) -> None:
        """No client holds this function: it is removed when no task needs it."""
        self._candidates.add(fn)

    def remove(self) -> None:
        """Remove the functions that no task needs (every few seconds)."""
        table = self._table
        now = table.ended, len(table.tasks)
        if not self._candidates or now == self._checked_at:
            return
        self._checked_at = now
        # This walks through all unfinished tasks, so it runs in housekeeping and not with each task that ends.
        needed = functions_needed(table)
        for fn in self._candidates - needed:
            self._functions.forget(fn)
            for pool in self._pools.values():
                pool.forget_code(fn, ForgetFunctions([fn]))
        self._candidates &= needed
