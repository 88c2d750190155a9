"""Define the futures that a ``%%parsl`` cell binds to its names, each with the value that the name had before.

A cell that is executed again must not wait for its own earlier task, nor fail because that task failed. So a future
keeps the value that its name had before. That value is used in two cases: when the cell is executed again, and when the
cell ends without assigning the name. ``celltask`` uses this module in the kernel's main thread.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parslab.bodies.cell import NotAssignedError
from parslab.client.futures.base import seconds_until
from parslab.client.futures.derived import ResultPart

if TYPE_CHECKING:
    from collections.abc import Hashable

    from parslab.client.futures.base import TaskFuture

__all__ = ["MISSING", "NameFuture", "value_before"]

MISSING: Any = object()
"""The value of a name that has none; None would be a value of the user."""


class NameFuture(ResultPart):
    """The value that a cell assigns to a name.

    Parameters
    ----------
    task
        The future of the cell.
    name
        The name.
    cell
        Identifies the cell in the notebook; every execution of the cell has the same.
    certain
        Whether the cell assigns the name on every path.
    previous
        The value of the name before, or ``MISSING`` if it had none.
    """

    def __init__(self, task: TaskFuture, name: str, *, cell: Hashable, certain: bool, previous: Any) -> None:
        self.cell = cell
        self.previous = previous
        self._certain = certain
        super().__init__(task, (name,))

    def _parent_done(self, parent: TaskFuture) -> None:
        if self._certain and not parent.has_failed() and not parent.cancelled():
            self.previous = MISSING  # nobody needs it any more, and it may be large
        super()._parent_done(parent)

    def value_by(self, deadline: float | None) -> Any:
        try:
            value = super().value_by(deadline)
        except NotAssignedError:
            previous = self.previous
            if previous is MISSING:
                raise
            # Within the same deadline, because the caller gave one limit for both.
            return previous.result(seconds_until(deadline)) if isinstance(previous, Future) else previous
        self.previous = MISSING
        return value

    def lost(self) -> bool:
        """Return whether the cell failed or was cancelled."""
        return self.done() and (self.cancelled() or self.has_failed())


def value_before(value: Any, cell: Hashable, only_lost: bool) -> Any:
    """Return the value that a name had before earlier executions of this cell; ``MISSING`` if it had none.

    Parameters
    ----------
    value
        The value of the name now.
    cell
        The cell, as in :class:`NameFuture`.
    only_lost
        Whether to skip only failed and cancelled executions.
    """
    while isinstance(value, NameFuture) and value.cell == cell and (value.lost() or not only_lost):
        value = value.previous
    return value
