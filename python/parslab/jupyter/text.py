"""[pure] Format text for people: bounded output and its HTML, tables, durations."""

from __future__ import annotations

import html
import re
from collections import deque
from typing import TYPE_CHECKING

from parslab.records.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from parslab.records.panel import BlockRow

__all__ = ["BoundedText", "TextTable", "block_lines", "duration", "say", "shortened", "size"]

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_LEFT = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n\r])")


class BoundedText:
    """The last ``limit`` characters that a task has printed, stdout and stderr in the order of arrival.

    This class removes colour codes. Of a line that overwrites itself, such as a progress bar, it keeps the last state.
    """

    def __init__(self, limit: int = 64 * 1024) -> None:
        self.limit = limit
        self.lost = 0
        """Characters that were dropped."""
        self._pieces: deque[tuple[str, str]] = deque()
        self._length = 0

    def append(self, stream: str, text: str) -> None:
        """Add output of ``stream`` (``"stdout"`` or ``"stderr"``)."""
        text = _ANSI.sub("", text).replace("\r\n", "\n")
        if "\r" in text or (self._pieces and self._pieces[-1][1].endswith("\r")):
            # The text may overwrite the end of the piece before, so both are joined first.
            if self._pieces and self._pieces[-1][0] == stream:
                _, before = self._pieces.pop()
                self._length -= len(before)
                text = before + text
            text = _OVERWRITTEN.sub("", text)
        self._pieces.append((stream, text))
        self._length += len(text)
        while self._length > self.limit:
            stream, first = self._pieces.popleft()
            kept = first[self._length - self.limit :]
            self.lost += len(first) - len(kept)
            self._length -= len(first) - len(kept)
            if kept:
                self._pieces.appendleft((stream, kept))

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def mark(self) -> str:
        """A line that says how much text is missing in front; empty if none is."""
        return (
            f"[... {size(self.lost)} before this cut; see future.logs() or the Parsl panel ...]\n" if self.lost else ""
        )

    def plain(self) -> str:
        """Return the text, with its mark."""
        text = "".join(text for _, text in self._pieces)
        # append() has removed colours. Other control characters are escaped, except \b and \r of progress bars.
        return self.mark + _LEFT.sub(lambda match: printable(match.group()), text)

    def html(self) -> str:
        """Return the text as the content of a ``<pre>``; stderr has the background that JupyterLab gives it."""
        parts = [html.escape(self.mark)]
        for stream, text in self._pieces:
            escaped = html.escape(text, quote=False)
            if stream == "stderr":
                escaped = f'<span style="background:var(--jp-rendermime-error-background,#fdd)">{escaped}</span>'
            parts.append(escaped)
        return "".join(parts)


class TextTable:
    """Rows under headings, shown as text and as HTML.

    Parameters
    ----------
    head
        One line above the table.
    columns
        Headings.
    rows
        Cells; numbers are aligned to the right.
    foot
        Lines below the table.
    """

    def __init__(
        self, head: str, columns: Sequence[str], rows: Iterable[Sequence[object]], foot: Sequence[str] = ()
    ) -> None:
        self.head = head
        self.columns = list(columns)
        self.rows = [list(row) for row in rows]
        self.foot = list(foot)

    def __repr__(self) -> str:
        lines = [self.head]
        if self.rows:
            texts = [self.columns, *([_cell(value) for value in row] for row in self.rows)]
            widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
            right = [isinstance(value, (int, float)) for value in self.rows[0]]
            for row in texts:
                cells = [
                    text.rjust(width) if number else text.ljust(width)
                    for text, width, number in zip(row, widths, right, strict=True)
                ]
                lines.append("  ".join(cells).rstrip())
        return printable("\n".join([*lines, *self.foot]))

    def _repr_html_(self) -> str:
        parts = [f"<div>{html.escape(self.head)}</div>"]
        if self.rows:
            heads = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
            body = "".join("<tr>" + "".join(map(_html_cell, row)) + "</tr>" for row in self.rows)
            parts.append(f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>")
        parts += [f"<div>{html.escape(line)}</div>" for line in self.foot]
        return "".join(parts)


def say(text: str) -> None:
    """Print a line without control characters, which names and errors of users may contain and a terminal obeys."""
    print(printable(text))


def _cell(value: object) -> str:
    return "" if value is None else printable(" ".join(str(value).split()))


def _html_cell(value: object) -> str:
    align = "right" if isinstance(value, (int, float)) else "left"
    return f'<td style="text-align:{align}">{html.escape(_cell(value))}</td>'


def duration(seconds: float) -> str:
    """Format a duration: ``0.32 s``, ``12.3 s``, ``2 min 5 s``, ``3 h 20 min``."""
    # The limits are those at which rounding would give "10.00 s" or "60.0 s".
    if seconds < 9.995:
        return f"{max(seconds, 0.0):.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def size(count: int) -> str:
    """Format a number of bytes: ``512 B``, ``64 kB``, ``1.5 MB``."""
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"


def shortened(text: str, limit: int) -> str:
    """Return ``text`` on one line of at most ``limit`` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def block_lines(rows: Iterable[BlockRow]) -> list[str]:
    """Return one line for each executor: its blocks by state, their busy workers, and why some wait or failed.

    Examples
    --------
    ``Blocks of htex: 2 running (6 of 8 workers busy), 1 queued: (Resources)``
    """
    by_executor: dict[str, dict[str, list[BlockRow]]] = {}
    for row in rows:
        states = by_executor.setdefault(row.executor, {})
        states.setdefault("held" if row.held and row.state == "running" else row.state, []).append(row)
    return [f"Blocks of {executor}: {', '.join(_counted(states))}" for executor, states in by_executor.items()]


_BLOCK_STATES = (
    "running", "held", "draining", "queued", "requested", "finished", "scaled_in", "missing", "failed",
)  # fmt: skip


def _counted(states: dict[str, list[BlockRow]]) -> Iterator[str]:
    for state in sorted(states, key=_BLOCK_STATES.index):
        rows = states[state]
        text = f"{len(rows)} {state.replace('_', ' ')}"
        if workers := sum(row.workers for row in rows):
            text += f" ({sum(row.busy for row in rows)} of {workers} workers busy)"
        if state in ("queued", "missing", "failed"):
            newest = max(rows, key=lambda row: row.since)
            text += f": {shortened(newest.reason, 200)}" if newest.reason else ""
        yield text
