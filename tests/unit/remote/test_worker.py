"""The main thread of a worker, driven through a link that nobody is at the other end of."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parslab.errors import AppExit, DeserializationError, SerializationError
from parslab.remote.worker.process_state import ProcessState, StateNotRestored
from parslab.remote.worker.worker import Worker
from parslab.serialize.arguments import ArgumentDependencies, pack_arguments
from parslab.serialize.failures import exception_of
from parslab.serialize.functions import AppFunction
from parslab.serialize.values import pack, unpack
from parslab.testing.fakes import FakeLink
from parslab.wire.messages.base import DefineFunction, ForgetFunctions, OutputPrinted, PackedValue
from parslab.wire.messages.worker import LeaveWhenDone, Outcome, RunTask
from parslab.wire.shared_memory import in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FakeOutput:
    """Output that a test writes by itself."""

    def __init__(self) -> None:
        self.text = b""
        self.restored = 0

    def take(self, task: int, final: bool, still: Callable[[], bool] | None = None) -> list[OutputPrinted]:
        if still is not None and not still():
            return []
        text, self.text = self.text, b""
        return [OutputPrinted(task, 1, text)] if text else []

    def restore_streams(self) -> None:
        self.restored += 1


class Bench:
    """A worker and the words to drive it."""

    def __init__(self) -> None:
        self.link = FakeLink()
        self.output = FakeOutput()
        self.page = memoryview(bytearray(16)).cast("q")
        self.state = ProcessState()
        self.worker = Worker(self.link, self.output, self.page, self.state)  # type: ignore[arg-type]
        self._fns = 0

    def code(self, function: Callable[..., Any]) -> int:
        """Let a function come."""
        self._fns += 1
        pickled = AppFunction(function).current()
        self.link.feed([DefineFunction(self._fns, pickled.digest, pickled.name, 1)], [pickled.payload])
        return self._fns

    def call(self, task: int, fn: int, *args: Any, **kwargs: Any) -> None:
        """Let a call come; dependencies are given as :class:`Need`."""
        dependencies = ArgumentDependencies(lambda future: (future.place, future.path))  # type: ignore[attr-defined]
        needs = {need.place: need for need in args if isinstance(need, Need)}
        inline, frames = pack_arguments(args, kwargs, dependencies, "app")
        values, buffers = [], list(frames)
        for place in dependencies.tasks:
            packed, more = needs[place].packed
            values.append(packed)
            buffers += more
        self.link.feed([RunTask(task, 0, fn, inline, len(frames), tuple(values))], [bytes(b) for b in buffers])

    def run(self) -> None:
        """Serve until nothing is left."""
        with pytest.raises(EOFError):
            self.worker.run()

    def result(self, task: int) -> Any:
        outcome, frames = self.link.outcome(task)
        if outcome.failure is not None:
            raise exception_of(outcome.failure, task)
        return unpack(outcome.inline, [bytearray(in_memory(frame)) for frame in frames])


def need(place: int, *values: Any, path: Any = None) -> Future[Any]:
    return Need(place, values, path)


class Need(Future[Any]):
    """A future whose value is known to the test: one, or the parts of a join."""

    def __init__(self, place: int, values: tuple[Any, ...], path: Any) -> None:
        super().__init__()
        self.place, self.path = place, path
        parts, frames = [], []
        for value in values:
            inline, more = pack(value)
            parts.append(PackedValue(inline, len(more)))
            frames += more
        self.packed = (parts[0] if len(values) == 1 else PackedValue(b"", 0, tuple(parts))), frames


@pytest.fixture
def bench() -> Iterator[Bench]:
    handler = signal.getsignal(signal.SIGINT)
    bench = Bench()
    yield bench
    signal.signal(signal.SIGINT, handler)
    assert bench.worker.current == -1
    assert not bench.worker.busy


HOOKS: dict[str, Any] = {}
"""What functions of these tests reach although they are pickled: they are found by name."""


def hook(name: str) -> Any:
    return HOOKS[name]()


# --- one task --------------------------------------------------------------------------------------------------------


def test_call_runs_and_is_reported(bench: Bench) -> None:
    fn = bench.code(lambda x, y=0: x + y)
    bench.call(3, fn, 1, y=2)
    bench.run()
    assert bench.result(3) == 3
    outcome, _ = bench.link.outcome(3)
    assert 0 < outcome.started <= outcome.ended
    assert (outcome.attempt, outcome.interrupted) == (0, False)
    assert bench.output.restored == 1


def test_what_a_task_printed_comes_just_before_its_outcome(bench: Bench) -> None:
    HOOKS["print"] = lambda: setattr(bench.output, "text", b"hello")
    bench.call(3, bench.code(hook), "print")
    bench.run()
    assert [type(m) for m in bench.link.messages] == [OutputPrinted, Outcome]
    assert bench.link.messages[0] == OutputPrinted(3, 1, b"hello")


def test_values_of_dependencies_and_their_parts(bench: Bench) -> None:
    fn = bench.code(lambda a, b, c: (a, b, c))
    bench.call(3, fn, need(0, {"k": [10, 20]}, path=("k", 1)), need(1, "one", "two"), need(2, None))
    bench.run()
    assert bench.result(3) == (20, ["one", "two"], None)


def test_frames_go_to_whom_they_belong(bench: Bench) -> None:
    a, b, c = (np.full(5000, n) for n in range(3))
    fn = bench.code(lambda x, y, z: (x[0], y[0], [part[0] for part in z]))
    bench.call(3, fn, a, need(0, b), need(1, c, "small", a))
    bench.call(4, bench.code(lambda x, y: (len(x), y)), "x" * 20_000, need(0, "y" * 20_000))
    bench.run()
    assert bench.result(3) == (0, 1, [2, "s", 0])
    assert bench.result(4) == (20_000, "y" * 20_000)


def test_arrays_are_writable_and_come_back_out_of_band(bench: Bench) -> None:
    def double(x: Any) -> Any:
        x *= 2
        return x

    array = np.arange(10_000)
    bench.call(3, bench.code(double), array)
    bench.run()
    outcome, frames = bench.link.outcome(3)
    assert outcome.frames == len(frames) == 1
    assert (bench.result(3) == array * 2).all()


def test_coroutines_are_run(bench: Bench) -> None:
    async def body(x: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return x + 1

    bench.call(3, bench.code(body), 1)
    bench.run()
    assert bench.result(3) == 2


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
def test_whatever_a_task_raises_ends_only_the_task(bench: Bench, kind: type[BaseException]) -> None:
    def body(kind: type[BaseException]) -> None:
        raise kind("no")

    fn = bench.code(body)
    bench.call(3, fn, kind)
    bench.call(4, bench.code(lambda: "next"))
    bench.run()
    with pytest.raises(kind if issubclass(kind, Exception) else AppExit) as raised:
        bench.result(3)
    text = str(raised.value.__cause__)
    assert "in body" in text
    assert "_execute" not in text
    assert "_call" not in text
    assert bench.link.outcome(3)[0].interrupted is False
    assert bench.result(4) == "next"


def test_a_task_that_calls_sys_exit(bench: Bench) -> None:
    bench.call(3, bench.code(lambda: sys.exit(3)))
    bench.run()
    with pytest.raises(AppExit, match=r"called sys\.exit\(3\)"):
        bench.result(3)


def test_a_result_that_cannot_be_pickled(bench: Bench) -> None:
    bench.call(3, bench.code(lambda: (n for n in range(3))))
    bench.run()
    with pytest.raises(SerializationError, match=r"the result of app <lambda> \(generator\) cannot be sent"):
        bench.result(3)


def test_arguments_that_cannot_be_unpickled(bench: Bench) -> None:
    fn = bench.code(lambda x: x)
    bench.link.feed([RunTask(3, 0, fn, b"\x80\x05garbage", 0)])
    bench.run()
    with pytest.raises(DeserializationError, match=r"^an argument of app <lambda> cannot be unpickled here: "):
        bench.result(3)


class Stubborn:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> Any:
    raise KeyError("k")


def test_the_argument_that_cannot_be_unpickled_is_named(bench: Bench) -> None:
    """A bare KeyError came, which seemed to be the function's."""
    bench.call(3, bench.code(lambda *args, **kwargs: 0), 1, name=[Stubborn()])
    bench.run()
    with pytest.raises(DeserializationError) as raised:
        bench.result(3)
    assert str(raised.value) == "argument 'name' of app <lambda> cannot be unpickled here: KeyError: 'k'"
    assert type(raised.value.__cause__) is KeyError


