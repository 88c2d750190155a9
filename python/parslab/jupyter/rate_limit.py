"""Doing things often enough to look live, but not more often: one small thread while there is something to do.

Used by ``relay`` (20 messages a second) and ``display`` (5 updates a second).  Front ends are told from here, never
from the link's thread, so a slow kernel socket cannot hold up a run.
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
    """Calls what has been marked, each thing at most once a period, in the order of the marks.

    Parameters
    ----------
    period
        Seconds between two calls of the same thing.
    role
        The thread is called ``parslab-<role>``.
    """

    def __init__(self, period: float, role: str) -> None:
        self._period = period
        self._role = role
        self._marked: dict[Callable[[], None], None] = {}
        self._thread: threading.Thread | None = None
        # Marks come from any thread, and the decision to end must not miss one: an inbox would need a thread at rest.
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()

    def mark(self, call: Callable[[], None]) -> None:
        """Have ``call`` called soon: now, or when a period has passed since it was called last."""
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
                    # A front end that is gone must not stop the updates of the others.
                    log.exception("telling a front end failed")
            rest.wait(self._period)
