"""Keeps the newest notices of a run, and those that panels have not received yet.

[core]  The view owns the notices.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from parslab.monitoring.store.tables import StoredNotice
from parslab.monitoring.view.text import ERROR, clipped
from parslab.records.panel import Notice

if TYPE_CHECKING:
    from parslab.monitoring.store.batch import Batch
    from parslab.records.events import NoticeRaised

__all__ = ["MAX_NOTICES", "Notices"]

MAX_NOTICES = 100
"""Notices that are kept for a snapshot."""

_PER_PROCESS = 1 << 32
"""Numbers reserved for each DataFlowKernel process: more than the notices that it can raise."""


class Notices:
    """The newest notices, oldest first.

    Parameters
    ----------
    batch
        The batch that receives rows for the store.
    restarts
        How often the DataFlowKernel of this run was restarted.  The earlier processes wrote notices to the same
        database, so the numbers of this process begin after theirs.
    """

    __slots__ = ("_batch", "_number", "_unsent", "latest")

    def __init__(self, batch: Batch, restarts: int) -> None:
        self.latest: deque[Notice] = deque(maxlen=MAX_NOTICES)
        self._unsent: deque[Notice] = deque(maxlen=MAX_NOTICES)
        self._batch = batch
        self._number = restarts * _PER_PROCESS

    def raised(self, event: NoticeRaised) -> None:
        """Keep a notice."""
        notice = Notice(time=event.time, level=event.level, text=clipped(event.text, ERROR))
        self.latest.append(notice)
        self._unsent.append(notice)
        self._number += 1
        self._batch.notices.append(StoredNotice(n=self._number, time=notice.time, level=notice.level, text=notice.text))

    def take_unsent(self) -> list[Notice]:
        """Notices since the last call."""
        unsent = list(self._unsent)
        self._unsent.clear()
        return unsent