def test_a_function_that_cannot_be_unpickled_fails_each_of_its_tasks(bench: Bench) -> None:
    bench.link.feed([DefineFunction(9, b"", "broken", 1)], [b"\x80\x05cnowhere_module\nf\n."])
    bench.call(3, 9)
    bench.call(4, 9)
    bench.run()
    for task in (3, 4):
        with pytest.raises(
            DeserializationError, match=r"^app broken cannot be unpickled here: ModuleNotFoundError: .*'nowhere_module'"
        ) as raised:
            bench.result(task)
        assert type(raised.value.__cause__) is ModuleNotFoundError


def test_the_page_says_what_was_begun_and_what_has_ended(bench: Bench) -> None:
    seen: list[int] = []
    HOOKS["look"] = lambda: seen.append(bench.page[0])
    fn = bench.code(hook)
    bench.call(3, fn, "look")
    bench.call(4, fn, "look")
    bench.run()
    assert seen == [3, 4]
    assert bench.page[0] == -1 - 4


def test_a_worker_whose_state_cannot_be_restored_reports_the_outcome_and_stops(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(now: float) -> None:
        raise StateNotRestored("no")

    monkeypatch.setattr(bench.state, "restore", refuse)
    bench.call(3, bench.code(lambda: "done"))
    bench.call(4, bench.code(lambda: "never"))
    with pytest.raises(StateNotRestored):
        bench.worker.run()
    assert bench.result(3) == "done"
    assert [m.task for m in bench.link.messages] == [3]
    assert bench.worker.give_back() == [4]


def test_a_handler_that_raises_during_the_restoration_costs_neither_the_result_nor_the_worker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([KeyboardInterrupt, SystemExit, ValueError])
    restore = bench.state.restore

    def interrupted(now: float) -> None:
        error = next(asked, None)
        if error is not None:
            raise error
        restore(now)

    monkeypatch.setattr(bench.state, "restore", interrupted)
    HOOKS["change"] = lambda: setattr(bench.state, "changed", True)
    bench.call(3, bench.code(hook), "change")
    bench.run()
    assert bench.result(3) is None
    assert next(asked, None) is None
    assert not bench.state.changed


def test_a_task_that_changes_nothing_costs_no_look_at_the_state(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def look(now: float) -> None:
        looks.append(now)
        bench.state.next_look = now + 3600

    monkeypatch.setattr(bench.state, "restore", look)
    fn = bench.code(int)
    for task in range(100):
        bench.call(task, fn)
    bench.run()
    assert len(looks) == 1


# --- several tasks ---------------------------------------------------------------------------------------------------


def test_outcomes_of_short_tasks_leave_together(bench: Bench) -> None:
    fn = bench.code(int)
    for task in range(20):
        bench.call(task, fn)
    bench.run()
    assert {m.task for m in bench.link.messages} == set(range(20))
    assert len(bench.link.sent) < 20


def test_an_outcome_does_not_wait_for_a_long_task(bench: Bench) -> None:
    seen: list[int] = []

    def long() -> None:
        pause = threading.Event()
        pause.wait(0.002)
        seen.extend(m.task for m in bench.link.messages)

    HOOKS["long"] = long
    bench.call(1, bench.code(int))
    fn = bench.code(hook)
    bench.call(2, fn, "long")
    bench.call(3, fn, "long")
    bench.run()
    assert 2 in seen


def test_failures_leave_at_once(bench: Bench) -> None:
    seen: list[int] = []
    HOOKS["look"] = lambda: seen.extend(m.task for m in bench.link.messages)
    bench.call(1, bench.code(lambda: 1 / 0))
    bench.call(2, bench.code(hook), "look")
    bench.run()
    assert seen == [1]


def test_functions_are_dropped_on_request(bench: Bench) -> None:
    fn = bench.code(int)
    bench.call(1, fn)
    bench.run()
    bench.link.feed([ForgetFunctions([fn, 77])])
    bench.call(2, fn)
    bench.run()
    assert bench.result(1) == 0
    assert bench.link.outcome(2)[0].failure is not None


def test_worker_finishes_its_task_before_it_leaves(bench: Bench) -> None:
    bench.call(1, bench.code(int))
    bench.link.feed([LeaveWhenDone()])
    bench.worker.run()
    assert bench.result(1) == 0


# --- interrupts ------------------------------------------------------------------------------------------------------


def interrupt(bench: Bench, task: int) -> None:
    """What the control thread does, between two bytecodes of the main one."""
    bench.worker.interrupting = task
    signal.raise_signal(signal.SIGINT)


def test_only_the_named_task_is_interrupted(bench: Bench) -> None:
    HOOKS["interrupt"] = lambda: interrupt(bench, 3)
    bench.call(3, bench.code(hook), "interrupt")
    bench.call(4, bench.code(lambda: "next"))
    bench.run()
    outcome, _ = bench.link.outcome(3)
    assert outcome.interrupted
    assert outcome.failure is not None
    assert outcome.failure.error == "KeyboardInterrupt"
    assert bench.result(4) == "next"


def test_an_interrupt_that_comes_late_hits_nobody(bench: Bench) -> None:
    HOOKS["interrupt"] = lambda: interrupt(bench, 2)
    bench.call(3, bench.code(hook), "interrupt")
    bench.run()
    assert bench.result(3) is None
    signal.signal(signal.SIGINT, bench.worker._on_interrupt)
    interrupt(bench, 3)
    assert bench.worker.current == -1


def test_a_stray_interrupt_hits_nobody(bench: Bench) -> None:
    HOOKS["stray"] = lambda: signal.raise_signal(signal.SIGINT)
    bench.call(3, bench.code(hook), "stray")
    bench.run()
    assert bench.result(3) is None


def test_a_task_may_catch_its_interrupt(bench: Bench) -> None:
    def caught() -> str:
        try:
            interrupt(bench, 3)
        except KeyboardInterrupt:
            return "tidied up"
        return "never"

    HOOKS["caught"] = caught
    bench.call(3, bench.code(hook), "caught")
    bench.run()
    assert bench.result(3) == "tidied up"


def test_interrupts_at_any_moment_never_leave_a_task_behind(bench: Bench) -> None:
    """One that came just before the task was marked as ended left it marked as running."""
    batch, rounds = 5000, 0
    fn = bench.code(sum)
    started, stop = threading.Event(), threading.Event()
    main = threading.get_ident()

    def bother() -> None:
        started.set()
        while not stop.is_set():
            current = bench.worker.current
            if current >= 0:
                bench.worker.interrupting = current
                signal.pthread_kill(main, signal.SIGINT)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=bother)
    thread.start()
    started.wait(5)
    hit = 0
    try:
        while not hit and rounds < 20 * batch:  # on a busy machine the thread may not get its turn in time
            for task in range(rounds, rounds + batch):
                bench.call(task, fn, list(range(20)))
            rounds += batch
            bench.run()
            hit = sum(m.interrupted for m in bench.link.messages if isinstance(m, Outcome))
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    assert bench.worker.current == -1
    seen = Counter(m.task for m in bench.link.messages if isinstance(m, Outcome))
    assert seen == dict.fromkeys(range(rounds), 1)
    assert 0 < hit < rounds


# --- tasks that go back ----------------------------------------------------------------------------------------------


def test_what_is_not_begun_goes_back_in_order(bench: Bench) -> None:
    given: list[Any] = []
    HOOKS["back"] = lambda: given.append(bench.worker.give_back())
    fn = bench.code(hook)
    for task in range(4):
        bench.call(task, fn, "back")
    bench.link.feed([])
    bench.run()
    assert given == [[1, 2, 3]]
    assert [m.task for m in bench.link.messages] == [0]


def test_tasks_still_in_the_socket_go_back_too(bench: Bench) -> None:
    given: list[Any] = []

    def back() -> None:
        bench.call(7, fn, "back")
        given.append(bench.worker.give_back())

    HOOKS["back"] = back
    fn = bench.code(hook)
    bench.call(0, fn, "back")
    bench.run()
    assert given == [[7]]


def test_one_task_goes_back_and_the_others_stay(bench: Bench) -> None:
    given: list[Any] = []

    def back() -> None:
        given.append(bench.worker.give_back(2))
        given.append(bench.worker.give_back(2))
        given.append(bench.worker.give_back(0))

    HOOKS["back"], HOOKS["nothing"] = back, int
    fn = bench.code(hook)
    bench.call(0, fn, "back")
    for task in range(1, 5):
        bench.call(task, fn, "nothing")
    bench.run()
    assert given == [[2], [], []]
    assert [m.task for m in bench.link.messages] == [0, 1, 3, 4]


def test_each_task_is_run_or_goes_back_whatever_the_threads_do(bench: Bench) -> None:
    rounds, each = 600, 20
    fn = bench.code(int)
    left = iter(range(rounds))

    def more() -> None:
        n = next(left, None)
        if n is not None:
            for task in range(n * each, (n + 1) * each):
                bench.call(task, fn)

    bench.link._on_empty = more
    back: list[int] = []
    stop = threading.Event()

    def control() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            back.extend(bench.worker.give_back(None if n % 3 else n % (rounds * each)))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=control)
    thread.start()
    try:
        bench.run()
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    back.extend(bench.worker.give_back())
    places = Counter(back) + Counter(m.task for m in bench.link.messages if isinstance(m, Outcome))
    assert places == dict.fromkeys(range(rounds * each), 1)
    assert 0 < len(back) < rounds * each


