"""Runs blocking calls on threads, and delivers their results in the loop's thread [shell].

The loop's thread uses this module.  A thread lives as long as its call, so a scheduler that hangs holds a few threads
and no more.  The threads are daemons, so a hanging call cannot delay the end of the process; the threads of
``concurrent.futures`` would, because Python joins them at exit.  Results wait in an :class:`Inbox`.  The loop empties
the inbox.  After the loop has ended, ``ScalingController.close`` empties it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BackgroundCalls", "CallRunner", "Inbox"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class Inbox:
    """Functions that threads want the loop to call."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, call: Callable[[], None]) -> None:
        """Let the loop call ``call``; safe from any thread."""
        # The call is in the queue before the loop is asked to collect it, so the loop cannot miss it.
        self._calls.put(call)
        try:
            self._post(self.collect)
        except (OSError, RuntimeError):  # the loop is closed, and ``ScalingController.close`` collects the result
            log.debug("the result of a background call came after the end of the loop")

    def collect(self) -> None:
        """Call everything that has arrived."""
        while self.wait(0.0):
            pass

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for one function and call it; returns whether one arrived."""
        try:
            call = self._calls.get(timeout=seconds) if seconds > 0 else self._calls.get_nowait()
        except queue.Empty:
            return False
        call()
        return True


class CallRunner(Protocol):
    """Runs blocking calls; tests run them in virtual time."""

    busy: int
    """Calls that run or wait for a thread."""

    def run(self, call: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        """Run ``call``, then call ``done`` in the loop with its result, or with its error."""


class BackgroundCalls:
    """Runs calls on threads, at most ``max_threads`` at a time.

    Parameters
    ----------
    role
        What the calls do; it is part of the names of the threads.
    inbox
        The inbox that gets the results.
    max_threads
        How many calls run at the same time.
    """

    def __init__(self, role: str, inbox: Inbox, max_threads: int) -> None:
        # No lock is needed: results return through the inbox, so only the loop's thread changes these attributes.
        self._role, self._inbox, self._free_threads = role, inbox, max_threads
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any, Exception | None], None]]] = deque()
        self.busy = 0

    def run(self, call: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        """See :class:`CallRunner`."""
        self.busy += 1
        self._waiting.append((call, done))
        self._start_threads()

    def _start_threads(self) -> None:
        while self._free_threads and self._waiting:
            self._free_threads -= 1
            call, done = self._waiting.popleft()
            threading.Thread(target=self._work, args=(call, done), name=f"parslab-{self._role}", daemon=True).start()

    def _work(self, call: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        result: T | None = None
        failed: Exception | None = None
        try:
            result = call()
        except Exception as error:  # a user's provider may raise anything, and the loop shows it to the user
            failed = error
        self._inbox.put(lambda: self._finished(result, failed, done))

    def _finished(
        self, result: T | None, failed: Exception | None, done: Callable[[T | None, Exception | None], None]
    ) -> None:
        self._free_threads += 1
        self.busy -= 1
        # The next call starts first, so that an error in ``done`` cannot hold it up.
        self._start_threads()
        done(result, failed)
