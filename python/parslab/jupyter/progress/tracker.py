"""Counts which futures of a set are done, without a callback on any of them.

A callback would cost the link's thread time for each task.  One thread uses a tracker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parslab.client.futures.base import BaseFuture
from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

__all__ = ["Counts", "Tracker"]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many futures are done; the failed and the cancelled ones are done, too."""

    total: int
    done: int
    failed: int = 0
    cancelled: int = 0

    @property
    def finished(self) -> bool:
        """Whether all futures are done."""
        return self.done >= self.total


class Tracker:
    """The futures of one progress display.

    It drops each future when that has a result.  It keeps those that failed or were cancelled, because a retry makes
    them unfinished again.

    Parameters
    ----------
    futures
        Futures of tasks or any other ``concurrent.futures.Future``; a future that occurs twice counts once.

    Raises
    ------
    ConfigurationError
        Something among them is no future.
    """

    def __init__(self, futures: Iterable[Future[Any]]) -> None:
        found = list({id(future): future for future in futures}.values())
        for future in found:
            if not all(hasattr(future, name) for name in ("done", "cancelled", "exception")):
                raise ConfigurationError(f"progress() takes futures, not {type(future).__name__}: {future!r:.60}.")
        self._total = len(found)
        self._unfinished = found
        self._without_result: list[Future[Any]] = []

    @property
    def unfinished(self) -> list[Future[Any]]:
        """The futures that were not done at the last look."""
        return list(self._unfinished)

    @property
    def without_result(self) -> list[Future[Any]]:
        """The futures that had failed or were cancelled at the last look."""
        return list(self._without_result)

    def look(self) -> Counts:
        """Return the counts now."""
        # A retried task may have ended again since the last look.
        changed = [future for future in self._without_result if not (future.done() and _lacks_result(future))]
        if changed:
            again = set(map(id, changed))
            self._without_result = [future for future in self._without_result if id(future) not in again]
            self._unfinished += changed
        ended = {id(future): future for future in self._unfinished if future.done()}
        if ended:
            self._unfinished = [future for future in self._unfinished if id(future) not in ended]
        for future in ended.values():
            if _lacks_result(future):
                self._without_result.append(future)
            elif not future.done():  # a retry in another thread has made it unfinished meanwhile
                self._unfinished.append(future)
        cancelled = sum(future.cancelled() for future in self._without_result)
        failed = len(self._without_result) - cancelled
        return Counts(self._total, self._total - len(self._unfinished), failed, cancelled)


def _lacks_result(future: Future[Any]) -> bool:
    if future.cancelled():
        return True
    if isinstance(future, BaseFuture):
        return future.has_failed()
    return future.exception() is not None
