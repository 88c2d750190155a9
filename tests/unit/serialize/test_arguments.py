"""Arguments: pickled once, futures at any depth become dependencies, buffers stay where they are."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import pickle
import threading
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from parslab.errors import SerializationError
from parslab.serialize.arguments import ArgumentDependencies, pack_arguments, why_unpicklable
from parslab.serialize.identity.calls import identify_arguments
from parslab.serialize.identity.registry import Unidentified
from parslab.serialize.references import Constant, Path, follow_path, resolve, resolving
from parslab.serialize.summaries import brief, show_arguments
from parslab.serialize.values import pack, unpack
from parslab.wire.messages.base import INLINE


class Numbered(Future[Any]):
    """A future with a task number, or a part of one."""

    def __init__(self, task_id: int, path: Path = None) -> None:
        super().__init__()
        self.task_id = task_id
        self.path = path


def identify(future: Future[Any]) -> tuple[int, Path]:
    assert isinstance(future, Numbered)
    return future.task_id, future.path


def travelled(*args: Any, values: dict[int, Any] | None = None, **kwargs: Any) -> tuple[tuple[int, ...], Any]:
    """The dependencies of a call, and its arguments as a worker gets them."""
    dependencies = ArgumentDependencies(identify)
    inline, frames = pack_arguments(args, kwargs, dependencies, "fit")
    tasks = tuple(dependencies.tasks)
    with resolving(lambda place: (values or {})[tasks[place]]):
        received = [bytearray(frame) for frame in frames]
        return tasks, unpack(inline, received)


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


Named = collections.namedtuple("Named", "a b")

F = Numbered(7)
NESTED = [
    (F, lambda v: v),
    ([F], lambda v: v[0]),
    ((1, F), lambda v: v[1]),
    ({"k": F}, lambda v: v["k"]),
    ({F: 1}, lambda v: next(iter(v))),
    ({F}, lambda v: next(iter(v))),
    (frozenset({F}), lambda v: next(iter(v))),
    (Point(F), lambda v: v.x),
    (Frozen(F), lambda v: v.x),
    (Slotted(F), lambda v: v.x),
    (Named(1, F), lambda v: v.b),
    ([{"a": (Point(y=[F], x=1),)}], lambda v: v[0]["a"][0].y[0]),
    (collections.OrderedDict(k=F), lambda v: v["k"]),
    (collections.deque([F]), lambda v: v[0]),
    (np.array([F, 1], dtype=object), lambda v: v[0]),
]


@pytest.mark.parametrize(("value", "take"), NESTED, ids=[type(v).__name__ for v, _ in NESTED])
def test_a_future_at_any_depth_is_a_dependency(value: Any, take: Any) -> None:
    by_place = travelled(value, values={7: "value"})
    by_name = travelled(x=value, values={7: "value"})
    assert by_place[0] == by_name[0] == (7,)
    assert take(by_place[1][0][0]) == take(by_name[1][1]["x"]) == "value"


def test_no_arguments() -> None:
    assert travelled() == ((), ((), {}))


def test_plain_arguments() -> None:
    assert travelled(1, 2.5, "x", None, True, b"b", 1j, k=2) == ((), ((1, 2.5, "x", None, True, b"b", 1j), {"k": 2}))


def test_each_task_is_one_dependency_however_often_it_is_used() -> None:
    a, b = Numbered(3), Numbered(4)
    tasks, (args, kwargs) = travelled(a, [b, a], {"z": a}, k=b, values={3: "A", 4: "B"})
    assert tasks == (3, 4)
    assert args == ("A", ["B", "A"], {"z": "A"})
    assert kwargs == {"k": "B"}


def test_the_same_object_stays_the_same() -> None:
    shared = [Numbered(3)]
    _, (args, _) = travelled(shared, shared, values={3: "A"})
    assert args[0] is args[1]


def test_parts_follow_their_path() -> None:
    value = {"a": [10, {"b": "deep"}]}
    tasks, (args, _) = travelled(Numbered(3, ("a", 0)), Numbered(3, ("a", 1, "b")), Numbered(3), values={3: value})
    assert tasks == (3,)
    assert args == (10, "deep", value)


def test_a_path_that_leads_nowhere_fails_on_the_worker() -> None:
    with pytest.raises(KeyError, match="b"):
        travelled(Numbered(3, ("b",)), values={3: {"a": 1}})


def test_a_constant_waits_but_needs_no_value() -> None:
    tasks, (args, _) = travelled([Numbered(3, Constant("/tmp/out.txt"))], values={})
    assert tasks == (3,)
    assert args == (["/tmp/out.txt"],)
    assert follow_path("whatever", Constant(5)) == 5


def test_a_reference_outside_of_a_worker_says_so() -> None:
    with pytest.raises(RuntimeError, match="outside of a worker"):
        resolve(0)


def test_values_of_nested_resolutions_do_not_mix() -> None:
    with resolving(lambda place: f"outer {place}"):
        with resolving(lambda place: f"inner {place}"):
            assert resolve(1) == "inner 1"
        assert resolve(1) == "outer 1"


# --- buffers ---------------------------------------------------------------------------------------------------------


def test_large_arrays_go_out_of_band_and_come_back_writable() -> None:
    array = np.arange(100_000)
    dependencies = ArgumentDependencies(identify)
    inline, frames = pack_arguments((array, "x"), {"again": array}, dependencies, "fit")
    assert len(inline) < 1000
    (frame,) = frames
    assert memoryview(frame).nbytes == array.nbytes
    assert np.shares_memory(np.frombuffer(frame, array.dtype), array)  # nothing was copied
    args, kwargs = unpack(inline, [bytearray(frame)])
    assert args[0] is kwargs["again"]
    assert (args[0] == array).all()
    args[0][0] = 99
    assert array[0] == 0


def test_small_arrays_stay_in_the_stream() -> None:
    inline, frames = pack_arguments((np.arange(10),), {}, ArgumentDependencies(identify), "fit")
    assert inline
    assert not frames


def test_a_large_stream_is_a_frame() -> None:
    for args in (("x" * INLINE,), (["x" * INLINE],), ([*range(INLINE)], np.arange(100_000))):
        inline, frames = pack_arguments(args, {}, ArgumentDependencies(identify), "fit")
        assert inline == b""
        back, _ = unpack(inline, [bytearray(frame) for frame in frames])
        assert np.all([np.all(a == b) for a, b in zip(args, back, strict=True)])


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_layout(order: Any) -> None:
    array = np.asarray(np.arange(20_000.0).reshape(100, 200), order=order)
    for value in (array, array[::2], array.T, array[:0], np.empty((0, 5))):
        inline, frames = pack(value)
        assert np.array_equal(unpack(inline, [bytearray(frame) for frame in frames]), value)


@pytest.mark.parametrize("value", [None, 0, "", b"", [], {}, b"x" * (INLINE + 1), "y" * 100_000, [1, {"a": (2,)}]])
def test_values_come_back(value: Any) -> None:
    inline, frames = pack(value)
    assert unpack(inline, [bytearray(frame) for frame in frames]) == value
    assert bool(inline) != bool(frames)


def test_lambdas_and_local_classes_are_values_too() -> None:
    class Local:
        x = 3

    inline, frames = pack([lambda: 5, Local])
    back = unpack(inline, frames)
    assert back[0]() == 5
    assert back[1].x == 3


# --- what cannot travel ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ((1, threading.Lock()), {}, r"argument 1 of app fit \(lock\)"),
        ((), {"model": [threading.Lock()]}, r"argument 'model' of app fit \(list of 1\)"),
        ((np.arange(5000), (x for x in (1,))), {}, r"argument 1 of app fit \(.*genexpr.*\)"),
        ((F, [F, threading.Lock()]), {}, r"argument 1 of app fit \(list of 2\)"),
    ],
)
def test_the_argument_that_cannot_travel_is_named(args: Any, kwargs: Any, name: str) -> None:
    with pytest.raises(SerializationError, match=f"{name} cannot be sent to a worker: TypeError: cannot pickle"):
        pack_arguments(args, kwargs, ArgumentDependencies(identify), "fit")


def test_an_object_that_refuses_says_why() -> None:
    class Refuses:
        def __reduce__(self) -> Any:
            raise RuntimeError("not today")

    assert why_unpicklable(Refuses()) == "RuntimeError: not today"
    assert why_unpicklable([F]) == ""
    with pytest.raises(SerializationError, match=r"argument 0 of app fit .*RuntimeError: not today"):
        pack_arguments((Refuses(),), {}, ArgumentDependencies(identify), "fit")


def test_recursion_that_pickle_cannot_follow_is_blamed_on_its_argument() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    try:
        with pytest.raises(SerializationError, match=r"argument 1 of app fit .*recursion"):
            pack_arguments((1, deep), {}, ArgumentDependencies(identify), "fit")
    finally:
        while deep:
            deep = deep[0]


# --- what the panel shows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, "1"),
        (True, "True"),
        (None, "None"),
        (2.5, "2.5"),
        ("short", "'short'"),
        ("l" * 100, f"'{'l' * 37}'..."),
        (b"b" * 100, f"b'{'b' * 37}'..."),
        ([1, 2], "list of 2"),
        ({}, "dict of 0"),
        (np.zeros((3, 4)), "ndarray(3, 4)"),
        (F, "task 7"),
        (Future(), "a future"),
        (len, "len"),
        (Point, "Point"),
        (Point(1), "Point"),
        (10**30, str(10**30)),
    ],
    ids=lambda value: "",
)
def test_brief(value: Any, shown: str) -> None:
    assert brief(value) == shown


def test_an_integer_too_long_for_text_can_be_an_argument() -> None:
    """Python refuses to write it in decimal, and the call failed with that."""
    assert travelled(10**5000) == ((), ((10**5000,), {}))
    assert show_arguments((10**5000, -(10**5000)), {}) == "int of 16610 bits, int of 16610 bits"


class AttributesAreKeys(dict):  # type: ignore[type-arg]
    __getattr__ = dict.__getitem__


class Refuses:
    @property
    def shape(self) -> Any:
        raise ValueError("no shape yet")

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class RefusesAll:
    def __getattribute__(self, name: str) -> Any:
        raise LookupError(name)


@pytest.mark.parametrize("kind", [AttributesAreKeys, Refuses, RefusesAll])
def test_showing_an_argument_never_raises(kind: Any) -> None:
    """`app(AttrDict(w=4))` failed with KeyError: 'shape'."""
    value, name = kind(), kind.__name__
    assert brief(value) == name
    assert show_arguments((value,), {"k": value}) == f"{name}, k={name}"


def test_arguments_that_raise_when_they_are_looked_at_have_no_identity_at_worst() -> None:
    assert identify_arguments((AttributesAreKeys(w=4),), {}) != identify_arguments((AttributesAreKeys(w=5),), {})
    for value in (Refuses(), RefusesAll()):
        with contextlib.suppress(Unidentified):
            identify_arguments((value,), {})


def test_a_call_is_shown_on_one_short_line() -> None:
    assert show_arguments((1, "a"), {"k": [1]}) == "1, 'a', k=list of 1"
    assert show_arguments(range(20), {}) == "0, 1, 2, 3, 4, 5, ..."
    assert show_arguments((), {f"k{n}": n for n in range(20)}).count("=") == 6


def test_nothing_of_ours_is_in_the_pickle_of_plain_arguments() -> None:
    inline, _ = pack_arguments((1, "a"), {"k": 2}, ArgumentDependencies(identify), "fit")
    assert b"parslab" not in inline
    assert pickle.loads(inline) == ((1, "a"), {"k": 2})
