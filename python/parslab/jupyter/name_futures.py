"""The values that ``%%parsl`` cells assign, as futures in the notebook, and the values that the names had before.

A cell that is executed again must not wait for its own earlier task, nor fail because that task failed. So a future
remembers the value that its name had before, which takes its place in two cases: when the cell is executed again, and
when the cell ends without assigning the name. Used by ``celltask`` in the kernel's main thread.
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
"""Stands for the value of a name that has none."""


class NameFuture(ResultPart):
    """The value that a cell assigns to a name.

    Parameters
    ----------
    task
        The future of the cell.
    name
        The name.
    cell
        Tells the cell from others of the notebook; the same each time it is executed.
    certain
        Whether the cell assigns the name on every path.
    previous
        The value of the name before; ``MISSING``: it had none.
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
            return previous.result(seconds_until(deadline)) if isinstance(previous, Future) else previous
        self.previous = MISSING
        return value

    def lost(self) -> bool:
        """Whether the cell failed or was cancelled."""
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
        Whether to go back behind failed and cancelled executions only.
    """
    while isinstance(value, NameFuture) and value.cell == cell and (value.lost() or not only_lost):
        value = value.previous
    return value
