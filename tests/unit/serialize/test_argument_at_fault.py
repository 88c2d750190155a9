"""The argument that cannot be unpickled is found at any place."""

from __future__ import annotations

import pickle
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from parslab.serialize.argument_at_fault import argument_at_fault
from parslab.serialize.arguments import ArgumentDependencies, pack_arguments
from parslab.serialize.references import resolving


def fail(text: str) -> Any:
    raise KeyError(text)


class Broken:
    def __init__(self, inside: Any = None) -> None:
        self.inside = inside

    def __reduce__(self) -> Any:
        return fail, ("broken",)


class BrokenState:
    def __setstate__(self, state: Any) -> None:
        fail("state")

    def __getstate__(self) -> Any:
        return {"inside": [1, 2]}


fine: list[Any] = [
    1,
    "x",
    None,
    [1, [2, {3: (4,)}]],
    {"k": {1, 2}},
    np.arange(3),
    np.zeros(100_000),
    "y" * 70_000,
    (),
    {},
]


@pytest.mark.parametrize("broken", [Broken(), BrokenState(), [1, {"k": (Broken(), 2)}], {Broken(): 1}])
def test_the_first_broken_argument_is_named(broken: Any) -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((broken,), {}, "argument 0"),
        ((1, broken), {}, "argument 1"),
        ((*fine, broken, *fine), {}, f"argument {len(fine)}"),
        ((broken, broken), {"k": broken}, "argument 0"),
        ((), {"k": broken}, "argument 'k'"),
        ((1, 2), {"a": 1, "b": fine, "c": broken, "d": 2}, "argument 'c'"),
        (("x", "k"), {"x": "k", "k": broken}, "argument 'k'"),
        (tuple(fine), {"caf\udce9": broken}, "argument 'caf\\udce9'"),
    ]
    for args, kwargs, name in calls:
        inline, frames = pack_arguments(args, kwargs, ArgumentDependencies(lambda _: (0, None)), "f")
        stream, *buffers = [inline, *frames] if inline else frames
        with pytest.raises(KeyError):
            pickle.loads(stream, buffers=buffers)
        assert argument_at_fault(bytes(stream), buffers) == name


def test_values_that_stand_in_several_arguments() -> None:
    shared = [1, 2]
    inline, _ = pack_arguments((shared, [shared], Broken(), shared), {}, ArgumentDependencies(lambda _: (0, None)), "f")
    assert argument_at_fault(inline, []) == "argument 2"


def test_arguments_with_futures() -> None:
    future: Future[Any] = Future()
    inline, _ = pack_arguments((1, future, [future], Broken()), {}, ArgumentDependencies(lambda _: (0, None)), "f")
    with resolving(lambda _: "value"):
        assert argument_at_fault(inline, []) == "argument 3"


@pytest.mark.parametrize("stream", [b"", b"\x80\x05garbage", pickle.dumps(3), pickle.dumps(((1,), {"k": 2}), 5)])
def test_a_pickle_that_says_nothing(stream: bytes) -> None:
    assert argument_at_fault(stream, []) == "an argument"
