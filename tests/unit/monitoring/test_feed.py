"""The feed: numbers without gaps, leases, pace, and several panels that all end with the same picture."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.monitoring.feed import BEAT, INTERVAL, ROW, Feed
from parslab.monitoring.view.rate import WINDOW
from parslab.monitoring.view.view import View
from parslab.records.events import Event, NoticeRaised, TaskMoved, TaskSubmitted, WorkerMoved
from parslab.records.panel import (
    LEASE,
    CancelRequest,
    Delta,
    Heartbeat,
    Snapshot,
    SnapshotRequest,
    TaskDetailRequest,
    TaskPageRequest,
)
from parslab.records.states import TaskState, WorkerState

S = TaskState


class Panel:
    """A front end: applies the deltas that it gets and attaches again when a number is missing."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.attach(snapshot)

    def attach(self, snapshot: Snapshot) -> None:
        self.seq = snapshot.seq
        self.nodes = {node.id: msgspec.to_builtins(node) for node in snapshot.nodes}
        self.workers = {row.worker: row for row in snapshot.workers}
        self.notices = [notice.text for notice in snapshot.notices]
        self.overview = snapshot.overview
        self.lost = False

    def receive(self, delta: Delta) -> None:
        if delta.seq <= self.seq or self.lost:
            return
        if delta.seq != self.seq + 1:
            self.lost = True
            return
        self.seq = delta.seq
        for node in delta.nodes:
            assert node.id not in self.nodes
            self.nodes[node.id] = msgspec.to_builtins(node)
        for change in delta.changes:
            self.nodes[change.id][2] = change.state
        self.workers |= {row.worker: row for row in delta.workers}
        self.notices += [notice.text for notice in delta.notices]
        self.overview = delta.overview


def snapshot(feed: Feed, now: float) -> Snapshot:
    answer = feed.ask(SnapshotRequest("a"), now)
    assert isinstance(answer, Snapshot)
    return answer


def task(number: int, *states: TaskState) -> list[Event]:
    events: list[Event] = [TaskSubmitted(0.0, number, "fit", S.ready, "llex", 1)]
    return events + [TaskMoved(1.0, number, state, 0, "w") for state in states]


STEPS = st.one_of(
    st.tuples(st.just("event"), st.integers(0, 9), st.sampled_from(list(TaskState))),
    st.tuples(st.just("attach"), st.integers(0, 2), st.none()),
    st.tuples(st.just("beat"), st.none(), st.none()),
    st.tuples(st.just("tick"), st.sampled_from([0.0, 0.05, 0.2, 1.5, LEASE + 1]), st.none()),
)


@given(st.lists(STEPS, max_size=60))
def test_every_panel_ends_with_the_picture_of_a_new_one(steps: list[tuple[str, Any, Any]]) -> None:
    view = View(graph_limit=6)
    feed, panels, now, numbers = Feed(view), dict[int, Panel](), 0.0, list[int]()

    def broadcast(deltas: list[Delta]) -> None:
        numbers.extend(delta.seq for delta in deltas)
        for panel in panels.values():
            for delta in deltas:
                panel.receive(delta)

    for what, which, state in steps:
        if what == "event":
            events = [*task(which), TaskMoved(now, which, state), NoticeRaised(now, "info", f"{now} {which}")]
            view.apply(
                [*events, WorkerMoved(now, "w", "llex", WorkerState.busy if which % 2 else WorkerState.idle)], now
            )
        elif what == "attach":
            answer = snapshot(feed, now)
            broadcast(feed.tick(now))  # what the snapshot holds already must do no harm
            panels[which] = Panel(answer)
        elif what == "beat":
            feed.ask(Heartbeat(), now)
        else:
            now += which
            broadcast(feed.tick(now))
    if not panels:
        return
    feed.ask(Heartbeat(), now)
    broadcast(feed.tick(now + INTERVAL))
    assert numbers == sorted(set(numbers))
    # One tick later nothing is pending, so a new panel sees what the old ones have put together.
    new = Panel(snapshot(feed, now + INTERVAL))
    for panel in panels.values():
        if not panel.lost:
            assert (panel.seq, panel.nodes, panel.workers) == (new.seq, new.nodes, new.workers)
            assert panel.notices[-100:] == new.notices
            assert panel.overview.counts == new.overview.counts


def test_nothing_is_sent_before_somebody_attaches_nor_after_the_lease() -> None:
    view = View()
    feed = Feed(view)
    view.apply(task(0), 0.0)
    assert feed.next_deadline(1.0) is None
    assert feed.tick(1.0) == []
    assert snapshot(feed, 1.0).overview.tasks_total == 1
    view.apply(task(1), 1.0)
    assert feed.next_deadline(1.0) == 1.0 + INTERVAL
    assert feed.tick(1.0) == []
    (delta,) = feed.tick(1.0 + INTERVAL)
    assert [node.id for node in delta.nodes] == [1]
    view.apply(task(2), 2.0)
    assert feed.next_deadline(LEASE + 1.1) is None
    assert feed.tick(LEASE + 1.1) == []


