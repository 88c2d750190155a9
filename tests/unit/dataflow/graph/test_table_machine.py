"""The task graph under every order of events that hypothesis can think of, checked after each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.invariants import check
from parslab.dataflow.operations.retry_plan import plan, reopen
from parslab.records.events import TaskMoved, TaskReopened
from parslab.records.states import FINAL, TaskState
from parslab.testing.fakes import call, outcome
from parslab.wire.messages.base import Failure, TaskKind, TaskSpec
from parslab.wire.messages.client import (
    JoinBodyReturned,
    RequestRetryCost,
    RequestValue,
    RetryCost,
    RunLocalTask,
    TaskResolved,
    TasksReopened,
)

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task

S = TaskState
KINDS = st.sampled_from([TaskKind.remote] * 4 + [TaskKind.local, TaskKind.local, TaskKind.join, TaskKind.external])


class GraphMachine(RuleBasedStateMachine):
    """A client that calls, cancels and releases; workers that answer in any order, late and twice."""

    @initialize(handler=st.booleans())
    def begin(self, handler: bool) -> None:
        self.table = TaskTable(("llex",), retries=1)
        if handler:
            self.table.retries.handlers[0] = 0
        self.later: list[tuple[Task, int]] = []
        """Tasks that wait for their next attempt, and the one that failed."""
        self.asked: list[RequestRetryCost] = []
        self.now = 0.0
        self.calls = 0
        self.known: dict[int, Task] = {}
        """Every task ever made."""
        self.held: set[int] = set()
        """Tasks whose futures the client has."""
        self.ready: list[Task] = []
        self.at_worker: list[Task] = []
        self.at_client: set[int] = set()
        """Local and join bodies that may run, and foreign futures."""
        self.wants: list[int] = []
        self.attempts: dict[int, int] = {}
        """Attempts that have begun to be, by task."""
        self.first: dict[int, int] = {}
        """The attempt that a reopened task began with."""
        self.ended: dict[int, TaskState] = {}
        self.resolved: dict[int, TaskState] = {}

    def after(self) -> None:
        """What the loop does after each round; also the end of every rule."""
        out = self.table.out
        self.ready[:0] = [one.task for one in out.again]
        self.ready += out.ready
        self.later += [(task, attempt) for _, task, attempt in out.later]
        out.ready, out.again, out.later = [], [], []
        for client, message, _ in out.replies:
            assert client == 0
            if isinstance(message, TasksReopened):
                for number in message.tasks:
                    self.resolved.pop(number, None)
            elif isinstance(message, TaskResolved):
                assert message.task not in self.resolved, "resolved twice"
                self.resolved[message.task] = message.state
            elif isinstance(message, RunLocalTask):
                assert message.task not in self.at_client, "asked to run twice"
                self.at_client.add(message.task)
            elif isinstance(message, RequestRetryCost):
                assert self.table.retries.handlers
                self.asked.append(message)
            elif isinstance(message, RequestValue):
                assert self.known[message.task].state is S.exec_done, "asked for before it was there"
                self.wants.append(message.task)
        out.replies = []
        out.stops = []
        for event in out.events:
            if isinstance(event, TaskReopened):
                assert self.ended.pop(event.task) is event.was, "was not so"
                assert event.was is not S.exec_done, "had a result"
                self.attempts[event.task] = event.attempt
                self.first[event.task] = event.attempt
            elif isinstance(event, TaskMoved):
                assert event.task not in self.ended, "moved after its end"
                if event.attempt != self.attempts.setdefault(event.task, 0):
                    assert event.state is S.ready, "another attempt begins ready"
                    self.attempts[event.task] += 1
                    assert event.attempt == self.attempts[event.task], "attempts follow each other"
                    tried = event.attempt - self.first.get(event.task, 0)
                    assert self.table.retries.handlers or tried <= self.most(self.known[event.task]), "tried too often"
                if event.state in FINAL:
                    self.ended[event.task] = event.state
        out.events = []
        for task in self.ready:
            assert task.state in {S.ready, S.cancelled}
            assert task.args or task.state is S.cancelled

    def pick(self, data: st.DataObject, of: Any) -> Any:
        return data.draw(st.sampled_from(sorted(of, key=lambda x: getattr(x, "id", x))))

    # ----- the client

    def most(self, task: Task) -> int:
        """How often a task may be tried again."""
        return 1 if task.spec is None else task.spec.retries

    @rule(kind=KINDS, spec=st.sampled_from([None, None, TaskSpec(retries=0), TaskSpec(retries=4)]), data=st.data())
    def called(self, kind: int, spec: TaskSpec | None, data: st.DataObject) -> None:
        self.now += 1.0
        deps = data.draw(st.lists(st.sampled_from(sorted(self.held)), max_size=3, unique=True)) if self.held else []
        task = self.calls
        self.calls += 1
        if kind == TaskKind.external:
            deps = []
            self.at_client.add(task)
        message = call(task, *deps, kind=kind, at=self.now)
        message.spec = spec
        self.table.submit(0, message, [], "app")
        self.known[task] = self.table.tasks[task]
        self.held.add(task)
        self.after()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cancelled(self, data: st.DataObject) -> None:
        task = self.known[self.pick(data, self.held)]
        before, stays = task.state, task.state in FINAL or self.table.in_thread(task)
        assert self.table.cancel([task.id], self.now) == (not stays)
        assert task.state is (before if stays else S.cancelled)
        self.after()

    @precondition(lambda self: any(self.known[task].state in FINAL for task in self.held))
    @rule(data=st.data())
    def released(self, data: st.DataObject) -> None:
        task = self.pick(data, {task for task in self.held if self.known[task].state in FINAL})
        self.held.discard(task)
        self.table.release([task])
        self.after()

    @precondition(lambda self: self.at_failed())
    @rule(data=st.data(), bodies=st.booleans())
    def reopened(self, data: st.DataObject, bodies: bool) -> None:
        failed = self.at_failed()
        chosen = data.draw(st.lists(st.sampled_from(failed), min_size=1, max_size=3, unique=True))
        joins = [task for task in chosen if self.known[task].kind == TaskKind.join] if bodies else []
        results = {task.id: task.value for task in self.known.values() if task.state is S.exec_done}
        found = plan(self.table, chosen, joins)
        assert set(found.refused).isdisjoint(task.id for task in found.tasks)
        if any(task in self.at_worker for task in found.tasks):
            return  # the kernel waits until the worker has let go
        self.ready = [task for task in self.ready if task not in found.tasks]  # the kernel empties the queues of them
        self.at_client -= {task.id for task in found.tasks}  # what still runs there is given up
        if found.tasks:
            reopen(self.table, found, lambda _: None, self.now)
        for task in chosen:
            assert (self.known[task].state in FINAL) == (task in found.refused) or self.known[
                task
            ].kind == TaskKind.join
        for task, value in results.items():
            assert self.known[task].state is S.exec_done, "had a result"
            assert self.known[task].value is value or self.known[task].value is not None
        self.after()

    def at_failed(self) -> list[int]:
        """What the client may want to be tried again."""
        return sorted(task for task in self.held if self.known[task].state in FINAL - {S.exec_done})

    @precondition(lambda self: self.at_client)
    @rule(data=st.data(), how=st.sampled_from(["done", "done", "failed", "begun"]))
    def ran_at_the_client(self, data: st.DataObject, how: str) -> None:
        task = self.known[self.pick(data, self.at_client)]
        if how == "begun":
            if task.kind != TaskKind.external:
                self.table.started(task, self.now)
            self.after()
            return
        self.at_client.discard(task.id)
        if how == "failed":
            self.table.attempt_ended(task, outcome(task, self.now, self.now, Failure("ValueError")))
        elif task.kind == TaskKind.join:
            older = [t for t in sorted(self.held) if t < task.id]
            inner = data.draw(st.lists(st.sampled_from(older), max_size=3)) if older else []
            many = len(inner) != 1 or data.draw(st.booleans())
            self.table.join_body_returned(task, JoinBodyReturned(task.id, tuple(inner), many, self.now), self.now)
        else:
            self.table.attempt_ended(task, outcome(task, self.now, self.now))
        self.after()

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), cost=st.sampled_from([0.0, 1.0, 1.0, 5.0]), raises=st.booleans(), twice=st.booleans())
    def judged(self, data: st.DataObject, cost: float, raises: bool, twice: bool) -> None:
        asked = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        task = self.known[asked.task]
        waited = task.state is S.fail_retryable and asked.attempt == task.attempt  # else: of an earlier life
        dropped = self.table.dropped
        failure = Failure("RuntimeError") if raises else None
        for _ in range(1 + twice):
            self.table.retry_cost_received(task, RetryCost(task.id, asked.attempt, cost, failure), self.now)
        assert self.table.dropped == dropped + twice + (not waited)
        assert not (waited and raises) or task.state is S.failed
        self.after()

    @precondition(lambda self: self.later)
    @rule(data=st.data())
    def waited(self, data: st.DataObject) -> None:
        task, attempt = self.later.pop(data.draw(st.integers(0, len(self.later) - 1)))
        waits = task.state is S.fail_retryable
        self.table.try_again(task, attempt, self.now)
        assert not waits or task.state in {S.ready, S.launched}
        self.after()

    @precondition(lambda self: self.wants)
    @rule(data=st.data(), shippable=st.booleans())
    def shipped(self, data: st.DataObject, shippable: bool) -> None:
        task = self.known[self.pick(data, self.wants)]
        self.wants.remove(task.id)
        if shippable:
            self.table.value_arrived(task, StoredValue(b"v", []), self.now)
        else:
            self.table.value_not_picklable(task, Failure("SerializationError"), self.now)
        self.after()

    # ----- workers

    @precondition(lambda self: self.ready)
    @rule()
    def sent(self) -> None:
        task = self.ready.pop(0)
        if task.state is S.ready:  # else cancelled while it waited
            assert all(need.value is not None for need in task.needs)
            self.table.sent(task, self.now, "w")
            self.at_worker.append(task)
        self.after()

    @precondition(lambda self: self.at_worker)
    @rule(data=st.data(), how=st.sampled_from(["done", "done", "failed", "begun", "returned", "lost"]))
    def worker_said(self, data: st.DataObject, how: str) -> None:
        task = self.pick(data, self.at_worker)
        if how == "begun":
            self.table.started(task, self.now, "w")
        elif how == "returned" and task.state is not S.running:
            self.at_worker.remove(task)
            self.table.returned(task, self.now)
            self.ready.append(task)
        elif how != "returned":
            self.at_worker.remove(task)
            if how == "done":
                self.table.attempt_ended(task, outcome(task, self.now, self.now), StoredValue(b"v", []), "w")
            else:
                lost = how == "lost"
                failure = Failure("E", reason="worker_lost" if lost else "")
                self.table.attempt_ended(task, outcome(task, 0.0 if lost else self.now, self.now, failure), None, "w")
        self.after()

    @precondition(lambda self: any(task.attempt for task in self.known.values()))
    @rule(data=st.data(), good=st.booleans())
    def told_of_an_earlier_attempt(self, data: st.DataObject, good: bool) -> None:
        task = self.pick(data, [task for task in self.known.values() if task.attempt])
        attempt = data.draw(st.integers(0, task.attempt - 1))
        before, state = self.table.dropped, task.state
        if good:
            self.table.attempt_ended(
                task, outcome(task, self.now, self.now, attempt=attempt), StoredValue(b"late", []), "w"
            )
        else:
            self.table.attempt_ended(
                task, outcome(task, self.now, self.now, Failure("late"), attempt=attempt), None, "w"
            )
        assert self.table.dropped == before + 1
        assert task.state is state
        self.after()

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), good=st.booleans())
    def told_again(self, data: st.DataObject, good: bool) -> None:
        task = self.known[self.pick(data, self.ended)]
        before, state = self.table.dropped, task.state
        if good:
            self.table.attempt_ended(task, outcome(task, self.now, self.now), StoredValue(b"late", []))
        else:
            self.table.attempt_ended(task, outcome(task, self.now, self.now, Failure("late")))
        assert self.table.dropped == before + 1
        assert task.state is state
        self.after()

    # ----- always

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "table"):
            return
        check(self.table)
        assert self.resolved == self.ended
        assert self.held <= set(self.table.tasks)
        for task in self.table.tasks.values():
            if task.state is S.exec_done and task.kind == TaskKind.remote:
                assert task.value is not None

    def teardown(self) -> None:
        if not hasattr(self, "table"):
            return
        self.table.cancel(None, self.now, also_threads=True)
        self.after()
        check(self.table)
        assert set(self.ended) == set(self.known) == set(self.resolved)
        self.table.release(sorted(self.held))
        for task in self.wants:
            self.table.value_not_picklable(self.known[task], Failure("gone"), self.now)
        assert not self.table.tasks
        assert self.table.unfinished == 0


# Thousands of steps, which take longer than most tests may on a busy machine.
TestGraph = pytest.mark.timeout(120)(GraphMachine.TestCase)
TestGraph.settings = settings(max_examples=150, stateful_step_count=40)
