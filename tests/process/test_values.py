"""What travels: values that cannot be pickled or rebuilt, large ones, and arrays that change after the call."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest

import parslab
from parslab import python_app
from parslab.errors import AppExit, DependencyError, RemoteError, RemoteTraceback, SerializationError
from tests.process.sandbox import error_of, memory, rss, until, within

if TYPE_CHECKING:
    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.usefixtures("shared")

MB = 1_000_000


@python_app
def identity(*values: Any, **named: Any) -> Any:
    return values[0] if values else named


@python_app
def total(array: Any) -> float:
    return float(array.sum())


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("I stay here")


def test_an_argument_that_cannot_be_pickled_is_named_at_the_call(shared: DataFlowKernel) -> None:
    before = shared.unfinished
    with pytest.raises(SerializationError, match=r"^argument 1 of app identity \(lock\) cannot be sent to a worker: "):
        identity(1, threading.Lock())
    with pytest.raises(SerializationError, match=r"^argument 'deep' of app identity \(dict of 1\) .*I stay here$"):
        identity(1, deep={"a": [Unpicklable()]})
    assert shared.unfinished == before
    assert identity(1).result() == 1


def test_a_captured_variable_that_cannot_be_pickled_is_named_at_the_call() -> None:
    lock = threading.Lock()

    @python_app
    def guarded() -> None:
        with lock:
            pass

    with pytest.raises(SerializationError, match=r"captured variable 'lock' \(lock\), which app guarded uses"):
        guarded()


def test_a_result_that_cannot_be_pickled_says_whose_it_is() -> None:
    @python_app
    def made() -> Any:
        return threading.Lock()

    error = error_of(made())
    assert isinstance(error, SerializationError)
    assert str(error).startswith("the result of app made (lock) cannot be sent to")
    assert isinstance(error_of(identity(made())), DependencyError)


def test_an_exception_that_cannot_be_pickled_keeps_its_text_and_traceback() -> None:
    class Odd(Exception):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.lock = threading.Lock()

    @python_app
    def fail() -> None:
        raise Odd("odd things")

    future = fail()
    error = error_of(future)
    assert isinstance(error, RemoteError)
    assert "Odd: odd things (the exception itself could not travel: " in str(error)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert 'raise Odd("odd things")' in str(error.__cause__)
    assert "Odd: odd things" in (future.traceback() or "")


def test_an_exception_keeps_its_type_whatever_its_constructor_takes() -> None:
    class Two(Exception):
        def __init__(self, code: int, text: str) -> None:
            super().__init__(f"{code}: {text}")

    @python_app
    def fail() -> None:
        raise Two(7, "seven")

    error = error_of(fail())
    assert isinstance(error, Two)
    assert str(error) == "7: seven"


def test_an_exception_that_cannot_be_rebuilt_keeps_its_text() -> None:
    class Two(Exception):
        def __reduce__(self) -> Any:
            return Two, (1, threading.Lock())

    @python_app
    def fail() -> None:
        raise Two("7: seven")

    error = error_of(fail())
    assert isinstance(error, RemoteError)
    assert "Two: 7: seven (the exception itself could not travel" in str(error)


def test_an_exception_whose_text_cannot_be_made() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @python_app
    def fail() -> None:
        raise Mute

    future = fail()
    assert type(error_of(future)).__name__ == "Mute"
    assert identity(2).result() == 2


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_ends_the_task_only(kind: type[BaseException]) -> None:
    @python_app
    def leave() -> None:
        raise kind

    error = error_of(leave())
    assert isinstance(error, AppExit)
    assert error.type_name == kind.__name__
    assert identity(3).result() == 3


def test_a_result_that_cannot_be_rebuilt_here_fails_only_when_it_is_asked_for() -> None:
    class Far:
        def __reduce__(self) -> Any:
            import os

            return _only_in, (os.getpid(),)

    @python_app
    def made() -> Any:
        return Far()

    future = made()
    with pytest.raises(Exception, match="I am not from here"):
        future.result()


def _only_in(pid: int) -> None:
    import os

    if os.getpid() != pid:
        raise RuntimeError("I am not from here")


def test_a_result_of_500_mb_comes_and_goes(shared: DataFlowKernel) -> None:
    @python_app
    def large() -> Any:
        array = np.zeros(500 * MB, dtype=np.uint8)
        array[-1] = 7
        return array

    base = memory(shared.pid)
    with within(12):
        future = large()
        until(future.done)
        assert memory(shared.pid) - base > 400 * MB  # it lies there, and only there, until it is asked for
        array = future.result()
    assert array.nbytes == 500 * MB
    assert array[-1] == 7
    array[0] = 1  # what comes back belongs to the caller
    assert future.result() is array
    del future, array
    gc.collect()
    until(lambda: memory(shared.pid) - base < 50 * MB, 10, "the memory is given back")


def test_a_large_value_goes_from_task_to_task_past_the_notebook(shared: DataFlowKernel) -> None:
    @python_app
    def large() -> Any:
        return np.ones(100 * MB, dtype=np.uint8)

    import psutil

    before = psutil.Process().memory_info().rss
    base = memory(shared.pid)
    futures = [total(large()) for _ in range(3)]
    assert [future.result() for future in futures] == [100 * MB] * 3
    assert psutil.Process().memory_info().rss - before < 50 * MB
    del futures
    gc.collect()
    identity(0).result()
    until(lambda: memory(shared.pid) - base < 50 * MB)


def test_an_argument_of_200_mb_is_what_it_was_at_the_call() -> None:
    array = np.ones(200 * MB, dtype=np.uint8)
    first = total(array)
    array[:] = 2
    second = total(array)
    array[:] = 0
    assert first.result(15) == 200 * MB
    assert second.result(15) == 400 * MB


def test_an_argument_is_what_it_was_even_while_workers_are_busy() -> None:
    busy = [nap(0.5) for _ in range(4)]
    array = np.ones(20 * MB, dtype=np.uint8)
    futures = []
    for n in range(5):
        array[:] = n
        futures.append(total(array))
    array[:] = 99
    assert [future.result(15) for future in futures] == [n * 20 * MB for n in range(5)]
    assert all(future.result() == 0.5 for future in busy)


@python_app
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_arrays_may_be_changed_by_the_task_that_gets_them() -> None:
    @python_app
    def grow(array: Any) -> Any:
        array += 1
        return array

    array = np.zeros(MB)
    one = grow(array)
    two, three = grow(one), grow(one)
    assert float(two.result().sum()) == float(three.result().sum()) == 2 * MB
    assert float(one.result().sum()) == MB
    assert not array.any()


def test_a_value_is_kept_for_dependents_when_its_future_is_dropped() -> None:
    future = identity(np.arange(MB))
    sums = [total(future) for _ in range(10)]
    del future
    gc.collect()
    assert {value.result() for value in sums} == {MB * (MB - 1) / 2}


def test_dropped_futures_release_their_values(shared: DataFlowKernel) -> None:
    @python_app
    def made() -> bytes:
        return bytes(2 * MB)

    def use(count: int) -> None:
        for _ in range(count):
            until(made().done)

    use(10)
    base = memory(shared.pid)
    futures = [made() for _ in range(100)]
    parslab.wait_for_current_tasks()
    assert memory(shared.pid) - base > 150 * MB
    del futures
    gc.collect()
    until(lambda: memory(shared.pid) - base < 30 * MB, 10, "200 MB are given back")
    use(100)
    until(lambda: memory(shared.pid) - base < 30 * MB, 10, "values that nobody looked at are given back")


def test_small_values_of_dropped_futures_are_released_too(shared: DataFlowKernel) -> None:
    @python_app
    def made() -> bytes:
        return bytes(10_000)

    def many() -> None:
        futures = [made() for _ in range(5_000)]
        for future in futures:
            future.result()

    many()
    base = rss(shared.pid)
    for _ in range(3):
        many()  # 50 MB each
    until(lambda: rss(shared.pid) - base < 25 * MB)


def test_a_closure_that_changes_at_every_call_does_not_pile_up(shared: DataFlowKernel) -> None:
    def made(n: int) -> Any:
        table = bytes([n % 256]) * (2 * MB)

        @python_app
        def look() -> int:
            return table[0]

        return look

    def use(count: int) -> None:
        for n in range(count):
            assert made(n)().result() == n % 256

    use(5)
    gc.collect()
    base = rss(shared.pid)
    use(100)
    gc.collect()
    identity(0).result()
    until(lambda: rss(shared.pid) - base < 40 * MB, 10, "the DataFlowKernel has forgotten 200 MB of functions")


def test_ten_thousand_failing_tasks_cost_little_time_and_memory(shared: DataFlowKernel) -> None:
    @python_app
    def fail(n: int) -> None:
        raise ValueError(f"number {n}")

    import psutil

    here = psutil.Process()
    before, kernel = here.memory_info().rss, rss(shared.pid)
    with within(15):
        futures = [fail(n) for n in range(10_000)]
        for n, future in enumerate(futures):
            error = error_of(future)
            assert type(error) is ValueError
            assert str(error) == f"number {n}"
    assert here.memory_info().rss - before < 100 * MB
    assert rss(shared.pid) - kernel < 100 * MB
    assert len(repr(futures[:10])) < 2000


def test_a_failure_travels_down_a_long_chain() -> None:
    @python_app
    def fail() -> int:
        raise ValueError("at the root")

    future = fail()
    for _ in range(2000):
        future = identity(future)
    error = error_of(future)
    assert isinstance(error, DependencyError)
    assert "fail) failed with ValueError: at the root" in str(error)
    assert len(str(error)) < 3000


def test_threads_of_the_notebook_may_call_at_the_same_time() -> None:
    results: list[int] = []

    def call(base: int) -> None:
        futures = [identity(base + n) for n in range(300)]
        results.extend(future.result() for future in futures)

    threads = [threading.Thread(target=call, args=(1000 * t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(1000 * t + n for t in range(8) for n in range(300))


def test_a_callback_may_ask_for_a_large_value() -> None:
    @python_app
    def large() -> Any:
        return np.ones(30 * MB, dtype=np.uint8)

    got: list[int] = []
    future = large()
    future.add_done_callback(lambda done: got.append(int(done.result().sum())))
    until(lambda: got)
    assert got == [30 * MB]
    with contextlib.suppress(Exception):
        future.result()
