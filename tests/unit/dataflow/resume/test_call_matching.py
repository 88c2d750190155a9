"""Calls of a lost kernel go to equal calls of the next one: once each, in order, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.invariants import check
from parslab.dataflow.persistence.log_format import Position
from parslab.dataflow.resume.call_matching import CallMatching, PriorCall
from parslab.records.events import TaskAdopted
from parslab.records.states import FINAL, TaskState
from parslab.testing.fakes import outcome
from parslab.wire.messages.base import DefineFunction, Failure, TaskKind
from parslab.wire.messages.client import CallsMatched, RunLocalTask, SubmitTask, TaskResolved

if TYPE_CHECKING:
    from collections.abc import Sequence

ERROR = Failure("ValueError: no")
LOST, NEXT = 0, 1


class Notebook:
    """A run whose kernel is lost, and another one that makes calls again."""

    def __init__(self) -> None:
        self.table = TaskTable(("llex",))
        self.codes = FunctionRegistry()
        self.client = LOST
        self.calls: list[tuple[SubmitTask, str]] = []
        self.made: dict[int, list[int]] = {LOST: [], NEXT: []}
        self.executions: list[bytes] = []
        """What ran, by its arguments."""
        self.ends: dict[int, tuple[TaskState, StoredValue | None]] = {}
        self.names: dict[int, int] = {}
        self.resolved: dict[int, Any] = {}
        self.local: list[int] = []
        self.ready: list[Any] = []
        self.matching: CallMatching | None = None
        self.unreadable: set[int] = set()

    def function(self, body: bytes, name: str = "f") -> int:
        return self.codes.add(DefineFunction(0, body, name, 1, body, {"body": body}), body)

    def call(self, args: bytes, *deps: int, fn: bytes = b"body", kind: int = TaskKind.remote, unknown: str = "") -> int:
        """Make a call; ``deps`` are what earlier ones returned."""
        number = self.client << 40 | len(self.made[self.client])
        code = self.function(fn)
        task_deps = tuple(self.names.get(dep, dep) for dep in deps)
        message = SubmitTask(
            number, code if kind == TaskKind.remote else -1, kind, 0, args, 0, task_deps, 1.0, args.decode()
        )
        if kind != TaskKind.remote:
            message.identity = fn + args
        message.unknown = unknown
        self.made[self.client].append(number)
        if self.client == LOST:
            self.calls.append((message, "f"))
        if self.matching is None or not self.matching.submit(self.client, message, [], "f"):
            self.table.submit(self.client, message, [], "f")
        self.apply_replies()
        return number

    def apply_replies(self) -> None:
        out = self.table.out
        for client, message, _ in out.replies:
            if isinstance(message, CallsMatched):
                self.names.update(message.tasks)
            elif isinstance(message, TaskResolved):
                task = self.table.tasks.get(message.task)
                self.ends[message.task] = (message.state, task.value if task is not None else None)
                if client == self.client:
                    assert message.task not in self.resolved
                    self.resolved[message.task] = message.inline if message.failure is None else message.failure
            elif isinstance(message, RunLocalTask) and client == self.client:
                self.local.append(message.task)
        out.replies = []
        self.ready += out.ready
        out.ready = []

    def begin(self) -> Any:
        """A worker begins the next ready task."""
        task = self.ready.pop(0)
        self.executions.append(bytes(task.args))
        self.table.sent(task, 1.0, "w")
        self.table.started(task, 1.0, "w")
        return task

    def end(self, task: Any, failed: bool = False) -> None:
        if failed:
            self.table.attempt_ended(task, outcome(task, 1.0, 2.0, ERROR), None, "w")
        else:
            self.table.attempt_ended(
                task, outcome(task, 1.0, 2.0), StoredValue(b"%d of " % len(self.executions) + bytes(task.args), []), "w"
            )
        self.apply_replies()

    def run(self) -> None:
        while self.ready:
            self.end(self.begin())

    def lose(self) -> None:
        """The kernel is gone; the next one comes."""
        self.table.release(self.made[LOST])
        self.matching = CallMatching(self.table, self.codes, self.value)
        offered: list[PriorCall] = []
        for message, app in self.calls:
            fn = message.fn
            fingerprint, parts = (self.codes.fingerprints[fn], self.codes.parts[fn]) if fn >= 0 else (b"", {})
            prior = PriorCall(
                task=message.task,
                kind=message.kind,
                app=app,
                shown=message.shown,
                fingerprint=fingerprint,
                parts=parts,
            )
            self.matching.called(prior, message, [])
            offered.append(prior)
        for task, (state, _) in self.ends.items():
            self.matching.ended(task, state, Position(0, 0, task))
        self.matching.offer(offered)
        self.client = NEXT
        self.resolved.clear()
        self.local.clear()

    def value(self, call: PriorCall) -> StoredValue | None:
        assert call.place is not None
        return None if call.task in self.unreadable else self.ends[call.place.item][1]

    def result(self, number: int) -> Any:
        return self.resolved[self.names.get(number, number)]

    def why(self, number: int) -> str:
        assert self.matching is not None
        return self.matching.why(number) or ""


def test_an_ended_call_is_handed_on() -> None:
    book = Notebook()
    book.call(b"1")
    book.run()
    book.lose()
    again = book.call(b"1")
    assert book.result(again) == b"1 of 1"
    assert book.executions == [b"1"]
    assert not book.ready
    assert book.names == {again: 0}, "it keeps its old number"
    assert [e.task for e in book.table.out.events if isinstance(e, TaskAdopted)] == [0]
    book.table.release([0])
    assert not book.table.tasks


def test_a_call_that_runs_is_taken_over() -> None:
    book = Notebook()
    book.call(b"1")
    running = book.begin()
    book.lose()
    again = book.call(b"1")
    assert again not in book.resolved
    book.end(running)
    assert book.result(again) == b"1 of 1"
    check(book.table)
    book.table.release([again])
    assert not book.table.tasks


def test_equal_calls_are_handed_on_in_order_and_once_each() -> None:
    book = Notebook()
    for _ in range(2):
        book.call(b"1")
    book.run()
    book.lose()
    first, second, third = (book.call(b"1") for _ in range(3))
    assert [book.result(first), book.result(second)] == [b"1 of 1", b"2 of 1"]
    assert third not in book.resolved
    assert "2 times" in book.why(third)
    book.run()
    assert book.result(third) == b"3 of 1"


def test_a_changed_function_or_argument_runs_anew_with_what_comes_from_it() -> None:
    book = Notebook()
    head = book.call(b"1")
    book.call(b"2", head)
    book.call(b"3")
    book.run()
    book.lose()
    head = book.call(b"1", fn=b"mended")
    tail = book.call(b"2", head)
    other = book.call(b"4")
    same = book.call(b"3")
    assert "has changed since the restart: body changed" in book.why(head)
    assert f"its input, task {head}, runs anew" in book.why(tail)
    assert "but so: f(1)" in book.why(other)
    assert "was taken over: it ran once" in book.why(book.names[same])
    assert book.result(same) == b"2 of 3"
    book.run()
    assert book.executions == [b"1", b"3", b"2", b"1", b"4", b"2"]


def test_a_failed_call_is_made_again_and_so_is_what_came_from_it() -> None:
    book = Notebook()
    head = book.call(b"1")
    book.call(b"2", head)
    book.end(book.begin(), failed=True)
    book.lose()
    head = book.call(b"1")
    tail = book.call(b"2", head)
    assert "failed" in book.why(head)
    book.run()
    assert book.result(tail) == b"3 of 2"


def test_a_waiting_call_waits_for_what_the_next_kernel_computes_itself() -> None:
    """A join of the lost kernel will never end; the call that needs it must not wait for it."""
    book = Notebook()
    body = book.call(b"j", kind=TaskKind.local)
    book.call(b"2", body)
    assert book.local == [body]
    book.lose()
    body = book.call(b"j", kind=TaskKind.local)
    tail = book.call(b"2", body)
    assert book.local == [body]
    check(book.table)
    task = book.table.tasks[body]
    book.table.attempt_ended(task, outcome(task, 1.0, 2.0))
    book.table.value_arrived(task, StoredValue(b"here", []), 2.0)
    book.apply_replies()
    book.run()
    assert book.result(tail) == b"1 of 2"
    assert book.executions == [b"2"]
    check(book.table)


def test_a_value_that_cannot_be_read_is_computed_again() -> None:
    book = Notebook()
    book.call(b"1")
    book.run()
    book.lose()
    book.unreadable.add(0)
    again = book.call(b"1")
    assert "cannot be read" in book.why(again)
    book.run()
    assert book.result(again) == b"2 of 1"


def test_what_comes_from_a_foreign_future_is_computed_again() -> None:
    book = Notebook()
    foreign = book.call(b"x", kind=TaskKind.external)
    book.call(b"1", foreign)
    book.lose()
    foreign = book.call(b"x", kind=TaskKind.external)
    tail = book.call(b"1", foreign)
    assert "cannot be known again" in book.why(tail)


def test_call_without_identity_is_made_again() -> None:
    book = Notebook()
    book.call(b"1", unknown="argument 'via' (Connection): no")
    book.run()
    book.lose()
    again = book.call(b"1", unknown="argument 'via' (Connection): no")
    assert "cannot be known again in another kernel: argument 'via' (Connection): no" in book.why(again)
    book.run()
    assert book.executions == [b"1", b"1"]


def test_what_waits_is_counted() -> None:
    book = Notebook()
    book.call(b"1")
    book.call(b"2")
    book.call(b"3")
    book.end(book.begin())
    book.begin()
    book.lose()
    assert book.matching is not None
    assert book.matching.waiting() == (1, 2)


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[bytes, tuple[int, ...]]]:
    """Calls, each with the places of the calls whose results it takes."""
    made: list[tuple[bytes, tuple[int, ...]]] = []
    for place in range(draw(st.integers(1, 12))):
        deps = draw(st.lists(st.integers(0, place - 1), max_size=3, unique=True)) if place else []
        made.append((draw(st.sampled_from([b"1", b"2", b"3"])), tuple(deps)))
    return made


@given(program=programs(), steps=st.lists(st.integers(0, 3), max_size=40), cut=st.integers(0, 12), data=st.data())
@settings(deadline=None)
def test_whatever_was_done_is_done_once(
    program: list[tuple[bytes, tuple[int, ...]]], steps: Sequence[int], cut: int, data: st.DataObject
) -> None:
    book = Notebook()
    numbers: list[int] = []

    def advance(running: list[Any]) -> None:
        for step in steps:
            if step and book.ready:
                running.append(book.begin())
            elif running:
                book.end(running.pop(data.draw(st.integers(0, len(running) - 1))))

    running: list[Any] = []
    for args, deps in program[:cut]:
        numbers.append(book.call(args, *[numbers[dep] for dep in deps]))
    advance(running)
    gave = {number: end[1].inline for number, end in book.ends.items() if end[1] is not None}
    book.lose()
    numbers = []
    for args, deps in program:
        numbers.append(book.call(args, *[numbers[dep] for dep in deps]))
    while running or book.ready:
        book.run()
        if running:
            book.end(running.pop())
    check(book.table)
    assert len(book.executions) == len(program), "each call of the program ran once"
    for place, number in enumerate(numbers):
        assert book.result(number).endswith(b" of " + program[place][0])
        if place in gave:
            assert gave[place] in {book.result(n) for n in numbers}, "nothing that was there is lost"
    book.table.release(numbers)
    assert not book.table.tasks
    assert all(task.state in FINAL for task in book.table.tasks.values())
