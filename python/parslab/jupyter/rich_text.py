"""What a cell task has shown, in order: printed text and rich output, as text and as HTML [pure].

One output area shows all of it: a display that was made while the cell ran can be updated later, but no other can be
added to a cell that has ended. So pictures, and HTML such as tables, are put into one HTML text. What needs JavaScript,
and what is not known here, is shown by its plain text.
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
    """The output of one cell task; nobody else's thread may use it at the same time."""

    def __init__(self, output: Iterable[tuple[str, str]] = ()) -> None:
        self._parts: list[BoundedText | dict[str, Any]] = []
        self._clear_next = False
        for stream, text in output:
            self.append(stream, text)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def append(self, stream: str, text: str) -> None:
        """Add what arrived in ``stream``: text of ``stdout`` or ``stderr``, or a JSON message of ``display``."""
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
        """All of it as text."""
        return "".join(
            f"{part.get('text/plain', '')}\n" if isinstance(part, dict) else part.plain() for part in self._parts
        )

    def html(self) -> str:
        """All of it as HTML; empty when there is nothing."""
        return "".join(
            _html_of(part) if isinstance(part, dict) else f'<pre style="{_STYLE}">{part.html()}</pre>'
            for part in self._parts
        )


def plain_text(message: str) -> str:
    """The plain text of a message of the stream ``display``."""
    data = json.loads(message).get("data")
    return str(data.get("text/plain", "")) if isinstance(data, dict) else ""


def _html_of(bundle: dict[str, Any]) -> str:
    plain = str(bundle.get("text/plain", ""))
    for mime in _PICTURES:
        if mime in bundle:
            return _picture(mime, str(bundle[mime]).replace("\n", ""), plain)
    if "image/svg+xml" in bundle:
        return _picture("image/svg+xml", base64.b64encode(str(bundle["image/svg+xml"]).encode()).decode(), plain)
    if "text/html" in bundle:
        return f"<div>{bundle['text/html']}</div>"
    return f'<pre style="{_STYLE}">{html.escape(plain, quote=False)}</pre>'


def _picture(mime: str, data: str, plain: str) -> str:
    return f'<div><img src="data:{mime};base64,{html.escape(data)}" alt="{html.escape(plain)}"/></div>'
