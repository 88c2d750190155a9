"""Futures of tasks that are tried again: unfinished as on the first day, for everybody who has them."""

from __future__ import annotations

import concurrent.futures as cf
import gc
import sys
import threading
import weakref
from collections import deque
from typing import Any

import pytest

from parslab.client.calls import definitions
from parslab.client.calls.definitions import defined_now, origin_of, same_body
from parslab.client.futures.app_future import AppFuture, DataFuture
from parslab.client.transport.link import KernelLink
from parslab.errors import RetryError
from parslab.records.states import TaskState
from parslab.wire.messages.base import TaskSpec
from tests.unit.client.home import FakeHome, done, failed


@pytest.fixture
def home() -> FakeHome:
    return FakeHome()


def test_a_failed_future_becomes_unfinished_and_then_holds_the_result(home: FakeHome) -> None:
    future = failed(home.future(), ValueError("no"))
    assert isinstance(future.exception(), ValueError)
    future.reopen()
    assert not future.done()
    with pytest.raises(cf.TimeoutError):
        future.result(timeout=0)
    assert future.state is TaskState.pending
    done(future, 7)
    assert (future.result(), future.exception(), future.traceback()) == (7, None, None)


def test_a_cancelled_future_becomes_unfinished(home: FakeHome) -> None:
    future = home.future()
    future.cancel()
    future.reopen()
    assert not future.cancelled()
    assert done(future, 7).result() == 7


def test_it_may_fail_again(home: FakeHome) -> None:
    future = failed(home.future(), ValueError("no"))
    future.exception()
    future.reopen()
    failed(future, KeyError("still no"))
    assert isinstance(future.exception(), KeyError)


def test_callbacks_are_called_once_unless_added_again(home: FakeHome) -> None:
    future, called = home.future(), []
    future.add_done_callback(lambda _: called.append("first"))
    failed(future, ValueError("no"))
    future.reopen()
    future.add_done_callback(lambda _: called.append("second"))
    assert called == ["first"]
    done(future, 7)
    assert called == ["first", "second"]


def test_parts_and_files_follow(home: FakeHome) -> None:
    future = home.future()
    before, file = future["a"], DataFuture(future, "out.txt")
    failed(future, ValueError("no"))
    after = future["b"]
    for derived in (before, file, after):
        assert isinstance(derived.exception(), ValueError)
    future.reopen()
    assert not any(derived.done() for derived in (before, file, after))
    done(future, {"a": 1, "b": 2})
    assert (before.result(), file.result(), after.result()) == (1, "out.txt", 2)


def test_parts_of_what_was_cancelled_follow(home: FakeHome) -> None:
    future = home.future()
    part = future["a"]
    future.cancel()
    assert part.cancelled()
    future.reopen()
    assert not part.done()
    done(future, {"a": 1})
    assert part.result() == 1


def test_parts_are_not_kept_alive_by_what_failed(home: FakeHome) -> None:
    future = failed(home.future(), ValueError("no"))
    part = weakref.ref(future["a"])
    gc.collect()
    assert part() is None


def test_waiters_see_the_second_end(home: FakeHome) -> None:
    future = failed(home.future(), ValueError("no"))
    assert cf.wait([future], 0).done == {future}
    future.reopen()
    assert cf.wait([future], 0).not_done == {future}
    woken = threading.Event()

    def wait() -> None:
        if future.result(10) == 7:
            woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    done(future, 7)
    assert woken.wait(10)
    thread.join()
    futures: list[cf.Future[Any]] = [future]
    assert next(cf.as_completed(futures, 0)) is future


