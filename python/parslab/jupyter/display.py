"""Show futures in a notebook: a chip with the state of the task, and output under the cell that started it.

The ``parslab-display`` thread updates display handles, at most five times a second. It cannot print, because prints of
background threads appear under the cell that runs at that moment. Outside of kernels futures show their ``repr``.
"""

from __future__ import annotations

import contextlib
import html
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from parslab.client import session
from parslab.client.futures.app_future import task_future_of
from parslab.errors import ParslabError
from parslab.jupyter.rate_limit import RateLimiter
from parslab.jupyter.rich_text import RichText, plain_text
from parslab.jupyter.text import duration, shortened
from parslab.records.states import TASK_STATES, TaskState
from parslab.records.text import printable

if TYPE_CHECKING:
    from parslab.client.futures.app_future import AppFuture, BaseFuture
    from parslab.records.states import Hue

__all__ = ["CellOutput", "bundle", "install", "plain", "settle", "show"]

PERIOD = 0.2
"""Seconds between two updates of one display, each of which is a message to every front end."""
TRACEBACK = 8000
"""Characters of a traceback that are shown: each chip with one is saved in the notebook file."""

pacer = RateLimiter(PERIOD, "display")

_COLOURS: dict[Hue, str] = {
    "neutral": "#888888",
    "info": "#0288d1",
    "brand": "#1976d2",
    "success": "#2e7d32",
    "warning": "#ef6c00",
    "error": "#c62828",
}
"""Colours that are readable on a light and on a dark ground: an output outlives the theme it was made in."""
_SUBMITTED = "submitted"
"""Shown for every unfinished state, because the exact one would cost a round trip to the DataFlowKernel."""

_shown_already: weakref.WeakSet[Any] = weakref.WeakSet()
"""Futures that their cell already shows, so that IPython does not show them again as the value of the cell."""


def _state(future: BaseFuture) -> str:
    """Return the state as far as this process knows it, because thousands of futures may be shown at once."""
    parent = task_future_of(future)
    return parent.state.name if parent.done() else _SUBMITTED


def plain(future: BaseFuture) -> str:
    """Return one short line about a future, because a list may show thousands."""
    parent = task_future_of(future)
    state = _state(future)
    error = ""
    if state == "failed" and (failure := parent.failure) is not None:
        error = f": {failure.error.partition(':')[0][:40]}"
    name = printable(parent.app_name[:40])
    return f"<{type(future).__name__}{_part(future)} task {parent.task_id} {name} {state}{error}>"


def _part(future: BaseFuture) -> str:
    """Return the part of the task's value that a future is, such as ``['model'][0]``."""
    _, path = future.reference()
    text = "".join(f"[{key!r}]" for key in path) if isinstance(path, tuple) else ""
    return shortened(text, 40)


def _words(state: str) -> str:
    """Return the words of a chip for a state; for a task that ended without running, they say why."""
    if state == _SUBMITTED:
        return state
    info = TASK_STATES[TaskState[state]]
    return info.predicate if info.final and not info.has_run else info.label.lower()


def _chip(state: str, *texts: str) -> str:
    colour = _COLOURS["neutral" if state == _SUBMITTED else TASK_STATES[TaskState[state]].hue]
    words = " · ".join(html.escape(text) for text in (_words(state), *texts) if text)
    # Styles are inline, because a saved notebook is also shown where the style sheet of the panel is not loaded.
    dot = f'<span style="color:{colour}" aria-hidden="true">●</span>'
    return f'<span style="font-size:90%;font-family:var(--jp-ui-font-family,sans-serif)">{dot} {words}</span>'


def _trouble(future: AppFuture) -> str:
    """Return HTML with the error and the folded traceback of a failed task; empty for other tasks."""
    failure = future.failure
    if failure is None or future.cancelled():
        return ""
    trace = failure.traceback
    if len(trace) > TRACEBACK:
        trace = f"[... cut; see future.traceback() ...]\n{trace[-TRACEBACK:]}"
    message = html.escape(shortened(failure.error, 300))
    if not trace:
        return f"<div>{message}</div>"
    return f"<details><summary>{message}</summary><pre>{html.escape(trace)}</pre></details>"


def bundle(future: BaseFuture) -> dict[str, str]:
    """Return the MIME bundle of a future as it is now."""
    parent = task_future_of(future)
    chip = _chip(_state(future), f"{parent.app_name}{_part(future)}", f"task {parent.task_id}")
    return {"text/plain": plain(future), "text/html": f"<div>{chip}{_trouble(parent)}</div>"}


def show(future: BaseFuture) -> None:
    """Display a future, and update the display until the future is done."""
    from IPython.display import display

    if future in _shown_already:
        _shown_already.discard(future)
        return
    final = future.done()  # read before the display: a future that ends meanwhile still gets its update
    handle = display(bundle(future), raw=True, display_id=True)  # type: ignore[no-untyped-call,unused-ignore]
    if not final:
        future.add_done_callback(lambda done: pacer.mark(lambda: handle.update(bundle(done), raw=True)))


