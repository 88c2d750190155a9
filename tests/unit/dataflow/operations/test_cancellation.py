"""Whose tasks a cancellation means, and the line that is said about it."""

from __future__ import annotations

from typing import Any

import pytest

from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.operations.cancellation import cancel
from parslab.monitoring.view.view import View
from parslab.records.panel import CancelRequest
from parslab.records.states import TaskState
from parslab.testing.fakes import call, outcome
from parslab.wire.messages.base import TaskKind


class Run:
    """Tasks of two notebooks, and what monitoring knows of them."""

    def __init__(self) -> None:
        self.table, self.view = TaskTable(("llex", "threads")), View()

    def call(self, task: int, app: str, cell: str = "", client: int = 0, kind: int = TaskKind.remote) -> None:
        message = call(task, kind=kind)
        message.cell = cell
        self.table.submit(client, message, [], app)

    def cancel(self, asker: int = 0, **what: Any) -> str:
        self.view.apply(self.table.out.events, 1.0)
        self.table.out.events = []
        return cancel(CancelRequest("", **what), asker, self.table, self.view, 2.0)

    def cancelled(self) -> list[int]:
        return [task.id for task in self.table.tasks.values() if task.state is TaskState.cancelled]


@pytest.fixture
def run() -> Run:
    run = Run()
    run.call(1, "fit", "In [5]")
    run.call(2, "plot", "In [5]")
    run.call(3, "fit", "In [5]", client=1)
    run.call(4, "fit", "In [6]")
    run.call(5, "here", kind=TaskKind.local)
    return run


def test_tasks_are_named_by_number(run: Run) -> None:
    assert run.cancel(tasks=[1, 3, 99]) == "2 tasks cancelled"
    assert run.cancelled() == [1, 3]
    assert run.cancel(tasks=[1]) == "nothing to cancel: none of these tasks is unfinished"


def test_a_cell_is_that_of_the_notebook_which_asks(run: Run) -> None:
    assert run.cancel(cell="In [5]") == "2 tasks cancelled"
    assert run.cancelled() == [1, 2]
    assert run.cancel(cell="In [5]") == "nothing to cancel: no task that cell In [5] has called is unfinished"
    assert run.cancel(cell="In [5]", client=1) == "1 task cancelled"
    assert run.cancelled() == [1, 2, 3]
    assert run.cancel(1, cell="In [6]").startswith("nothing to cancel")


def test_an_app_is_that_of_everybody(run: Run) -> None:
    assert run.cancel(app="fit") == "3 tasks cancelled"
    assert run.cancelled() == [1, 3, 4]
    assert run.cancel(app="nobody") == "nothing to cancel: no task of app nobody is unfinished"


def test_everything_but_what_nobody_can_stop(run: Run) -> None:
    for task in (5, 6):
        if task == 6:
            run.call(6, "here", kind=TaskKind.local)
        run.table.started(run.table.tasks[task], 1.0)
    said = "4 tasks cancelled; 2 tasks run in threads of the notebook, where nobody can stop them, and go on"
    assert run.cancel(everything=True) == said
    run.table.attempt_ended(run.table.tasks[6], outcome(run.table.tasks[6], 1.0, 2.0))
    said = "0 tasks cancelled; 1 task runs in threads of the notebook, where nobody can stop it, and goes on"
    assert run.cancel(everything=True) == said
    run.table.attempt_ended(run.table.tasks[5], outcome(run.table.tasks[5], 1.0, 2.0))
    assert run.cancel(everything=True) == "nothing to cancel: no task is unfinished"
