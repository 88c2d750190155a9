"""Calls that may block, on threads that nobody waits for; their answers come back into the loop.

[shell]  Used from the loop's thread only.  A thread lives as long as its call, so a scheduler that hangs holds a few
threads and no more; they are daemons, so they cannot hold the exit either.  Answers lie in an ``Inbox``, which the loop
empties and which ``Controller.close`` waits on when there is no loop any more.
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
    """Answers of errands, until the loop takes them."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, call: Callable[[], None]) -> None:
        """Have this called in the loop; safe from any thread."""
        self._calls.put(call)
        try:
            self._post(self.collect)
        except (OSError, RuntimeError):  # the loop is closed: whoever closes it collects
            log.debug("an answer came after the end")

    def collect(self) -> None:
        """Take what has come."""
        while self.wait(0.0):
            pass

    def wait(self, seconds: float) -> bool:
        """Take one answer, if one comes within so many seconds."""
        try:
            call = self._calls.get(timeout=seconds) if seconds > 0 else self._calls.get_nowait()
        except queue.Empty:
            return False
        call()
        return True


class CallRunner(Protocol):
    """What runs errands; tests run them in virtual time."""

    busy: int
    """How many are under way or wait for their turn."""

    def run(self, call: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        """Have ``call`` run, and ``done`` called in the loop with its answer or its error."""


class BackgroundCalls:
    """Runs calls on threads, at most ``atonce`` at a time."""

    def __init__(self, role: str, inbox: Inbox, atonce: int) -> None:
        self._role, self._inbox, self._free = role, inbox, atonce
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any, Exception | None], None]]] = deque()
        self.busy = 0

    def run(self, call: Callable[[], T], done: Callable[[T | None, Exception | None], None]) -> None:
        """See :class:`CallRunner`."""
        self.busy += 1
        self._waiting.append((call, done))
        self._begin()

    def _begin(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            threading.Thread(
                target=self._work, args=self._waiting.popleft(), name=f"parslab-{self._role}", daemon=True
            ).start()

    def _work(self, call: Callable[[], Any], done: Callable[[Any, Exception | None], None]) -> None:
        answer, failed = None, None
        try:
            answer = call()
        except Exception as error:  # of a provider, perhaps a user's: told to the loop, which says it to the user
            failed = error
        self._inbox.put(lambda: self._finished(answer, failed, done))

    def _finished(self, answer: Any, failed: Exception | None, done: Callable[[Any, Exception | None], None]) -> None:
        self._free += 1
        self.busy -= 1
        self._begin()
        done(answer, failed)
