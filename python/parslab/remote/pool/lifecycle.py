"""The life of a worker as one table: (state, signal) -> state [core].

The pool sends the signals.  It updates idle and busy only when a report to monitoring is due, because an update for
every task would slow short tasks down.  An impossible pair is a mistake of parslab; its error names the worker.
"""

from __future__ import annotations

from enum import IntEnum

from parslab.records.states import WorkerState

__all__ = ["WORKER", "WorkerSignal"]


class WorkerSignal(IntEnum):
    """What can happen to a worker."""

    greeted = 1
    """It sent its hello: it is ready for tasks."""
    given = 2
    """It holds a task."""
    finished = 3
    """It holds no task any more."""
    died = 4
    """Its process ended, or its connection broke."""


S, T = WorkerState, WorkerSignal

WORKER: dict[tuple[WorkerState, WorkerSignal], WorkerState] = {
    # A starting worker may hold tasks already, but counts as busy only after its hello.
    (S.starting, T.greeted): S.idle,
    (S.starting, T.died): S.dead,
    (S.idle, T.given): S.busy,
    (S.idle, T.died): S.dead,
    (S.busy, T.finished): S.idle,
    (S.busy, T.died): S.dead,
}