class CellOutput:
    """The output area of a ``%%parsl`` cell: state, printed text and error, updated until its task is done.

    Parameters
    ----------
    label
        The name of the cell, such as ``In [3]``.
    live
        Whether the front end can update a display. A terminal cannot, so it gets the output when a wait ends.
    """

    def __init__(self, label: str, live: bool) -> None:
        self.label = label
        self._live = live
        self._begun = time.monotonic()
        self._took: float | None = None
        self._output = RichText()
        self._restored: list[tuple[str, str]] | None = None
        """Stream and text of the output of a task that an earlier kernel called."""
        self._future: AppFuture | None = None
        self._handle: Any = None
        self._shown: dict[str, str] = {}
        # The link's thread adds text, and the display's thread reads it.  The latter exists only during updates, so it
        # cannot have an inbox.
        self._lock = threading.Lock()

    def follow(self, stream: str, text: str) -> None:
        """Add output of the task; the link's thread calls this."""
        with self._lock:
            if self._restored is None:
                self._output.append(stream, text)
            else:
                self._restore_display(text)
        if self._handle is not None:
            pacer.mark(self._update)

    def open(self, future: AppFuture) -> None:
        """Show the output area under the cell that runs now."""
        from IPython.display import display

        self._future = future
        if self._live:
            self._shown = self._bundle()
            self._handle = display(self._shown, raw=True, display_id=True)  # type: ignore[no-untyped-call,unused-ignore]
            _shown_already.add(future)
            pacer.mark(self._update)  # output may have arrived before there was a handle
        future.add_done_callback(self._done)

    def close(self, timeout: float = 2.0) -> None:
        """Show all output that has arrived, because the cell that waited is about to end."""
        if self._live:
            pacer.settle(timeout)
        else:
            print(self._bundle()["text/plain"])

    def _done(self, _: object) -> None:
        self._took = time.monotonic() - self._begun
        pacer.mark(self._update)

    def _update(self) -> None:
        future = self._future
        if future is not None and future.taken_over and future.done() and self._restored is None:
            self._restore(future)
        new = self._bundle()
        # Each update is a message to every front end, so one that changes nothing is left out.
        if self._handle is not None and new != self._shown:
            self._shown = new
            self._handle.update(new, raw=True)

    def _restore(self, future: AppFuture) -> None:
        """Show the output and the duration of a task that an earlier kernel called."""
        self._restored = []
        try:
            detail = future.home.detail(future.task_id)
        except (ParslabError, TimeoutError):
            return  # then the display shows only the state
        with self._lock:
            self._restored = [("stdout", detail.stdout), ("stderr", detail.stderr)]
            self._output = RichText(self._restored)
        times = [(attempt.started, attempt.ended) for attempt in detail.attempts]
        if times and times[-1][0] and times[-1][1]:
            self._took = times[-1][1] - times[-1][0]
        with contextlib.suppress(ParslabError):
            session.dfk().follow(future.task_id, self.follow)  # the run keeps rich output apart from the text

    def _restore_display(self, message: str) -> None:
        """Replace the plain text of rich output by the rich output itself."""
        assert self._restored is not None
        stream, printed = self._restored[0]
        self._restored[0] = stream, printed.replace(plain_text(message) + "\n", "", 1)
        self._restored.append(("display", message))
        self._output = RichText(self._restored)

    def _bundle(self) -> dict[str, str]:
        future = self._future
        assert future is not None
        done = future.done()
        state = future.state.name if done else ("running" if self._output else _SUBMITTED)
        took = "" if self._took is None else duration(self._took)
        chip = _chip(state, self.label, f"task {future.task_id}", took)
        with self._lock:
            text, output = self._output.plain(), self._output.html()
        trouble = _trouble(future) if done else ""
        status = f"[{' · '.join(filter(None, (_words(state), self.label, f'task {future.task_id}', took)))}]"
        if done and (error := future.failure) is not None and not future.cancelled():
            status += f" {shortened(error.error, 300)}"
        gap = "\n" if text and not text.endswith("\n") else ""
        return {"text/plain": f"{text}{gap}{status}", "text/html": f"<div>{output}{trouble}<div>{chip}</div></div>"}


def settle(timeout: float = 2.0) -> None:
    """Wait until all updates have been sent to the front end."""
    pacer.settle(timeout)


def install(shell: Any) -> None:
    """Let an IPython shell show futures: with live chips in kernels, and on one line in terminals."""
    from parslab.client.futures.app_future import AppFuture, DataFuture, ResultPart

    formatter = shell.display_formatter
    for kind in (AppFuture, DataFuture, ResultPart):
        formatter.formatters["text/plain"].for_type(kind, lambda future, p, cycle: p.text(plain(future)))
    if getattr(shell, "kernel", None) is None:
        return
    AppFuture.display_hook = show
    for kind in (DataFuture, ResultPart):
        formatter.ipython_display_formatter.for_type(kind, show)
