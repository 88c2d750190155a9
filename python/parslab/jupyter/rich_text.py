"""Combine the printed text and the rich output of a cell task, in order, as text and as HTML [pure].

One display shows all of it, because Jupyter can update a display of a cell that has ended but cannot add another one.
So this module puts pictures, and HTML such as tables, into one HTML text. Output that needs JavaScript, and output of
an unknown type, appears as its plain text.
"""

from __future__ import annotations

import base64
import html
import json
from typing import TYPE_CHECKING, Any

from parslab.jupyter.text import BoundedText

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["RichText", "plain_text"]

_PICTURES = ("image/png", "image/jpeg", "image/gif")
_STYLE = "margin:0.2em 0;font-family:var(--jp-code-font-family,monospace)"


class RichText:
    """The output of one cell task; only one thread may use it at a time."""

    def __init__(self, output: Iterable[tuple[str, str]] = ()) -> None:
        self._parts: list[BoundedText | dict[str, Any]] = []
        self._clear_next = False
        for stream, text in output:
            self.append(stream, text)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def append(self, stream: str, text: str) -> None:
        """Add output of ``stream``: text for ``stdout`` or ``stderr``, a JSON message for ``display``."""
        if not text:
            return
        if stream != "display":
            self._clear_if_due()
            if not self._parts or isinstance(self._parts[-1], dict):
                self._parts.append(BoundedText())
            last = self._parts[-1]
            assert isinstance(last, BoundedText)
            last.append(stream, text)
            return
        message = json.loads(text)
        if "clear" in message:
            # As in Jupyter, ``clear_output(wait=True)`` clears when the next output arrives, which avoids flicker.
            self._clear_next = True
            if not message["clear"]:
                self._clear_if_due()
            return
        self._clear_if_due()
        data = message.get("data")
        if isinstance(data, dict):
            self._parts.append(data)

    def _clear_if_due(self) -> None:
        if self._clear_next:
            self._parts.clear()
            self._clear_next = False

    def plain(self) -> str:
        """Return all output as text."""
        return "".join(
            f"{part.get('text/plain', '')}\n" if isinstance(part, dict) else part.plain() for part in self._parts
        )

    def html(self) -> str:
        """Return all output as HTML; empty if there is none."""
        return "".join(
            _html_of(part) if isinstance(part, dict) else f'<pre style="{_STYLE}">{part.html()}</pre>'
            for part in self._parts
        )


def plain_text(message: str) -> str:
    """Return the plain text of a message of the stream ``display``."""
    data = json.loads(message).get("data")
    return str(data.get("text/plain", "")) if isinstance(data, dict) else ""


def _html_of(bundle: dict[str, Any]) -> str:
    plain = str(bundle.get("text/plain", ""))
    for mime in _PICTURES:
        if mime in bundle:
            return _picture(mime, str(bundle[mime]).replace("\n", ""), plain)
    # As an image, an SVG cannot run scripts, and ids inside of it cannot clash with those of another figure.
    if "image/svg+xml" in bundle:
        return _picture("image/svg+xml", base64.b64encode(str(bundle["image/svg+xml"]).encode()).decode(), plain)
    if "text/html" in bundle:
        return f"<div>{bundle['text/html']}</div>"
    return f'<pre style="{_STYLE}">{html.escape(plain, quote=False)}</pre>'


def _picture(mime: str, data: str, plain: str) -> str:
    return f'<div><img src="data:{mime};base64,{html.escape(data)}" alt="{html.escape(plain)}"/></div>'
