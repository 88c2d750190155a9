"""Futures of other libraries as arguments of apps, on workers, in threads and in joins."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import Config, LowLatencyExecutor, ThreadPoolExecutor, join_app, python_app
from parslab.errors import DependencyError, SerializationError
from parslab.serialize.dependency_resolvers import SHALLOW_DEPENDENCY_RESOLVER, DependencyResolver
from parslab.serialize.future_types import registered_future_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any = None


class Ref:
    """A future of a library that nobody knows, as the object references of Ray."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def future(self) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(self.value)
        return future


class DaskFuture:
    """A done future with the protocol of Dask, whose result can be asked for only once."""

    def __init__(self, value: Any) -> None:
        self._values = [value]

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        threading.Thread(target=call, args=(self,), name="parslab-test").start()

    def done(self) -> bool:
        return True

    def cancelled(self) -> bool:
        return False

    def result(self) -> Any:
        return self._values.pop()


@pytest.fixture
def _run(tmp_path: Path) -> Iterator[None]:
    config = Config(executors=[LowLatencyExecutor(workers=2), ThreadPoolExecutor()], run_dir=tmp_path / "runs")
    with parslab.load(config):
        yield
    parslab.clear()


@pytest.fixture(params=["llex", "threads"])
def add(request: pytest.FixtureRequest, _run: None) -> Any:
    @python_app(executors=[request.param])
    def add(a: Any, b: Any = 0) -> Any:
        values = [*a.values()] if isinstance(a, dict) else [a.left, *a.right] if isinstance(a, Pair) else [a]
        return sum(values) + b

    return add


async def later(value: Any) -> Any:
    await asyncio.sleep(0.01)
    if isinstance(value, Exception):
        raise value
    return value


def test_asyncio_futures_at_any_depth(add: Any) -> None:
    async def main() -> list[Any]:
        one, two = asyncio.ensure_future(later(1)), asyncio.ensure_future(later(2))
        calls = [add(one, b=two), add({"k": one, "l": two}), add(Pair(one, [two])), add(add(one))]
        return [await call for call in calls]

    assert asyncio.run(main()) == [3, 3, 3, 1]


def test_failed_and_cancelled_asyncio_futures(add: Any) -> None:
    async def main() -> None:
        failed, cancelled = asyncio.ensure_future(later(ValueError("no"))), asyncio.ensure_future(later(1))
        cancelled.cancel()
        calls = [add(failed), add(cancelled)]
        with pytest.raises(DependencyError, match="ValueError: no"):
            await calls[0]
        with pytest.raises(DependencyError, match="CancelledError"):
            await calls[1]

    asyncio.run(main())


def test_an_asyncio_future_of_a_loop_that_closes(add: Any) -> None:
    loop = asyncio.new_event_loop()
    call = add(loop.create_future())
    loop.close()
    with pytest.raises(DependencyError, match="the event loop of the asyncio future is closed"):
        call.result()


def test_futures_with_the_protocol_of_dask(add: Any) -> None:
    future = DaskFuture(5)
    calls = [add(future), add({"k": future}, b=future)]
    assert [call.result() for call in calls] == [5, 10]


def test_a_registered_type(add: Any) -> None:
    parslab.register_future_type(Ref, Ref.future)
    try:
        ref = Ref(7)
        assert add(Pair(ref, [ref]), b=add(ref)).result() == 21
    finally:
        registered_future_types.clear()


@pytest.mark.usefixtures("_run")
def test_a_join_returns_futures_of_any_library() -> None:
    @join_app
    def body(many: bool) -> Any:
        return [DaskFuture(1), DaskFuture(2)] if many else DaskFuture(3)

    assert (body(True).result(), body(False).result()) == ([1, 2], 3)


# --- dependency resolvers --------------------------------------------------------------------------------------------


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[[DependencyResolver], None]]:
    def load(resolver: DependencyResolver) -> None:
        executors = [LowLatencyExecutor(workers=1), ThreadPoolExecutor()]
        parslab.load(Config(executors=executors, run_dir=tmp_path / "runs", dependency_resolver=resolver))

    yield load
    parslab.dfk().cleanup()
    parslab.clear()


def test_the_shallow_rule(load: Callable[[Any], None]) -> None:
    load(SHALLOW_DEPENDENCY_RESOLVER)
    echo = {label: python_app(lambda x, inputs=(): (x, inputs), executors=[label]) for label in ("llex", "threads")}
    never: Future[Any] = Future()
    for app in echo.values():
        one, two = app(1), app(2)
        assert app(one, inputs=[two]).result() == ((1, ()), [(2, ())])
    assert echo["threads"]([never]).result() == ([never], ())
    with pytest.raises(SerializationError, match="SHALLOW_DEPENDENCY_RESOLVER does not look for futures there"):
        echo["llex"]([never])


def test_a_resolver_of_the_user(load: Callable[[Any], None]) -> None:
    def gather(value: Any) -> list[Any]:
        return [value.left] if isinstance(value, Pair) else []

    def unwrap(value: Any) -> Any:
        return value.left.result() * value.right if isinstance(value, Pair) else value

    load(DependencyResolver(gather, unwrap))
    for label in ("llex", "threads"):
        app = python_app(lambda x: x, executors=[label])
        assert app(Pair(app(3), 5)).result() == 15
