"""A task with one event for all its moves gives the same view as one with an event for each move."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.monitoring.store.tables import TASK
from parslab.monitoring.view.view import View
from parslab.records.events import TaskMoved, TaskSubmitted
from parslab.records.states import FINAL, TaskState
from parslab.testing.fakes import call, outcome
from parslab.wire.messages.base import Failure, TaskKind
from parslab.wire.messages.client import JoinBodyReturned

S = TaskState


class WatchedTable:
    """A table whose events a view applies now and then."""

    def __init__(self, lives: bool) -> None:
        self.table = TaskTable(("llex",), retries=1, fold_moves=lives)
        self.view = View(graph_limit=4)
        self.known: list[Any] = []
        self.rows: dict[int, Any] = {}
        self.applied = 0
        self.now = 0.0

    def do(self, what: int, which: int) -> None:
        """One of the things that can happen, to one of the tasks."""
        self.now += 1.0
        table, known = self.table, self.known
        if what == 0 or not known:
            ids = [task.id for task in known if task.id in table.tasks]
            kind = TaskKind.join if which % 5 == 4 else TaskKind.remote
            table.submit(0, call(len(known), *ids[which % 3 : 2], kind=kind, at=self.now), [], f"app{which % 2}")
            known.append(table.tasks[len(known)])
            return
        task = known[which % len(known)]
        if what == 1:
            if task.state is S.ready:
                table.sent(task, self.now, "w")
        elif what == 2:
            table.started(task, self.now, "w")
        elif what == 3:
            if task.state in {S.launched, S.running} and task.kind == TaskKind.remote:
                table.attempt_ended(task, outcome(task, self.now - 0.5, self.now), StoredValue(b"v", []), "w")
        elif what == 4:
            if task.state in {S.launched, S.running}:
                table.attempt_ended(task, outcome(task, self.now - 0.5, self.now, Failure("ValueError: no")), None, "w")
        elif what == 5:
            if task.state is S.launched and task.kind == TaskKind.remote:
                table.returned(task, self.now)
        elif what == 6:
            table.cancel([task.id], self.now)
        elif what == 7:
            if task.state in {S.launched, S.running} and task.kind == TaskKind.join:
                table.join_body_returned(
                    task,
                    JoinBodyReturned(task.id, tuple(t.id for t in known[:1] if t is not task), True, self.now - 0.5),
                    self.now,
                )
        else:
            self.apply_events()

    def apply_events(self) -> None:
        events, self.table.out.events = self.table.out.events, []
        self.applied += len(events)
        self.view.apply(events, self.now)
        for cells in self.view.take_batch().tasks:
            self.rows[cells[0]] = dict(zip(TASK.columns, cells, strict=True))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 9)), max_size=80))
@settings(deadline=None)
def test_one_event_gives_the_same_rows_as_many(steps: list[tuple[int, int]]) -> None:
    one, many = WatchedTable(lives=True), WatchedTable(lives=False)
    for watched in (one, many):
        for what, which in steps:
            watched.do(what, which)
        watched.apply_events()
    assert one.rows == many.rows
    assert one.view.overview(0.0) == many.view.overview(0.0)
    assert one.view.graph.all_nodes() == many.view.graph.all_nodes()
    assert one.view.dropped == many.view.dropped == 0
    assert one.applied <= many.applied


def test_unread_task_is_one_event() -> None:
    watched = WatchedTable(lives=True)
    for what in (0, 1, 2, 3):
        watched.do(what, 0)
    (event,) = watched.table.out.events
    assert isinstance(event, TaskSubmitted)
    assert event.state is S.exec_done
    watched.apply_events()
    assert watched.rows[0]["state"] == "exec_done"
    assert watched.view.tasks.finished == 1


def test_each_move_after_the_first_read_is_an_event() -> None:
    watched = WatchedTable(lives=True)
    watched.do(0, 0)
    watched.apply_events()
    watched.do(1, 0)
    watched.do(3, 0)
    assert [e.state for e in watched.table.out.events if isinstance(e, TaskMoved)] == [
        S.launched,
        S.running,
        S.exec_done,
    ]
    assert watched.known[0].state in FINAL
