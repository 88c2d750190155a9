"""Counts the tasks of each app in each state.

[core]  The view owns the counts.  Moves of tasks change the dictionaries of apps in place.  Invariant: no count is
negative, and all of them add up to the number of tasks.
"""

from __future__ import annotations

from parslab.monitoring.view.text import TEXT, clipped
from parslab.records.states import TaskState

__all__ = ["MAX_APPS", "OTHER_APPS", "StateCounts"]

MAX_APPS = 200
"""Apps with counts of their own; ``OTHER_APPS`` counts the later ones together, or each delta would grow with them."""

OTHER_APPS = "(other apps)"


class StateCounts:
    """Tasks by app and state."""

    __slots__ = ("by_app",)

    def __init__(self) -> None:
        self.by_app: dict[str, dict[str, int]] = {}

    def of(self, app: str) -> dict[str, int]:
        """Return the counts of an app by name of the state, for the caller to change."""
        return self.by_app.get(app) or self.add(clipped(app, TEXT))

    def add(self, app: str) -> dict[str, int]:
        """Begin to count an app, and return its counts, or those of ``OTHER_APPS`` if there are too many apps."""
        if len(self.by_app) >= MAX_APPS and app not in self.by_app:
            app = OTHER_APPS
        return self.by_app.setdefault(app, {state.name: 0 for state in TaskState})

    def total(self, state: str) -> int:
        """Tasks in a state."""
        return sum(counts[state] for counts in self.by_app.values())

    def overview(self) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
        """Tasks by state, and by app and state, without zeros."""
        totals: dict[str, int] = {}
        apps: dict[str, dict[str, int]] = {}
        for app, counts in self.by_app.items():
            apps[app] = by_state = {state: count for state, count in counts.items() if count}
            for state, count in by_state.items():
                totals[state] = totals.get(state, 0) + count
        return totals, apps