def test_a_late_heartbeat_goes_on_where_it_was() -> None:
    view = View()
    feed = Feed(view)
    panel = Panel(snapshot(feed, 0.0))
    view.apply(task(0, S.exec_done), 1.0)
    feed.ask(Heartbeat(), 2 * LEASE)
    for delta in feed.tick(2 * LEASE):
        panel.receive(delta)
    assert (panel.lost, panel.nodes[0][2]) == (False, "exec_done")


def test_silent_panel_gets_all_changes_after_another_attached() -> None:
    view = View()
    feed = Feed(view)
    sleeper = Panel(snapshot(feed, 0.0))
    view.apply(task(0), 1.0)
    assert [node.id for node in snapshot(feed, 2 * LEASE).nodes] == [0]
    view.apply(task(1), 2 * LEASE)
    for delta in [*feed.tick(2 * LEASE + 1), *feed.tick(2 * LEASE + 2)]:
        sleeper.receive(delta)
    assert (sleeper.lost, sorted(sleeper.nodes)) == (False, [0, 1])


def test_a_picture_for_one_who_does_not_listen_starts_nothing_and_swallows_nothing() -> None:
    view = View()
    feed = Feed(view)
    panel = Panel(snapshot(feed, 0.0))
    view.apply(task(0), 1.0)
    once = feed.ask(SnapshotRequest("b", subscribe=False), 1.0)
    assert isinstance(once, Snapshot)
    assert [node.id for node in once.nodes] == [0]
    for delta in feed.tick(2.0):
        panel.receive(delta)
    assert (panel.lost, sorted(panel.nodes)) == (False, [0])
    other = Feed(View())
    other.ask(SnapshotRequest(subscribe=False), 0.0)
    assert not other.listened(0.0)


def test_deltas_are_at_most_ten_a_second_and_a_beat_keeps_the_rate_true() -> None:
    view = View()
    feed = Feed(view)
    snapshot(feed, 0.0)
    view.apply(task(0, S.running), 0.0)
    sent, now = [], 0.0
    while (due := feed.next_deadline(now)) is not None and due < 20.0:
        feed.ask(Heartbeat(), now)
        now = max(now, due)
        sent += [(now, delta.overview.rate) for delta in feed.tick(now)]
        if 3.0 < now < 4.0:
            view.apply([TaskMoved(3.0, 0, S.exec_done)], now)
    times = [time for time, _ in sent]
    assert min(after - before for before, after in pairwise(times)) >= INTERVAL - 1e-9
    assert max(after - before for before, after in pairwise(times)) <= BEAT + 1e-9
    assert sent[-1][1] == 0.0  # the last word is that the rate is back to nothing
    assert sent[-2][1] > 0.0
    assert times[-1] <= 4.0 + WINDOW + BEAT
    assert feed.next_deadline(now) is None


def test_what_is_not_the_feeds_is_handed_back_and_lookups_are_not_listening() -> None:
    view = View()
    feed = Feed(view)
    for message in (TaskPageRequest("1"), TaskDetailRequest("2", 7), CancelRequest("3", [7])):
        assert feed.ask(message, 0.0) is message
    assert not feed.listened(0.0)
    feed.ask(Heartbeat(), 1.0)
    feed.ask(TaskPageRequest("4"), LEASE)
    assert feed.listened(LEASE + 5.0)


@pytest.mark.parametrize("listened", [True, False])
def test_the_last_delta_reaches_every_panel_with_a_lease(listened: bool) -> None:
    view = View()
    feed = Feed(view)
    if listened:
        snapshot(feed, 0.0)
    view.apply(task(0), 0.0)
    assert len(feed.last(0.01)) == listened
    assert feed.last(0.01) == []


def test_run_on_thousands_of_nodes_sends_fewer_deltas() -> None:
    view = View()
    feed = Feed(view)
    snapshot(feed, 0.0)

    def busy(state: str) -> list[Event]:
        return [WorkerMoved(1.0, f"w{n}", "htex", WorkerState(state)) for n in range(800)]

    view.apply(busy("idle"), 1.0)
    assert len(feed.tick(1.0)[0].workers) == 800
    view.apply(busy("busy"), 1.0)
    assert feed.next_deadline(1.0) == 1.0 + 800 * ROW > 1.0 + INTERVAL
    assert feed.tick(1.0 + INTERVAL) == []
    assert len(feed.tick(1.0 + 800 * ROW)) == 1
    view.apply(busy("idle")[:1], 2.0)
    assert len(feed.tick(2.0)) == 1
    view.apply(busy("busy")[:1], 2.0)
    assert feed.next_deadline(2.0) == 2.0 + INTERVAL
