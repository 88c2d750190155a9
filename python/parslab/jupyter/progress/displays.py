"""The places where progress is shown: a terminal, a text file, a notebook with ipywidgets and one without."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from parslab.jupyter.progress.pace import facts, line

if TYPE_CHECKING:
    from parslab.jupyter.progress.pace import Pace
    from parslab.jupyter.progress.tracker import Counts

__all__ = ["Actions", "Display", "NotebookText", "Terminal", "TextFile", "Widget", "display_for"]


class Display(Protocol):
    """Shows counts; one thread calls it."""

    def show(self, counts: Counts, pace: Pace) -> None: ...
    def end(self, counts: Counts, pace: Pace) -> None: ...


class Actions(Protocol):
    """What the buttons of a display do."""

    def cancel(self) -> None: ...
    def retry(self) -> None: ...


class Terminal:
    """One line that is written again and again."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self._stream = stream
        self._title = title

    def show(self, counts: Counts, pace: Pace) -> None:
        width = shutil.get_terminal_size().columns
        self._write(f"\r{line(counts, pace, self._title, width)}\x1b[K")

    def end(self, counts: Counts, pace: Pace) -> None:
        self.show(counts, pace)
        self._write("\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class TextFile:
    """A stream that is no terminal, such as the output of a batch job: one line at the end."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self._stream = stream
        self._title = title

    def show(self, counts: Counts, pace: Pace) -> None:
        pass

    def end(self, counts: Counts, pace: Pace) -> None:
        self._stream.write(line(counts, pace, self._title) + "\n")
        self._stream.flush()


class NotebookText:
    """A notebook without ipywidgets: a line below the cell, which is updated."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._handle: Any = _displayed({"text/plain": title or "..."}, raw=True, display_id=True)

    def show(self, counts: Counts, pace: Pace) -> None:
        self._handle.update({"text/plain": line(counts, pace, self._title)}, raw=True)

    def end(self, counts: Counts, pace: Pace) -> None:
        self.show(counts, pace)


class Widget:
    """A bar, a text and two buttons of ipywidgets below the cell."""

    def __init__(self, title: str, actions: Actions) -> None:
        import ipywidgets

        self._bar: Any = ipywidgets.IntProgress(min=0, max=1, layout={"width": "30%", "min_width": "80px"})
        self._text: Any = ipywidgets.Label()
        self._cancel: Any = ipywidgets.Button(description="Cancel", layout={"width": "auto"})
        self._retry: Any = ipywidgets.Button(description="Retry failed", layout={"width": "auto"})
        self._cancel.on_click(lambda _: actions.cancel())
        self._retry.on_click(lambda _: actions.retry())
        parts = [self._bar, self._text, self._cancel, self._retry]
        if title:
            parts.insert(0, ipywidgets.Label(title))
        self.box: Any = ipywidgets.HBox(parts, layout={"flex_flow": "row wrap", "align_items": "center"})
        _displayed(self.box)

    def show(self, counts: Counts, pace: Pace) -> None:
        self._bar.max = max(1, counts.total)
        self._bar.value = counts.done
        self._text.value = ", ".join([f"{counts.done:,} of {counts.total:,}", *facts(counts, pace)])
        whole = counts.finished and not counts.failed and not counts.cancelled
        self._bar.bar_style = "danger" if counts.failed else "success" if whole else ""
        _set_visible(self._cancel, not counts.finished)
        _set_visible(self._retry, bool(counts.failed or counts.cancelled))

    def end(self, counts: Counts, pace: Pace) -> None:
        self.show(counts, pace)


def _set_visible(widget: Any, visible: bool) -> None:
    widget.layout.display = None if visible else "none"


def _displayed(*content: Any, **options: Any) -> Any:
    from IPython import display

    return display.display(*content, **options)  # type: ignore[no-untyped-call]


def in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel."""
    module = sys.modules.get("IPython.core.interactiveshell")
    if module is None or not module.InteractiveShell.initialized():
        return False
    return getattr(module.InteractiveShell.instance(), "kernel", None) is not None


def display_for(title: str, actions: Actions) -> Display:
    """Return the best display that this process has."""
    if in_notebook():
        try:
            return Widget(title, actions)
        except ImportError:
            return NotebookText(title)
    stream = sys.stderr
    return Terminal(stream, title) if stream.isatty() else TextFile(stream, title)
