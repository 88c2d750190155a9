"""Holds the rows that the view hands to the store at one flush.

[core]  The parts of the view add rows to one :class:`Batch`.  The monitor takes its content and gives it to the store's
thread.  The store may write a batch twice after an error.  That has the effect of one write, except for ``printed``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parslab.monitoring.output import PrintedOutput
    from parslab.monitoring.store.tables import (
        Cells,
        StoredAttempt,
        StoredClient,
        StoredFailure,
        StoredNodeSample,
        StoredNotice,
        StoredPlacement,
        StoredUsage,
    )
    from parslab.records.panel import RunInfo

__all__ = ["Batch"]


@dataclass(slots=True)
class Batch:
    """Rows to write, by table.

    Tasks, edges, failure groups, workers, blocks and managers are cells, because the view changes their structs while
    the store's thread writes.  The other rows are structs, which nobody changes.
    """

    tasks: list[Cells] = field(default_factory=list)
    reopened: list[Cells] = field(default_factory=list)
    """Columns ``REOPENED`` and the id of tasks that had ended and are tried again."""
    recovered: list[Cells] = field(default_factory=list)
    """Tasks that ended under an earlier DataFlowKernel of the run; the database may have more complete rows of them."""
    adopted: list[tuple[str, int, int]] = field(default_factory=list)
    """Cell, client and id of finished tasks that a call of the next notebook kernel has adopted."""
    edges: list[tuple[int, int]] = field(default_factory=list)
    failures: list[StoredFailure] = field(default_factory=list)
    failure_groups: list[Cells] = field(default_factory=list)
    attempts: dict[tuple[int, int], StoredAttempt] = field(default_factory=dict)
    """By task and attempt."""
    printed: dict[tuple[int, str], PrintedOutput] = field(default_factory=dict)
    """By task and stream."""
    usage: dict[int, StoredUsage] = field(default_factory=dict)
    """By task."""
    placements: dict[int, StoredPlacement] = field(default_factory=dict)
    """By task."""
    workers: list[Cells] = field(default_factory=list)
    blocks: list[Cells] = field(default_factory=list)
    managers: list[Cells] = field(default_factory=list)
    node_samples: list[StoredNodeSample] = field(default_factory=list)
    clients: list[StoredClient] = field(default_factory=list)
    notices: list[StoredNotice] = field(default_factory=list)
    run: list[RunInfo] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _FIELDS)

    def take(self) -> Batch:
        """Return a new batch with the content of this one, and empty this one, which the parts of the view hold."""
        taken = Batch()
        for name in _FIELDS:
            if getattr(self, name):  # in most batches most fields are empty
                content, empty = getattr(self, name), getattr(taken, name)
                setattr(taken, name, content)
                setattr(self, name, empty)
        return taken


_FIELDS = tuple(each.name for each in fields(Batch))
