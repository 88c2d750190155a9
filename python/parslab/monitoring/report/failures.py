"""Groups the failures of a run by their cause, and counts failed attempts.  [core]

Two failures have one cause if their reasons and the patterns of their errors are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parslab.monitoring.failures.patterns import OTHER, pattern_of
from parslab.monitoring.report.summary import FailureGroup, RetrySummary
from parslab.records.reasons import Reason
from parslab.records.states import FAILURES, SUCCESSES

if TYPE_CHECKING:
    import sqlite3

__all__ = ["failure_groups", "retry_summary"]

GROUPS = 20
"""Groups that the report lists."""

_MANY = 1000
"""Groups that are counted separately; later ones share one group."""

_ERROR = 400
_APPS = 6
_EXAMPLES = 6

_FAILED = ", ".join(repr(state.name) for state in sorted(FAILURES))
_SUCCEEDED = ", ".join(repr(state.name) for state in sorted(SUCCESSES))


@dataclass(slots=True)
class _Group:
    reason: str
    error: str
    tasks: int = 0
    apps: dict[str, None] = field(default_factory=dict)
    examples: list[int] = field(default_factory=list)


def failure_groups(connection: sqlite3.Connection) -> tuple[list[FailureGroup], int]:
    """Return the groups of failed tasks, the largest first, and how many tasks are in groups that are left out."""
    sql = (
        f"SELECT task.id, app, state, substr(task.error, 1, {_ERROR}), coalesce(attempt.reason, '') "
        "FROM task LEFT JOIN attempt ON attempt.task = task.id AND attempt.attempt = task.attempt "
        f"WHERE state IN ({_FAILED}) ORDER BY task.id"
    )
    groups: dict[tuple[str, int], _Group] = {}
    for id, app, state, error, reason in connection.execute(sql):
        cause = Reason.dependency.value if state == "dep_fail" else reason
        key = (cause, pattern_of(error).group)
        group = groups.get(key)
        if group is None:
            if len(groups) >= _MANY:
                key, error, cause = ("", OTHER), "", ""
            group = groups.setdefault(key, _Group(cause, error))
        group.tasks += 1
        if len(group.apps) < _APPS:
            group.apps[app] = None
        if len(group.examples) < _EXAMPLES:
            group.examples.append(id)
    # The group of all other causes is the last one, however large it is.
    ordered = sorted(groups.values(), key=lambda group: (not (group.reason or group.error), -group.tasks))
    shown = [
        FailureGroup(
            reason=group.reason,
            error=group.error,
            tasks=group.tasks,
            apps=list(group.apps),
            examples=group.examples,
        )
        for group in ordered[:GROUPS]
    ]
    return shown, sum(group.tasks for group in ordered[GROUPS:])


def retry_summary(connection: sqlite3.Connection) -> RetrySummary:
    """Return what the failed attempts of a run cost."""
    reasons = connection.execute(
        "SELECT reason, count(*), sum(max(0.0, ended - coalesce(started, ended))) FROM attempt "
        "GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 20"
    ).fetchall()
    tried = "SELECT count(*), coalesce(sum(state IN ({})), 0) FROM task WHERE attempt > 0"
    tasks, rescued = connection.execute(tried.format(_SUCCEEDED)).fetchone()
    return RetrySummary(
        attempts=sum(count for _, count, _ in reasons),
        tasks=tasks,
        rescued=rescued,
        seconds=sum(seconds or 0.0 for _, _, seconds in reasons),
        reasons={reason: count for reason, count, _ in reasons},
    )
