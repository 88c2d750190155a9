"""Answers requests for the timeline of a run that goes on.

[shell]  The loop's thread notes the batches for the store, but only while a panel shows the timeline; so a run whose
timeline nobody looks at pays nothing.  The store's thread makes and keeps the history, and draws the pictures from it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.monitoring.timeline.picture import Known, picture_of
from parslab.monitoring.timeline.places import workers_of
from parslab.monitoring.timeline.reading import add_batch, history_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from parslab.monitoring.store.batch import Batch
    from parslab.monitoring.timeline.history import WorkHistory
    from parslab.records.panel import Timeline, TimelineRequest

__all__ = ["KEEP", "MAX_NOTED", "TimelineService", "timeline"]

KEEP = 60.0
"""Seconds after the last request for which the history stays in memory: about 60 bytes for each attempt."""

MAX_NOTED = 200_000
"""Most rows that wait for the next request; beyond them, it reads the whole history again."""


class _Kept:
    """A history; only the store's thread touches it."""

    __slots__ = ("history",)

    def __init__(self) -> None:
        self.history: WorkHistory | None = None


class TimelineService:
    """The timeline of one run; the loop's thread calls its methods."""

    def __init__(self) -> None:
        self._asked = 0.0
        self._kept: _Kept | None = None
        """None until a panel asks, and after the history has become outdated."""
        self._noted: list[Batch] = []
        self._rows = 0

    def note(self, batch: Batch, now: float) -> None:
        """Keep the changes of a batch for the next answer."""
        if self._kept is None:
            return
        self._noted.append(batch)
        self._rows += len(batch.tasks)
        # Rows of tasks that had left memory do not say all that the history needs.
        if now > self._asked + KEEP or batch.reopened or batch.recovered or self._rows > MAX_NOTED:
            self._kept, self._noted, self._rows = None, [], 0

    def ask(self, now: float) -> Callable[[sqlite3.Connection, TimelineRequest], Timeline]:
        """Return the function that answers a request that arrives now; the store's thread calls it."""
        self._asked = now
        if self._kept is None:
            self._kept = _Kept()
        batches, self._noted, self._rows = self._noted, [], 0
        return partial(_answer, self._kept, batches)


def _answer(kept: _Kept, batches: list[Batch], connection: sqlite3.Connection, request: TimelineRequest) -> Timeline:
    history, kept.history = kept.history, None  # an error must not leave a part of the changes
    if history is None:
        history = history_of(connection)  # has the batches, too
    else:
        for batch in batches:
            add_batch(history, batch)
    kept.history = history
    return picture_of(history, _known(connection, steady_time()), request)


def timeline(connection: sqlite3.Connection, request: TimelineRequest, now: float) -> Timeline:
    """Answer one request from the database of a run that goes on or has ended.

    Parameters
    ----------
    connection
        The database.
    request
        The request.
    now
        The present time, which counts for a run that has not ended.
    """
    return picture_of(history_of(connection), _known(connection, now), request)


def _known(connection: sqlite3.Connection, now: float) -> Known:
    row = connection.execute("SELECT started, ended FROM run").fetchone()
    started, ended = row or (now, None)
    workers, managers = workers_of(connection)
    return Known(origin=started, now=now if ended is None else ended, workers=workers, managers=managers)
