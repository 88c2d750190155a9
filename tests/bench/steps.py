"""Step charts of workers and of those that are busy, as static pictures: SVG always, HTML where bokeh is installed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Steps", "html", "svg"]

COLOURS = {"workers": "#9ecae1", "busy": "#31a354"}
WORDS = {"workers": "workers", "busy": "running a task"}
WIDTH, HEIGHT, LEFT, TOP, GAP = 640, 150, 44, 26, 26


@dataclass(frozen=True)
class Steps:
    """How many there were from which time on."""

    workers: list[tuple[float, int]]
    busy: list[tuple[float, int]]

    @classmethod
    def of(cls, workers: Iterable[tuple[float, float, int]], busy: Iterable[tuple[float, float, int]]) -> Steps:
        """From begin, end and number of each thing that was there."""
        return cls(counted(workers), counted(busy))


def counted(spans: Iterable[tuple[float, float, int]]) -> list[tuple[float, int]]:
    """How many there are after each change."""
    changes: Counter[float] = Counter()
    for begin, end, number in spans:
        changes[round(begin, 3)] += number
        changes[round(end, 3)] -= number
    level, found = 0, [(0.0, 0)]
    for when in sorted(changes):
        level += changes[when]
        found.append((when, level))
    return found


def corners(steps: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """The line through the steps, corner by corner."""
    line: list[tuple[float, int]] = []
    for when, level in steps:
        if line:
            line.append((when, line[-1][1]))
        line.append((when, level))
    return line


def svg(charts: Sequence[tuple[str, Steps]]) -> str:
    """Charts below each other, all with the same axes."""
    longest = max(steps.workers[-1][0] for _, steps in charts)
    most = max(level for _, steps in charts for _, level in steps.workers)
    height = len(charts) * (TOP + HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 20}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="{height}" fill="white"/>',
    ]
    for number, (title, steps) in enumerate(charts):
        top = number * (TOP + HEIGHT + GAP) + TOP
        parts.append(f'<text x="{LEFT}" y="{top - 9}">{escape(title)}</text>')
        for name in ("workers", "busy"):
            points = " ".join(
                f"{LEFT + WIDTH * when / longest:.1f},{top + HEIGHT - HEIGHT * level / most:.1f}"
                for when, level in corners(getattr(steps, name))
            )
            parts.append(f'<polyline points="{points}" fill="{COLOURS[name]}" fill-opacity="0.7" stroke="none"/>')
        parts += axes(top, longest, most)
    return "\n".join([*parts, "</svg>"]) + "\n"


def axes(top: int, longest: float, most: int) -> list[str]:
    """Frame, ticks and what the colours mean."""
    bottom = top + HEIGHT
    parts = [f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>']
    for part in range(5):
        level = most * part // 4
        y = bottom - HEIGHT * level / most
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level}</text>')
    for part in range(7):
        x = LEFT + WIDTH * part / 6
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{longest * part / 6:.0f} s</text>')
    for place, (name, words) in enumerate(WORDS.items()):
        x = LEFT + WIDTH - 220 + 90 * place
        parts.append(f'<rect x="{x}" y="{top - 18}" width="10" height="10" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 14}" y="{top - 9}">{words}</text>')
    return parts


def html(title: str, charts: Sequence[tuple[str, Steps]]) -> str:
    """The same as a page of its own, to zoom in."""
    from bokeh.embed import file_html
    from bokeh.layouts import column
    from bokeh.plotting import figure
    from bokeh.resources import INLINE

    figures = []
    for heading, steps in charts:
        chart = figure(title=heading, width=900, height=220, x_axis_label="seconds", y_axis_label="workers")
        for name, words in WORDS.items():
            line = corners(getattr(steps, name))
            chart.varea(
                x=[when for when, _ in line],
                y1=[0] * len(line),
                y2=[level for _, level in line],
                color=COLOURS[name],
                legend_label=words,
            )
        figures.append(chart)
    return file_html(column(*figures), INLINE, title)
