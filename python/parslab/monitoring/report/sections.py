"""Writes the tables of the page: apps, failures, tasks, workers, blocks and the steps of the critical path.  [core]"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.monitoring.report.markup import count, escaped, interval, percent, share, span, table
from parslab.records.panel import CLIENT_SHIFT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.monitoring.report.summary import BlockUse, CriticalPath, Summary

__all__ = [
    "apps_section",
    "blocks_section",
    "failures_section",
    "path_steps",
    "slowest_section",
    "workers_section",
]

_SLOWEST = 10
"""Tasks in the table; the JSON summary has more."""

_NUMBER = (1 << CLIENT_SHIFT) - 1


def apps_section(summary: Summary) -> str:
    """Return the table of apps."""
    if not summary.apps:
        return ""
    whole = sum(app.run for app in summary.apps) or 1.0
    heads = [
        ("app", ""),
        ("tasks", "number"),
        ("failed", "number"),
        ("memoized", "number wide"),
        ("median", "number wide"),
        ("95 %", "number wide"),
        ("longest", "number wide"),
        ("run time", "number"),
        ("share of it", "share"),
    ]
    rows = [
        [
            escaped(app.app),
            count(app.tasks),
            f'<span class="bad">{count(app.failed)}</span>' if app.failed else "0",
            count(app.memoized),
            span(app.median),
            span(app.p95),
            span(app.longest),
            span(app.run),
            share(app.run / whole),
        ]
        for app in summary.apps
    ]
    listed = table("Tasks of each app, and how long they ran", heads, rows)
    return f"<h2>Apps</h2>{listed}{_more(summary.apps_hidden, 'app')}"


def failures_section(summary: Summary) -> str:
    """Return the table of failures."""
    if not summary.failures:
        return ""
    heads = [("cause", "text"), ("tasks", "number"), ("reason", "wide"), ("apps", "wide"), ("for example", "")]
    rows = [
        [
            escaped(group.error) or "of other causes",
            count(group.tasks),
            escaped(group.reason.replace("_", " ")),
            escaped(", ".join(group.apps)),
            f"task {', '.join(map(_number, group.examples[:3]))}",
        ]
        for group in summary.failures
    ]
    hidden = (
        f"<p>{count(summary.failures_hidden)} tasks failed for other causes.</p>" if summary.failures_hidden else ""
    )
    return f"<h2>Failures</h2>{table('Tasks that failed, by cause', heads, rows)}{hidden}{_attempts(summary)}"


def _attempts(summary: Summary) -> str:
    retries = summary.retries
    if not retries.tasks:
        return ""
    reasons = ", ".join(
        f"{count(number)} {escaped(reason.replace('_', ' '))}" for reason, number in retries.reasons.items()
    )
    return (
        f"<p>{count(retries.tasks)} tasks were tried more than once, and {count(retries.rescued)} of them then "
        f"succeeded. Failed attempts took {span(retries.seconds)} in all: {reasons}.</p>"
    )


def slowest_section(summary: Summary) -> str:
    """Return the table of the tasks that ran longest."""
    if not summary.slowest:
        return ""
    most = summary.slowest[0].run or 1.0
    heads = [
        ("task", "id"),
        ("app", ""),
        ("arguments", "text wide"),
        ("attempts", "number wide"),
        ("queue", "number wide"),
        ("run time", "number"),
        ("", "share"),
    ]
    rows = [
        [
            _number(task.task),
            escaped(task.app),
            f"<code>{escaped(_shortened(task.arguments, 60))}</code>" if task.arguments else "",
            str(task.attempts),
            span(task.queue),
            span(task.run),
            share(task.run / most),
        ]
        for task in summary.slowest[:_SLOWEST]
    ]
    return f"<h2>Slowest tasks</h2>{table('Tasks by run time', heads, rows)}"


def workers_section(summary: Summary) -> str:
    """Return the table of workers."""
    if not summary.workers:
        return ""
    heads = [
        ("worker", "id"),
        ("host", "wide"),
        ("tasks", "number"),
        ("run time", "number"),
        ("of the run", "number"),
        ("", "share"),
    ]
    seconds = summary.run.seconds or 1.0
    rows = []
    for worker in summary.workers:
        ratio = min(1.0, worker.run / (seconds * worker.workers)) if worker.workers else None
        many = f"<br>{count(worker.workers)} workers" if worker.workers > 1 else ""
        rows.append(
            [
                f"{escaped(worker.worker)}{many}",
                escaped(worker.host),
                count(worker.tasks),
                span(worker.run),
                "-" if ratio is None else percent(ratio),
                "" if ratio is None else share(ratio),
            ]
        )
    return (
        f"<h2>Workers</h2>{table('Workers, and managers with several workers, by run time', heads, rows)}"
        f"{_more(summary.workers_hidden, 'worker')}"
    )


def blocks_section(summary: Summary) -> str:
    """Return the table of blocks."""
    if not summary.blocks:
        return ""
    heads = [
        ("block", "id"),
        ("state", ""),
        ("nodes", "number wide"),
        ("workers", "number wide"),
        ("in the queue", "number"),
        ("when", "strip"),
    ]
    rows = [
        [
            escaped(f"{block.executor}/{block.block}"),
            escaped(block.state.replace("_", " ") + (f" ({_shortened(block.reason, 120)})" if block.reason else "")),
            count(block.nodes),
            count(block.workers),
            span(block.queue),
            _lifetime(block, summary),
        ]
        for block in summary.blocks
    ]
    return (
        f"<h2>Blocks</h2>{table('Jobs of schedulers: queued, then running, over the time of the run', heads, rows)}"
        f"{_more(summary.blocks_hidden, 'block')}"
    )


def _lifetime(block: BlockUse, summary: Summary) -> str:
    begin, seconds = summary.run.started, summary.run.seconds or 1.0
    end = seconds if block.ended is None else block.ended - begin
    if block.started is None:
        return interval([("queue", block.requested - begin, end)], seconds)
    started = block.started - begin
    return interval([("queue", block.requested - begin, started), ("run", started, end)], seconds)


def path_steps(path: CriticalPath) -> str:
    """Return the steps of the critical path, folded."""
    heads = [
        ("task", "id"),
        ("app", ""),
        ("program", "number wide"),
        ("queue", "number"),
        ("transfer", "number wide"),
        ("run", "number"),
        ("joining", "number wide"),
    ]
    rows: list[Sequence[str]] = []
    for at, step in enumerate(path.steps):
        if path.hidden and at == len(path.steps) // 2:
            rows.append([f"… {count(path.hidden)} more", "", "", "", "", "", ""])
        rows.append(
            [
                _number(step.task),
                escaped(step.app),
                span(step.program),
                span(step.queue),
                span(step.transfer),
                span(step.run),
                span(step.joining),
            ]
        )
    return f"<details><summary>The tasks of the chain</summary>{table('In the order of time', heads, rows)}</details>"


def _number(task: int) -> str:
    """Write a task as panels show it: its number among the tasks of its client."""
    return str(task & _NUMBER)


def _shortened(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _more(hidden: int, what: str) -> str:
    return f'<p class="soft">{count(hidden)} more {what}{"" if hidden == 1 else "s"}.</p>' if hidden else ""
