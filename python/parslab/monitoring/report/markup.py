"""Writes numbers, durations, tables and drawings as HTML.  [core]

Every text of a run passes through :func:`escaped`: the name of an app or an error may contain markup, control
characters, or marks that turn the direction of the text around.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from parslab.records.durations import format_duration
from parslab.records.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["area", "bar", "count", "escaped", "interval", "key", "percent", "polyline", "share", "span", "table"]

_HEIGHT = 100.0


def escaped(text: object) -> str:
    """Return a text as it may stand in HTML, also inside an attribute.

    Examples
    --------
    >>> escaped("<b>&'\\x1b")
    '&lt;b&gt;&amp;&#x27;\\\\x1b'
    """
    return html.escape(printable(str(text)))


def span(seconds: float | None) -> str:
    """Write a duration for people; a hyphen if there is none.

    Examples
    --------
    >>> span(0.0000123), span(0.0504), span(7.25), span(5400)
    ('12 µs', '50 ms', '7.2 s', '1 h 30 min')
    """
    if seconds is None:
        return "-"
    if seconds <= 0:
        return "0 s"
    if seconds < 0.0009995:
        return f"{max(1.0, seconds * 1e6):.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.2g} ms" if seconds < 0.0995 else f"{seconds * 1e3:.0f} ms"
    return format_duration(seconds)


def count(number: int) -> str:
    """Write a number with spaces that no line breaks between its thousands.

    Examples
    --------
    >>> count(1234567) == "1\\u202f234\\u202f567"
    True
    """
    return f"{number:,}".replace(",", "\u202f")


def percent(ratio: float) -> str:
    """Write a share of the whole.

    Examples
    --------
    >>> percent(0.0001), percent(0.004), percent(0.5), percent(0.999)
    ('&lt; 0.1 %', '0.4 %', '50 %', '100 %')
    """
    value = 100.0 * ratio
    if 0 < value < 0.05:
        return "&lt; 0.1 %"
    return f"{value:.1f} %" if 0 < value < 9.95 else f"{value:.0f} %"


def table(caption: str, heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Return a table that scrolls sideways on its own where the page is narrow.

    Parameters
    ----------
    caption
        What the table shows.
    heads
        Title and CSS class of each column.  The first column names the row.
    rows
        Cells, which are HTML already.
    """
    head = "".join(f'<th scope="col" class="{kind}">{title}</th>' for title, kind in heads)
    body = []
    for cells in rows:
        first, *rest = cells
        others = "".join(f'<td class="{kind}">{cell}</td>' for cell, (_, kind) in zip(rest, heads[1:], strict=True))
        body.append(f'<tr><th scope="row" class="{heads[0][1]}">{first}</th>{others}</tr>')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def key(name: str, text: str, edge: bool = False) -> str:
    """Return an entry of a legend in the colour of this name."""
    return f'<span class="key{" edge" if edge else ""}" style="--colour:var(--{name})">{text}</span>'


def bar(parts: Sequence[tuple[str, float]], description: str) -> str:
    """Return a bar that shows the parts of a whole: names of colours, and values."""
    whole = sum(value for _, value in parts) or 1.0
    spans = "".join(
        f'<span style="--colour:var(--{name});width:{100.0 * value / whole:.3f}%"></span>'
        for name, value in parts
        if value > 0
    )
    return f'<div class="bar" role="img" aria-label="{description}">{spans}</div>'


def share(ratio: float) -> str:
    """Return a small bar beside a number that a cell gives as text."""
    return f'<div style="width:{100.0 * min(max(ratio, 0.0), 1.0):.2f}%"></div>'


def area(values: Sequence[float], most: float, colour: str) -> str:
    """Return a filled curve, each value as a step."""
    return f'<polygon points="0,{_HEIGHT:g} {_steps(values, most)} {len(values)},{_HEIGHT:g}" fill="var(--{colour})"/>'


def polyline(values: Sequence[float], most: float, colour: str) -> str:
    """Return the outline of a curve, each value as a step."""
    return (
        f'<polyline points="{_steps(values, most)}" fill="none" stroke="var(--{colour})" stroke-width="1.5" '
        'vector-effect="non-scaling-stroke"/>'
    )


def _steps(values: Sequence[float], most: float) -> str:
    points = []
    for at, value in enumerate(values):
        height = _HEIGHT - _HEIGHT * min(value / most, 1.0) if most > 0 else _HEIGHT
        points.append(f"{at},{height:.2f} {at + 1},{height:.2f}")
    return " ".join(points)


def interval(parts: Sequence[tuple[str, float, float]], whole: float) -> str:
    """Return a strip that shows when something was in which state: names of colours, begins and ends."""
    rects = []
    for colour, begin, end in parts:
        left, right = (100.0 * min(max(moment / whole, 0.0), 1.0) for moment in (begin, end))
        rects.append(f'<rect x="{left:.2f}" width="{max(right - left, 0.4):.2f}" height="10" fill="var(--{colour})"/>')
    return f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{"".join(rects)}</svg>'
