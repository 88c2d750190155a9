"""What is remembered, under every order of events that hypothesis can think of: no call has another one's result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.memoization.memo import Memo
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.invariants import check
from parslab.dataflow.operations.retry_plan import plan, reopen
from parslab.records.states import FINAL, SUCCESSES, TaskState
from parslab.testing.fakes import call, memoized_call, outcome
from parslab.wire.messages.base import DefineFunction, Failure, TaskKind
from parslab.wire.messages.client import RedefinedApp, RequestValue, RunLocalTask, TaskResolved

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import MemoCall, Task

S = TaskState
VERSIONS = 3
IN_FLIGHT = {S.ready, S.launched, S.running}


class MemoMachine(RuleBasedStateMachine):
    """Apps that remember and apps that do not, edited now and then; a disk that fails; workers in any order.

    An app that caches returns its version, its argument and its inputs; others return something new each
    time.  So a wrong result shows.
    """

    @initialize()
    def begin(self) -> None:
        self.codes = FunctionRegistry()
        self.fns = [
            self.codes.add(DefineFunction(0, b"f%d" % version, "f", 1, b"f%d" % version), b"")
            for version in range(VERSIONS)
        ]
        self.memo = Memo(self.codes, bound=3000)
        self.memo.durable = True
        self.memo.fetch = self.fetch
        self.table = TaskTable(("llex",), 1, self.memo)
        self.disk: dict[int, tuple[MemoCall, StoredValue] | None] = {}
        self.version = 0
        self.now = 0.0
        self.known: dict[int, Task] = {}
        self.made: dict[int, tuple[str, tuple[int, ...]]] = {}
        """What each task was called with, and which tasks it was given."""
        self.gave: dict[int, bytes] = {}
        """What apps that do not remember gave."""
        self.held: set[int] = set()
        self.ready: list[Task] = []
        self.at_worker: list[Task] = []
        self.at_client: list[int] = []
        self.wants: list[int] = []
        self.resolved: dict[int, TaskState] = {}

    def fetch(self, place: int) -> tuple[MemoCall, StoredValue] | None:
        return self.disk.get(place)

    def after(self) -> None:
        out = self.table.out
        self.ready += out.ready
        self.ready += [again.task for again in out.again]
        out.ready, out.again, out.stops, out.events, out.large = [], [], [], [], []
        for pause, task, attempt in out.later:
            assert pause > 0
            self.table.try_again(task, attempt, self.now)
        out.later = []
        for _, message, _ in out.replies:
            if isinstance(message, TaskResolved):
                assert message.task not in self.resolved, "resolved twice"
                self.resolved[message.task] = message.state
            elif isinstance(message, RunLocalTask):
                self.at_client.append(message.task)
            elif isinstance(message, RequestValue):
                self.wants.append(message.task)
        out.replies = []
        if self.table.out.ready or self.table.out.again:
            self.after()

    def means(self, number: int) -> bytes:
        """What this task gives, if it gives anything."""
        argument, deps = self.made[number]
        if not argument:
            return self.gave[number]
        return argument.encode() + b"(" + b",".join(self.means(dep) for dep in deps) + b")"

    def pick(self, data: st.DataObject, of: Any) -> Any:
        return data.draw(st.sampled_from(sorted(of, key=lambda x: getattr(x, "id", x))))

    # ----- the client

    @rule(data=st.data(), remembers=st.sampled_from([True, True, False]), argument=st.sampled_from("xyz"))
    def called(self, data: st.DataObject, remembers: bool, argument: str) -> None:
        self.now += 1.0
        number = len(self.made)
        deps = data.draw(st.lists(st.sampled_from(sorted(self.held)), max_size=2)) if self.held else []
        deps = list(dict.fromkeys(deps))
        kind = data.draw(st.sampled_from([TaskKind.remote] * 3 + [TaskKind.local]))
        if remembers:
            self.made[number] = f"{kind}{self.version}{argument}", tuple(deps)
            identity = argument if kind == TaskKind.remote else f"{self.version}{argument}"
            fn = self.fns[self.version] if kind == TaskKind.remote else -1
            message = memoized_call(number, *deps, kind=kind, identity=identity.encode(), fn=fn)
        else:
            self.made[number] = "", tuple(deps)
            message = call(number, *deps, kind=kind)
        self.table.submit(0, message, [], "f")
        self.known[number] = self.table.tasks[number]
        self.held.add(number)
        self.after()

    @rule(version=st.integers(0, VERSIONS - 1))
    def edited(self, version: int) -> None:
        """The user runs the cell with the app again; sometimes an edit is undone."""
        self.version = version

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cancelled(self, data: st.DataObject) -> None:
        self.table.cancel([self.pick(data, self.held)], self.now, also_threads=True)
        self.after()

    @precondition(lambda self: any(self.known[task].state in FINAL for task in self.held))
    @rule(data=st.data())
    def released(self, data: st.DataObject) -> None:
        task = self.pick(data, {task for task in self.held if self.known[task].state in FINAL})
        self.held.discard(task)
        self.table.release([task])
        self.after()

    @precondition(lambda self: any(self.known[task].state in FINAL - SUCCESSES for task in self.held))
    @rule(data=st.data())
    def tried_again(self, data: st.DataObject) -> None:
        task = self.pick(data, {task for task in self.held if self.known[task].state in FINAL - SUCCESSES})
        self.at_worker = [t for t in self.at_worker if t.state not in FINAL]
        self.ready = [t for t in self.ready if t.state not in FINAL]
        self.at_client = [t for t in self.at_client if self.known[t].state not in FINAL]
        version = self.version

        def mended(task: Task) -> RedefinedApp | None:
            return RedefinedApp("", self.fns[version]) if task.call is not None else None

        again = plan(self.table, [task])
        reopen(self.table, again, mended, self.now)
        for one in again.tasks:
            self.resolved.pop(one.id, None)
            argument, deps = self.made[one.id]
            if argument and one.kind == TaskKind.remote:
                self.made[one.id] = f"{one.kind}{version}{argument[-1]}", deps
        self.after()

    @precondition(lambda self: self.at_client)
    @rule(data=st.data(), good=st.sampled_from([True, True, False]))
    def ran_here(self, data: st.DataObject, good: bool) -> None:
        number = self.pick(data, self.at_client)
        self.at_client.remove(number)
        task = self.known[number]
        if task.state in FINAL:
            return
        if good:
            self.gave[number] = b"g%d.%d" % (number, task.attempt)
            self.table.attempt_ended(task, outcome(task, self.now, self.now))
        else:
            self.table.attempt_ended(task, outcome(task, self.now, self.now, Failure("E")))
        self.after()

    @precondition(lambda self: self.wants)
    @rule(data=st.data(), shippable=st.sampled_from([True, True, False]))
    def shipped(self, data: st.DataObject, shippable: bool) -> None:
        number = self.pick(data, self.wants)
        self.wants.remove(number)
        task = self.known[number]
        if shippable:
            self.table.value_arrived(task, StoredValue(self.means(number), []), self.now)
        else:
            self.table.value_not_picklable(task, Failure("SerializationError"), self.now)
        self.after()

    # ----- workers and disk

    @precondition(lambda self: any(task.state is S.ready for task in self.ready))
    @rule(data=st.data(), good=st.sampled_from([True, True, False]))
    def ran(self, data: st.DataObject, good: bool) -> None:
        task = self.pick(data, {task for task in self.ready if task.state is S.ready})
        self.ready.remove(task)
        self.table.sent(task, self.now, "w")
        if not good:
            self.table.attempt_ended(task, outcome(task, self.now, self.now, Failure("E")), None, "w")
        else:
            self.gave[task.id] = b"g%d.%d" % (task.id, task.attempt)
            self.table.attempt_ended(task, outcome(task, self.now, self.now), StoredValue(self.means(task.id), []), "w")
        self.after()

    @rule(damaged=st.sampled_from([False, False, True]))
    def written(self, damaged: bool) -> None:
        for key, held in list(self.memo.unwritten.items()):
            place = len(self.disk)
            self.disk[place] = None if damaged else (held.call, StoredValue(bytes(held.value.inline), []))
            self.memo.wrote(key, place)
        self.memo.relieve(durable=True)

    # ----- always

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "table"):
            return
        check(self.table)
        in_flight: set[tuple[int, bytes]] = set()
        for number, task in self.known.items():
            if task.state in SUCCESSES and task.value is not None and task.value.inline:
                assert task.value.inline == self.means(number), task.story()
            if task.call is not None and task.call.key is not None and task.state in IN_FLIGHT:
                assert (task.kind, task.call.key) not in in_flight, f"it runs twice: {task.story()}"
                in_flight.add((task.kind, task.call.key))
            if task.state is S.memo_done:
                assert task.value is not None
        assert self.memo.held == sum(h.size for h in [*self.memo.unwritten.values(), *self.memo._written.values()])
        for key, leader in self.memo._running.items():
            assert leader.call is not None
            assert leader.call.key == key
            assert leader.state not in FINAL or leader.call.awaited

    def teardown(self) -> None:
        if not hasattr(self, "table"):
            return
        self.table.cancel(None, self.now, also_threads=True)
        self.after()
        for number in self.wants:
            self.table.value_not_picklable(self.known[number], Failure("gone"), self.now)
        self.after()
        check(self.table)
        self.table.release(sorted(self.table.tasks))
        assert not self.table.tasks
        assert not self.memo._running


# Thousands of steps, which take longer than most tests may on a busy machine.
TestMemo = pytest.mark.timeout(120)(MemoMachine.TestCase)
TestMemo.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
