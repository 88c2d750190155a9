"""Writes the summary of a run as one HTML page.  [core]

The page holds its style and its drawings (SVG), and no script.  It loads nothing, which its own policy forbids, too.
Each drawing has a text beside it that says the same.
"""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING

from parslab.monitoring.report.markup import area, bar, count, escaped, key, percent, polyline, span
from parslab.monitoring.report.sections import (
    apps_section,
    blocks_section,
    failures_section,
    path_steps,
    slowest_section,
    workers_section,
)
from parslab.records.states import SUCCESSES, TASK_STATES, TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.monitoring.report.summary import Summary

__all__ = ["page"]

_STATUS = {
    "running": ("The run goes on", ""),
    "ended": ("The run has ended", ""),
    "lost": ("The run has no recorded end: its DataFlowKernel was killed", "bad"),
    "imported": ("Parsl has made this run", ""),
}

_PARTS = {
    "program": "the program had not called it yet",
    "queue": "waited for a worker",
    "transfer": "on the way to the function",
    "run": "ran",
    "joining": "joined other futures",
}
"""What the time of the critical path was spent on, by the name of the colour."""


_MOST = {
    "program": "had not been called",
    "queue": "waited for a worker",
    "transfer": "was on the way to a function",
    "run": "ran",
    "joining": "joined other futures",
}

_ADVICE = {
    "program": "the program called its apps late, because it waited or computed itself",
    "queue": "more workers would have shortened the run",
    "transfer": "large arguments and results, or short tasks behind long ones, cost that time",
    "run": "only faster or smaller tasks would have shortened the run",
    "joining": "the futures that join apps returned decided the time",
}
"""What it means that most of the critical path was spent like this."""


def page(summary: Summary) -> str:
    """Return the page of a run."""
    body = [
        _header(summary),
        _facts(summary),
        _over_time(summary),
        _critical_path(summary),
        _sums(summary),
        apps_section(summary),
        failures_section(summary),
        slowest_section(summary),
        workers_section(summary),
        blocks_section(summary),
        _notices(summary),
        _footer(summary),
    ]
    style = files("parslab.monitoring.report").joinpath("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Run {escaped(summary.run.run)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def moment(time: float) -> str:
    """Write a time in the zone of the reader's host."""
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _header(summary: Summary) -> str:
    run = summary.run
    words, mood = _STATUS[run.status]
    reason = f" ({escaped(run.reason)})" if run.reason and run.status != "imported" else ""
    executors = ", ".join(map(escaped, run.executors)) or "no executor"
    return (
        f'<h1>Run {escaped(run.run)}</h1>\n<p><span class="state {mood}">{words}</span>{reason}. '
        f'<span class="soft">It began {moment(run.started)} on {escaped(run.host)} with {executors}.</span></p>'
    )


def _facts(summary: Summary) -> str:
    tasks, use = summary.tasks, summary.utilisation
    states = ", ".join(
        f"{count(number)} {TASK_STATES[TaskState[name]].label.lower()}"
        for name, number in tasks.states.items()
        if TaskState[name] not in SUCCESSES and name != TaskState.failed.name
    )
    facts = [
        ("Duration", span(summary.run.seconds), ""),
        ("Tasks", count(tasks.total), states),
        ("Succeeded", count(tasks.succeeded), f"{count(tasks.memoized)} memoized" if tasks.memoized else ""),
        ("Failed", f'<span class="{"bad" if tasks.failed else ""}">{count(tasks.failed)}</span>', _retries(summary)),
        ("Total run time", span(summary.times.run), ""),
    ]
    if use.mean is not None:
        facts.append(("Workers busy", percent(use.mean), f"at most {_level(max(use.workers))} workers"))
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{value}{f'<small>{note}</small>' if note else ''}</dd></div>"
        for name, value, note in facts
    )
    return f'<dl class="facts">{cells}</dl>'


def _retries(summary: Summary) -> str:
    retries = summary.retries
    return f"{count(retries.tasks)} retried, {count(retries.rescued)} then succeeded" if retries.tasks else ""