def test_who_was_reading_the_failure_gets_it_or_the_result(home: FakeHome) -> None:
    """Never None, nor the error as a value: the reader had seen it finished when it became unfinished again."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            future = failed(home.future(), ValueError("no"))
            seen: list[Any] = []

            def read(future: AppFuture = future, seen: list[Any] = seen) -> None:
                try:
                    seen.append(future.result(10))
                except ValueError as error:
                    seen.append(str(error))

            thread = threading.Thread(target=read)
            thread.start()
            future.reopen()
            done(future, 7)
            thread.join()
            assert seen[0] in (7, "no")
            assert future.result() == 7
    finally:
        sys.setswitchinterval(before)


def test_retry_asks_only_for_what_has_no_result(home: FakeHome) -> None:
    future = home.future()
    assert future.retry() is future
    assert home.retried == []
    done(future, 7)
    with pytest.raises(RetryError, match=r"^Task 7 \(fit\) has a result: there is nothing to try again\.$"):
        future.retry()
    bad = failed(home.future(8), ValueError("no"))
    part = bad["a"]
    file = DataFuture(bad, "out.txt")
    assert (bad.retry(), part.retry(), file.retry()) == (bad, part, file)
    assert home.retried == [8, 8, 8]


# --- what apps are defined as now ------------------------------------------------------------------------------------


class Defined:
    """An app, as far as it matters here."""

    def __init__(self, func: Any, kind: str = "python_app", spec: TaskSpec | None = None) -> None:
        self.func, self.kind, self.spec = func, kind, spec
        self.code: Any = None


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "_origins", {})


def cell(text: str, module: str = "__main__") -> Any:
    """The function ``f`` of a cell."""
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile(text, f"<{id(text)}>", "exec"), namespace)
    return namespace["f"]


def test_the_newest_app_of_a_name_counts_while_it_lives() -> None:
    first, second = cell("def f(): return 1"), cell("def f(): return 2")
    assert defined_now(first, join=False) is first
    one, two = Defined(first), Defined(second)
    definitions.define(one)
    definitions.define(two)
    assert defined_now(first, join=False) is second
    del two
    assert defined_now(first, join=False) is first


def test_apps_of_other_modules_and_of_other_kinds_do_not() -> None:
    first = cell("def f(): return 1")
    apps = [Defined(cell("def f(): return 2", "other")), Defined(cell("def f(): return 3"), "join_app")]
    for app in apps:
        definitions.define(app)
    assert defined_now(first, join=False) is first
    assert defined_now(first, join=True) is apps[1].func


def test_names_that_do_not_identify_give_no_origin() -> None:
    def nested() -> None: ...

    for function in (nested, lambda: None, 3):
        assert origin_of(function) == ""
    assert origin_of(cell("def f(): ...")) == "__main__:f"


def test_specifications_of_an_origin_are_kept_once() -> None:
    apps = [Defined(cell("def f(): ..."), spec=spec) for spec in (None, TaskSpec(gpus=1), None)]
    for app in apps:
        definitions.define(app)
    assert definitions._origins["__main__:f"].specs == [None, TaskSpec(gpus=1)]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def f(x):\n    return [x for _ in range(3)]", True),
        ("# moved\n\n\ndef f(x):\n    return [x for _ in range(3)]", True),
        ("def f(x):\n    return [x for _ in range(4)]", False),
        ("def f(x):\n    return [str(x) for _ in range(3)]", False),
        ("def f(x, y=1):\n    return [x for _ in range(3)]", False),
        ("f = print", False),
    ],
)
def test_functions_that_were_written_alike(text: str, same: bool) -> None:
    assert same_body(cell("def f(x):\n    return [x for _ in range(3)]"), cell(text)) is same


# --- in the order in which it came -----------------------------------------------------------------------------------


def test_what_came_with_it_goes_before_what_is_waited_for() -> None:
    """A callback that waits turns the link itself: batches that were received together keep their order."""
    handled: list[int] = []

    def handle(batch: Any) -> None:
        handled.append(batch)
        if batch == 1:
            link.poll(0)

    link = KernelLink.__new__(KernelLink)  # without a socket and a thread
    batches: Any = deque([1, 2, 3])
    link._handle, link._received, link._thread = handle, batches, threading.current_thread()
    link._deliver()
    assert handled == [1, 2, 3]
