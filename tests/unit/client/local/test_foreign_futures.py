"""Futures of other libraries become futures of the standard library, whatever their loop does."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

import pytest

from parslab.client.local.foreign_futures import FutureTasks, as_future
from parslab.serialize.future_types import is_future, register_future_type, registered_future_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0


class DaskFuture:
    """The protocol of ``distributed.Future``: callbacks come in a thread of the library."""

    def __init__(self) -> None:
        self.status = "pending"
        self._value: Any = None
        self._callbacks: list[Callable[[Any], None]] = []

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        self._callbacks.append(call)

    def done(self) -> bool:
        return self.status != "pending"

    def cancelled(self) -> bool:
        return self.status == "cancelled"

    def result(self) -> Any:
        if self.cancelled():
            raise CancelledError
        if self.status == "error":
            raise self._value
        return self._value

    def end(self, status: str, value: Any = None) -> None:
        self.status, self._value = status, value
        thread = threading.Thread(target=lambda: [call(self) for call in self._callbacks], name="parslab-test")
        thread.start()
        thread.join()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, name="parslab-test")
    thread.start()
    yield made
    if not made.is_closed():
        made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


def pending(loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    return loop.create_future()


def test_what_is_a_future() -> None:
    class Half:
        def add_done_callback(self) -> None: ...

    class Answers(type):
        def __getattr__(cls, name: str) -> Any:
            return print

    class Anything(metaclass=Answers):
        pass

    closed = asyncio.new_event_loop()
    future = closed.create_future()
    closed.close()
    assert all(map(is_future, (Future(), future, DaskFuture())))
    assert not any(map(is_future, (Half(), Anything(), Future, 1, [Future()])))


def test_an_asyncio_future_of_a_loop_in_another_thread(loop: asyncio.AbstractEventLoop) -> None:
    future = pending(loop)
    made = as_future(future)
    assert not made.done()
    loop.call_soon_threadsafe(future.set_result, [1])
    assert made.result(PATIENCE) == [1]


def test_an_asyncio_task_that_fails(loop: asyncio.AbstractEventLoop) -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def start() -> asyncio.Task[None]:
        return asyncio.ensure_future(fails())

    made = as_future(asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE))
    with pytest.raises(ValueError, match="no"):
        made.result(PATIENCE)


def test_a_cancelled_asyncio_future(loop: asyncio.AbstractEventLoop) -> None:
    early, late = pending(loop), pending(loop)
    made = as_future(late)
    loop.call_soon_threadsafe(early.cancel)
    loop.call_soon_threadsafe(late.cancel)
    with pytest.raises(CancelledError):
        made.result(PATIENCE)
    with pytest.raises(CancelledError):
        as_future(early).result(PATIENCE)


def test_a_done_future_of_a_closed_loop_has_its_result() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    future.set_result(5)
    loop.close()
    assert as_future(future).result(0) == 5


def test_an_unfinished_future_of_a_closed_loop_says_so() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    with pytest.raises(RuntimeError, match="the event loop of the asyncio future is closed"):
        as_future(future).result(0)


@pytest.mark.parametrize("ran", [False, True])
def test_a_loop_that_closes_before_the_future_is_done_says_so(ran: bool) -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    made = as_future(future)
    if ran:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    with pytest.raises(RuntimeError, match="the event loop of the asyncio future is closed"):
        made.result(PATIENCE)
    assert not future.done()


def test_nothing_is_left_in_the_loop_of_a_future_that_is_done() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    made = as_future(future)
    future.set_result(1)
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert made.result(0) == 1
    assert all(handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]
    loop.close()


@pytest.mark.parametrize(
    ("status", "value", "error"), [("finished", 3, None), ("error", KeyError("k"), KeyError), ("cancelled", None, None)]
)
def test_the_protocol_of_dask(status: str, value: Any, error: type[Exception] | None) -> None:
    future = DaskFuture()
    made = as_future(future)
    future.end(status, value)
    if error is not None:
        with pytest.raises(error):
            made.result(PATIENCE)
    elif status == "cancelled":
        assert made.cancelled()
    else:
        assert made.result(PATIENCE) == value


def test_a_result_that_must_be_awaited_is_an_error() -> None:
    class Asynchronous(DaskFuture):
        async def result(self) -> int:
            return 1

    future = Asynchronous()
    made = as_future(future)
    future.end("finished")
    with pytest.raises(TypeError, match="the result of Asynchronous must be awaited"):
        made.result(0)


def test_a_future_that_refuses_callbacks_fails() -> None:
    class Refuses(DaskFuture):
        def add_done_callback(self, call: Callable[[Any], None]) -> None:
            raise ConnectionError("the client is closed")

    with pytest.raises(ConnectionError, match="the client is closed"):
        as_future(Refuses()).result(0)


# --- types that users register ---------------------------------------------------------------------------------------


class Handle:
    def __init__(self, value: Any) -> None:
        self.value = value


class Special(Handle):
    pass


@pytest.fixture
def registered() -> Iterator[None]:
    def convert(handle: Handle) -> Any:
        future: Future[Any] = Future()
        future.set_result(handle.value)
        return future if handle.value else None

    register_future_type(Handle, convert)
    yield
    registered_future_types.clear()


@pytest.mark.usefixtures("registered")
def test_a_registered_type_and_its_subclasses_are_futures() -> None:
    assert is_future(Handle(1))
    assert as_future(Special(5)).result(0) == 5
    assert not is_future(object())
    with pytest.raises(TypeError, match="the function that was registered for Handle returned None"):
        as_future(Handle(0)).result(0)


@pytest.mark.parametrize("kind", [list, str, object, 5, None])
def test_builtin_types_cannot_be_registered(kind: Any) -> None:
    with pytest.raises(TypeError, match="register_future_type"):
        register_future_type(kind, lambda value: Future())
    assert not registered_future_types


# --- tasks by future -------------------------------------------------------------------------------------------------


def test_a_task_is_kept_as_long_as_its_future() -> None:
    tasks, task = FutureTasks(), object()
    future: Future[Any] | None = Future()
    tasks.set(future, task)  # type: ignore[arg-type]
    assert tasks.get(future) is task
    assert tasks.get(Future()) is None
    future = None
    gc.collect()
    assert len(tasks) == 0


def test_futures_that_compare_equal_or_are_not_hashable_have_tasks_of_their_own() -> None:
    class Equal(Future[Any]):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

    tasks, one, two = FutureTasks(), Equal(), Equal()
    task: Any = object()
    tasks.set(one, task)
    assert tasks.get(two) is None
    assert tasks.get(one) is task


def test_a_future_without_weak_references_is_not_kept() -> None:
    class Slim:
        __slots__ = ()

    tasks, slim = FutureTasks(), Slim()
    tasks.set(slim, "task")  # type: ignore[arg-type]
    assert tasks.get(slim) is None
