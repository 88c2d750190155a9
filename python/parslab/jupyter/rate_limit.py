"""Limit how often a front end gets updates, which a thread sends that exists only while there are any.

``relay`` sends 20 messages a second, ``display`` 5 updates a second. This thread sends the updates and not the link's
thread, so that a slow socket of the kernel cannot delay a run.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RateLimiter"]

log = logging.getLogger(__name__)


class RateLimiter:
    """Calls marked functions, each at most once a period, in the order of the marks.

    Parameters
    ----------
    period
        Seconds between two calls of the same function.
    role
        The name of the thread is ``parslab-<role>``.
    """

    def __init__(self, period: float, role: str) -> None:
        self._period = period
        self._role = role
        self._marked: dict[Callable[[], None], None] = {}
        self._thread: threading.Thread | None = None
        # Any thread marks functions, and the sending thread must not end just after a mark. With an inbox, that thread
        # would have to exist all the time.
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()

    def mark(self, call: Callable[[], None]) -> None:
        """Call ``call`` soon: now, or when a period has passed since its last call."""
        with self._lock:
            self._marked[call] = None
            if self._thread is None:
                self._idle.clear()
                self._thread = threading.Thread(target=self._serve, name=f"parslab-{self._role}", daemon=True)
                self._thread.start()

    def settle(self, timeout: float) -> bool:
        """Wait until everything marked so far has been called and the thread is gone; False after ``timeout``."""
        return self._idle.wait(timeout)

    def _serve(self) -> None:
        rest = threading.Event()
        while True:
            with self._lock:
                marked, self._marked = self._marked, {}
                if not marked:
                    self._thread = None
                    self._idle.set()
                    return
            for call in marked:
                try:
                    call()
                except Exception:
                    # An error of one front end must not stop the updates of the others.
                    log.exception("an update of a front end failed")
            rest.wait(self._period)  # marks of this time become one call each
