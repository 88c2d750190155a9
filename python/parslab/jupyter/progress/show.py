"""``progress`` shows how far futures have come, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from parslab.client.futures.app_future import AppFuture
from parslab.errors import RetryError
from parslab.jupyter.progress.displays import display_for
from parslab.jupyter.progress.pace import Pace
from parslab.jupyter.progress.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from parslab.jupyter.progress.displays import Actions, Display
    from parslab.jupyter.progress.tracker import Counts

__all__ = ["Progress", "progress"]

_PERIOD = 0.25
_SHARE = 0.02
"""Part of the time that the looks may take; with very many futures the display is updated less often."""


class Progress:
    """A progress display that updates itself until all of its futures are done.

    Parameters
    ----------
    tracker
        Counts the futures.
    display
        Makes the place where the counts are shown, whose buttons act on this object.

    Attributes
    ----------
    counts
        How many of the futures were done, had failed or were cancelled at the last look.
    """

    def __init__(self, tracker: Tracker, display: Callable[[Actions], Display]) -> None:
        self._tracker = tracker
        self._closed = threading.Event()
        self.counts: Counts = tracker.look()
        self._display = display(self)
        self._thread = self._follow()

    def cancel(self) -> None:
        """Cancel the futures that are not done."""
        for future in self._tracker.unfinished:
            future.cancel()

    def retry(self) -> None:
        """Run the tasks that failed or were cancelled again; futures that are no tasks are left as they are.

        Raises
        ------
        RetryError
            A task cannot run again; the message says why.
        """
        refused = None
        for future in self._tracker.without_result:
            if isinstance(future, AppFuture) and future.done():
                try:
                    future.retry()
                except RetryError as error:
                    refused = error
        # If the last look found all of them done, the thread is about to end; else its next look finds them unfinished.
        if self.counts.finished and not self._closed.is_set():
            self._thread.join()
            self._thread = self._follow()
        if refused is not None:
            raise refused

    def close(self) -> None:
        """Stop the updates; the display stays as it is."""
        self._closed.set()
        self._thread.join()

    def join(self, timeout: float | None = None) -> None:
        """Wait until all futures are done and the display says so, or until ``timeout`` seconds have passed."""
        self._thread.join(timeout)

    def _follow(self) -> threading.Thread:
        thread = threading.Thread(target=self._update, name="parslab-progress", daemon=True)
        thread.start()
        return thread

    def _update(self) -> None:
        pace, display = Pace(time.monotonic()), self._display
        seconds = self._look(pace)
        # The terminal or the file may be closed before the tasks have ended.
        with contextlib.suppress(OSError, ValueError):
            while not self.counts.finished:
                display.show(self.counts, pace)
                if self._closed.wait(max(_PERIOD, seconds / _SHARE)):
                    break
                seconds = self._look(pace)
            display.end(self.counts, pace)

    def _look(self, pace: Pace) -> float:
        """Count again; return the seconds that it took."""
        begun = time.monotonic()
        self.counts = self._tracker.look()
        now = time.monotonic()
        pace.add(self.counts, now)
        return now - begun


def progress(futures: Iterable[Future[Any]], title: str = "") -> Progress:
    """Show how many of the futures are done, how many have failed, the rate and the time left.

    In a notebook this is a widget below the cell, if ipywidgets is installed (``pip install "parslab[widgets]"``), and
    a line of text otherwise. In a terminal it is a line that is written again and again; where the output is no
    terminal, one line at the end. The call returns at once. The display ends when all futures are done. A failed task
    that is retried before that is counted again. The widget has buttons for cancelling and for retrying; like all
    widgets they act when the kernel is between two cells.

    Parameters
    ----------
    futures
        Futures of tasks, and any other ``concurrent.futures.Future``.
    title
        Is shown before the counts.

    Examples
    --------
    >>> from concurrent.futures import Future
    >>> future = Future()
    >>> future.set_result(1)
    >>> shown = progress([future])
    >>> shown.close()
    >>> shown.counts.done
    1
    """
    return Progress(Tracker(futures), lambda actions: display_for(title, actions))
