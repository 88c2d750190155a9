"""Compares two runs app by app, and writes the comparison as text.  [core]"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from parslab.monitoring.report.summary import AppUse, RunFacts, TaskTotals
from parslab.records.durations import format_duration
from parslab.records.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AppPair", "RunApps", "comparison_text", "pair_apps"]

_ABSENT = "-"
_HEADS = ("app", "tasks", "failed", "median run time", "total run time")


class RunApps(msgspec.Struct, kw_only=True):
    """A run, and what each of its apps did."""

    run: RunFacts
    tasks: TaskTotals
    apps: list[AppUse]
    """All of them, by the sum of their run times."""


class AppPair(msgspec.Struct, kw_only=True):
    """What an app did in two runs."""

    app: str
    first: AppUse | None
    """None if the first run has no task of the app."""
    second: AppUse | None


def pair_apps(first: Sequence[AppUse], second: Sequence[AppUse]) -> list[AppPair]:
    """Pair the apps of two runs by their names.

    Returns
    -------
    list of AppPair
        The largest change of the total run time first, however it goes.
    """
    before, after = {use.app: use for use in first}, {use.app: use for use in second}
    pairs = [AppPair(app=app, first=before.get(app), second=after.get(app)) for app in before | after]
    return sorted(pairs, key=lambda pair: (-abs(_total(pair.second) - _total(pair.first)), pair.app))


def _total(use: AppUse | None) -> float:
    return 0.0 if use is None else use.run


def comparison_text(first: RunApps, second: RunApps) -> str:
    """Write two runs side by side: the runs themselves, then a line for each app."""
    runs = [
        ("run", f"{first.run.run} -> {second.run.run}"),
        ("status", _change(first.run.status, second.run.status)),
        ("duration", _seconds(first.run.seconds, second.run.seconds)),
        ("tasks", _change(str(first.tasks.total), str(second.tasks.total))),
        ("failed", _change(str(first.tasks.failed), str(second.tasks.failed))),
    ]
    apps = [_HEADS, *map(_cells, pair_apps(first.apps, second.apps))]
    if len(apps) == 1:
        return _aligned(runs) + "\nNeither run has a task.\n"
    return f"{_aligned(runs)}\n{_aligned(apps)}"


def _cells(pair: AppPair) -> tuple[str, ...]:
    first, second = pair.first, pair.second
    return (
        printable(pair.app),
        _change(*(_ABSENT if use is None else str(use.tasks) for use in (first, second))),
        _change(*(_ABSENT if use is None else str(use.failed) for use in (first, second))),
        _seconds(*(None if use is None else use.median for use in (first, second))),
        _seconds(*(None if use is None else use.run for use in (first, second))),
    )


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _seconds(before: float | None, after: float | None) -> str:
    """Write two durations, and by how much the second differs where that can be said."""
    words = f"{_span(before)} -> {_span(after)}"
    if before is None and after is None:
        return _ABSENT
    if not before or after is None:
        return words
    percent = round(100.0 * (after / before - 1.0))
    return f"{words} ({percent:+d} %)" if percent else f"{words} (same)"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return _ABSENT
    return f"{1e3 * seconds:.3g} ms" if 0.0 < seconds < 0.9995 else format_duration(seconds)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)
