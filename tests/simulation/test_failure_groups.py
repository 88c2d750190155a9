"""Runs in which tasks fail, are tried again and are cancelled: each failed task is in one group at any moment."""

from __future__ import annotations

import pytest

from parslab.monitoring.failures.patterns import pattern_of
from parslab.monitoring.view.view import View
from parslab.records.events import Event, TaskFailed, TaskMoved, TaskReopened
from parslab.records.states import TaskState
from parslab.testing.faults import Faults
from parslab.testing.network import Network

STUBBORN = Faults(failed=0.3, cancelled=0.4, forgotten=0.3, unshippable=0.3, retried=0.7)
DEADLY = Faults(killed=0.3, doubled=0.3, failed=0.3, cancelled=0.2, forgotten=0.1, retried=0.7)


class Watched(Network):
    """A run with a view, which is compared with the events after each round."""

    def __init__(self, seed: int, faults: Faults, retries: int) -> None:
        super().__init__(seed, 14, faults=faults, retries=retries)
        self.view = View()
        self.errors: dict[int, str] = {}
        self.failed: dict[int, int] = {}
        """The group in which each failed task must be."""
        self.most = 0

    def _act(self) -> None:
        events = self.table.out.events  # the round adds to this list, and replaces it at its end
        super()._act()
        for event in events:
            self._note(event)
        # Sometimes the store takes the rows of ended tasks, so that only the groups know them.
        self.view.apply(events, self.now)
        if self.random.random() < 0.3:
            self.view.take_batch()
        rows = self.view.failures.all_rows()
        shown = {task: row.number for row in rows for task in self.view.failures.tasks_of(row.number)}
        assert shown == self.failed
        assert sum(row.tasks for row in rows) == len(shown)
        self.most = max(self.most, len(shown))

    def _note(self, event: Event) -> None:
        if isinstance(event, TaskFailed):
            self.errors[event.task] = event.error
        elif isinstance(event, TaskReopened):
            self.failed.pop(event.task, None)
        elif isinstance(event, TaskMoved) and event.state is TaskState.failed:
            self.failed[event.task] = pattern_of(self.errors[event.task]).group


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("faults", [STUBBORN, DEADLY])
def test_each_failed_task_is_in_one_group(faults: Faults, retries: int) -> None:
    most = 0
    for seed in range(60):
        network = Watched(seed, faults, retries)
        network.play()
        most = max(most, network.most)
        assert not network.view.failures.unsettled
    assert most > 2  # else the runs prove nothing