def _over_time(summary: Summary) -> str:
    use = summary.utilisation
    if not summary.tasks.total:
        return "<h2>Over time</h2><p>The run has had no task.</p>"
    most = max(*use.running, *use.workers) or 1.0
    drawn = area(use.running, most, "run") + (polyline(use.workers, most, "joining") if use.workers else "")
    keys = [key("run", f"tasks that ran, at most {_level(max(use.running))} at a time")]
    if use.workers:
        keys.append(key("joining", f"workers, at most {_level(max(use.workers))}", edge=True))
    busy = f" Workers were busy for {percent(use.mean)} of their time." if use.mean is not None else ""
    first = _plot(keys, drawn, "11rem", f"Tasks that ran, over time.{busy}")
    queued = max(use.waiting)
    if not queued:
        return f"<h2>Over time</h2>{first}{_ticks(summary.run.seconds)}</figure>"
    second = _plot(
        [key("queue", f"tasks that waited for a worker, at most {_level(queued)}")],
        area(use.waiting, queued, "queue"),
        "5rem",
        "Tasks that waited for a worker, over time.",
    )
    return f"<h2>Over time</h2>{first}</figure>{second}{_ticks(summary.run.seconds)}</figure>"


def _plot(keys: Sequence[str], drawn: str, height: str, title: str) -> str:
    return (
        f'<figure><figcaption>{"".join(keys)}</figcaption><div class="plot">'
        f'<svg viewBox="0 0 240 100" preserveAspectRatio="none" style="height:{height}" role="img" '
        f'aria-label="{title}">{drawn}</svg></div>'
    )


def _level(value: float) -> str:
    """Write a value of a curve."""
    return f"{value:.1f}" if value < 9.95 and value != int(value) else count(round(value))


def _ticks(seconds: float) -> str:
    labels = "".join(f"<span>{span(seconds * quarter / 4)}</span>" for quarter in range(5))
    return f'<div class="ticks" aria-hidden="true">{labels}</div>'


def _critical_path(summary: Summary) -> str:
    path = summary.critical_path
    if not path.length:
        return ""
    parts = [(name, getattr(path, name)) for name in _PARTS]
    whole = sum(value for _, value in parts) or 1.0
    keys = [
        key(name, f"{_PARTS[name]}: {span(value)} ({percent(value / whole)})") for name, value in parts if value > 0
    ]
    after = summary.run.seconds - path.seconds
    rest = f" The run then went on for {span(after)} without ending a task." if after > 0.05 * whole else ""
    most, value = max(parts, key=lambda part: part[1])
    advice = f" For {percent(value / whole)} of that time it {_MOST[most]}: {_ADVICE[most]}." if value > 0 else ""
    cut = "" if path.whole else " The chain is longer; its beginning is left out."
    chain = (
        f"One task, which needed no other, ended last, after {span(path.seconds)}."
        if path.length == 1
        else f"A chain of {count(path.length)} tasks, of which each needed the one before it, ended last, "
        f"after {span(path.seconds)}."
    )
    return (
        "<h2>Critical path</h2>"
        f"<p>{chain}{advice}{rest}{cut}</p>"
        f"<figure><figcaption>{''.join(keys)}</figcaption>{bar(parts, 'Parts of the critical path')}</figure>"
        f"{path_steps(path)}"
    )


def _sums(summary: Summary) -> str:
    times = summary.times
    parts = [
        ("program", "waited for results of other tasks", times.waiting),
        ("queue", "waited for a worker", times.queue),
        ("transfer", "on the way to the function", times.transfer),
        ("run", "ran", times.run),
        ("joining", "joined other futures", times.joining),
    ]
    keys = [key(name, f"{words}: {span(value)}") for name, words, value in parts if value > 0]
    if not keys:
        return ""
    drawn = bar([(name, value) for name, _, value in parts], "Parts of the time of all tasks")
    return (
        f"<h2>All tasks together</h2><p>What the tasks did, summed over {count(summary.tasks.total)} of them.</p>"
        f"<figure><figcaption>{''.join(keys)}</figcaption>{drawn}</figure>"
    )


def _notices(summary: Summary) -> str:
    if not summary.notices:
        return ""
    items = "".join(f"<li>{escaped(text)}</li>" for text in summary.notices)
    return f"<h2>Warnings of the run</h2><ul>{items}</ul>"


def _footer(summary: Summary) -> str:
    return (
        f'<p class="soft">Files of the run: <code>{escaped(summary.run.run_dir)}</code>. '
        f"Written {moment(summary.written)} by parslab {escaped(summary.written_by)}.</p>"
    )
