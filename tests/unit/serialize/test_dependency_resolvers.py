"""Where futures are looked for, with Parsl's rules and with those of users."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from parslab.client.local.future_values import AnyDepth, ByResolver
from parslab.errors import SerializationError
from parslab.serialize.arguments import ArgumentDependencies, pack_arguments
from parslab.serialize.dependency_resolvers import (
    DEEP_DEPENDENCY_RESOLVER,
    SHALLOW_DEPENDENCY_RESOLVER,
    DependencyResolver,
    deep_traverse_to_gather,
    deep_traverse_to_unwrap,
)
from parslab.serialize.references import resolving
from parslab.serialize.values import unpack


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.content == other.content

    __hash__ = None  # type: ignore[assignment]


class Sealed(Box):
    """A type that a user registers with Parsl's functions."""


@deep_traverse_to_gather.register(Sealed)
def gather_sealed(value: Sealed) -> Any:
    return deep_traverse_to_gather(value.content)


@deep_traverse_to_unwrap.register(Sealed)
def unwrap_sealed(value: Sealed) -> Any:
    return "opened", deep_traverse_to_unwrap(value.content)


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def on_worker(resolver: DependencyResolver | None, *args: Any, **kwargs: Any) -> tuple[Any, Any, int]:
    """Return the arguments as a worker gets them, and the number of tasks that the call waits for."""
    futures: list[Future[Any]] = []

    def identify(future: Future[Any]) -> tuple[int, None]:
        if future not in futures:
            futures.append(future)
        return futures.index(future), None

    dependencies = ArgumentDependencies(identify)
    pack = pack_arguments if resolver is None else resolver.pack
    packed, frames = pack(args, kwargs, dependencies, "app")
    with resolving(lambda place: futures[dependencies.tasks[place]].result()):
        found, named = unpack(packed, [bytearray(frame) for frame in frames])
    return found, named, len(dependencies.tasks)


def here(resolver: DependencyResolver | None, *args: Any, **kwargs: Any) -> tuple[Any, Any, int]:
    """The same for a body that runs in the notebook's process."""
    search = AnyDepth() if resolver is None else ByResolver(resolver)
    found = {id(future) for future in search.futures(args, kwargs)}
    return *search.values(args, kwargs), len(found)


@pytest.fixture(params=[on_worker, here], ids=["worker", "here"])
def call(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_the_shallow_rule_finds_arguments_and_items_of_inputs(call: Any) -> None:
    one, two, three = done(1), done(2), done(3)
    found = call(SHALLOW_DEPENDENCY_RESOLVER, one, [5], key=two, inputs=[three, "file"])
    assert found == ((1, [5]), {"key": 2, "inputs": [3, "file"]}, 3)
    assert call(SHALLOW_DEPENDENCY_RESOLVER, inputs=(one,)) == ((), {"inputs": (1,)}, 1)
    assert call(SHALLOW_DEPENDENCY_RESOLVER, inputs="no list") == ((), {"inputs": "no list"}, 0)


@pytest.mark.parametrize("wrap", [lambda f: [f], lambda f: {"k": f}, lambda f: (f,), Box])
def test_the_shallow_rule_leaves_other_futures_alone(wrap: Any) -> None:
    future = done(1)
    (argument,), _, count = here(SHALLOW_DEPENDENCY_RESOLVER, wrap(future))
    assert count == 0
    assert (
        argument.content is future
        if isinstance(argument, Box)
        else future in list(getattr(argument, "values", lambda: argument)())
    )
    with pytest.raises(SerializationError, match="SHALLOW_DEPENDENCY_RESOLVER does not look for futures there"):
        on_worker(SHALLOW_DEPENDENCY_RESOLVER, wrap(future))


@pytest.mark.parametrize("resolver", [None, DEEP_DEPENDENCY_RESOLVER])
def test_the_deep_rule_finds_futures_in_containers(call: Any, resolver: DependencyResolver | None) -> None:
    one, two = done(1), done("k")
    argument = [one, (two, {two: [one]}), {one}]
    assert call(resolver, argument, inputs=[[one]]) == (([1, ("k", {"k": [1]}), {1}],), {"inputs": [[1]]}, 2)


def test_a_worker_finds_futures_in_any_object_with_the_deep_rule() -> None:
    assert on_worker(DEEP_DEPENDENCY_RESOLVER, Box([done(1)])) == ((Box([1]),), {}, 1)


def test_types_that_users_register_with_parsls_functions(call: Any) -> None:
    future = done(1)
    found = call(DEEP_DEPENDENCY_RESOLVER, future, [Sealed([future])], inputs=[Sealed(future)])
    assert found == ((1, [("opened", [1])]), {"inputs": [("opened", 1)]}, 1)


def gather_boxes(value: Any) -> list[Any]:
    return [value.content] if isinstance(value, Box) else []


def unwrap_boxes(value: Any) -> Any:
    return value.content.result() if isinstance(value, Box) else value


def test_a_resolver_of_the_user(call: Any) -> None:
    resolver = DependencyResolver(gather_boxes, unwrap_boxes)
    assert call(resolver, Box(done([1])), 2, inputs=[Box(done(3))]) == (([1], 2), {"inputs": [3]}, 2)
    assert call(resolver, Box) == ((Box,), {}, 0)
    with pytest.raises(SerializationError, match=r"DependencyResolver\(<function gather_boxes"):
        on_worker(resolver, done(1))
    assert repr(SHALLOW_DEPENDENCY_RESOLVER) == "SHALLOW_DEPENDENCY_RESOLVER"