# --- live output -----------------------------------------------------------------------------------------------------


def test_output_of_the_running_task_is_sent_while_it_runs(bench: Bench) -> None:
    def printing() -> None:
        bench.output.text = b"so far"
        bench.worker.send_live_output()
        bench.output.text = b"the rest"

    HOOKS["printing"] = printing
    bench.call(3, bench.code(hook), "printing")
    bench.run()
    assert [m.text for m in bench.link.messages if isinstance(m, OutputPrinted)] == [b"so far", b"the rest"]
    bench.worker.send_live_output()


def test_output_of_the_next_task_is_not_taken_for_the_last_one(bench: Bench) -> None:
    """Between asking which task runs and reading its output, the control thread can miss its end."""
    asked = bench.output.take

    def slow(task: int, final: bool, still: Callable[[], bool] | None = None) -> list[OutputPrinted]:
        if not final:
            bench.worker.current = 4  # the next one has begun meanwhile
            bench.output.text = b"of the next"
        return asked(task, final, still)

    def printing() -> None:
        bench.output.take = slow  # type: ignore[method-assign]
        bench.worker.send_live_output()

    HOOKS["printing"] = printing
    bench.call(3, bench.code(hook), "printing")
    bench.run()
    assert [m.task for m in bench.link.messages if isinstance(m, OutputPrinted)] == [3]  # only when it has ended
    assert len(bench.link.sent) == 1
