"""Bodies that run here get values for futures, wherever these are, and nothing else is touched."""

from __future__ import annotations

import collections
import dataclasses
from concurrent.futures import Future
from typing import Any

import pytest

from parslab.client.local.future_values import futures_in, with_values


def future(value: Any) -> Future[Any]:
    made: Future[Any] = Future()
    made.set_result(value)
    return made


Named = collections.namedtuple("Named", "a b")


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0
    made: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        self.made += 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any


@dataclasses.dataclass(slots=True)
class Slotted:
    x: Any


@dataclasses.dataclass
class Demanding:
    needed: dataclasses.InitVar[int]
    x: Any = None


@dataclasses.dataclass
class Tree:
    value: Any
    parent: Any = None
    children: list[Any] = dataclasses.field(default_factory=list)


F = future("v")
CASES = [
    (F, "v"),
    ([1, F], [1, "v"]),
    ((F,), ("v",)),
    ({F}, {"v"}),
    (frozenset({F, 1}), frozenset({"v", 1})),
    ({"k": F, F: 1}, {"k": "v", "v": 1}),
    (Named(F, [F]), Named("v", ["v"])),
    (Point(F, [F]), Point("v", ["v"])),
    (Frozen(F), Frozen("v")),
    (Slotted([F]), Slotted(["v"])),
    ([{"a": (Point(Frozen(F)),)}], [{"a": (Point(Frozen("v")),)}]),
]


@pytest.mark.parametrize(("value", "expected"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_futures_are_replaced_at_any_depth(value: Any, expected: Any) -> None:
    found: list[Future[Any]] = []
    futures_in(value, found)
    assert set(found) == {F}
    assert with_values(value) == expected
    assert type(with_values(value)) is type(expected)


@pytest.mark.parametrize(
    "value", [1, "x", [1, [2]], (1,), {"a": {1}}, Named(1, 2), Point([1]), Frozen(1), Point, [], {}, b"", object()]
)
def test_without_futures_everything_stays_itself(value: Any) -> None:
    found: list[Future[Any]] = []
    futures_in(value, found)
    assert found == []
    assert with_values(value) is value


def test_the_original_is_not_changed() -> None:
    inner = [F]
    value = {"a": inner, "b": Point(F)}
    with_values(value)
    assert value["a"] is inner
    assert inner == [F]
    assert value["b"].x is F  # type: ignore[attr-defined]


def test_what_is_shared_stays_shared() -> None:
    shared = [F]
    new = with_values([shared, shared])
    assert new[0] is new[1]


def test_a_dataclass_is_not_made_anew() -> None:
    """`dataclasses.replace` ran `__post_init__` again, and could not make one that wants what it does not keep."""
    assert with_values(Point(F)).made == 1
    assert with_values(Demanding(1, x=F)).x == "v"


def test_containers_that_contain_themselves() -> None:
    """The call of the app ended in a RecursionError."""
    endless: list[Any] = [1]
    endless.append(endless)
    root = Tree(1)
    root.children.append(Tree(F, parent=root))
    found: list[Future[Any]] = []
    for value in (endless, root):
        futures_in(value, found)
    assert found == [F]
    assert with_values(endless) is endless
    assert with_values(root).children[0].value == "v"


def test_containers_of_other_kinds_are_left_alone_by_both() -> None:
    """A list of one's own was searched for futures, but they were not replaced."""

    class Mine(list):  # type: ignore[type-arg]
        pass

    found: list[Future[Any]] = []
    value = Mine([F])
    futures_in(value, found)
    assert found == []
    assert with_values(value) is value


def test_futures_are_found_in_order() -> None:
    a, b, c = future(1), future(2), future(3)
    found: list[Future[Any]] = []
    futures_in([[a, {"x": b}], c], found)
    assert found == [a, b, c]


def test_a_failed_future_raises_its_error() -> None:
    bad: Future[Any] = Future()
    bad.set_exception(KeyError("k"))
    with pytest.raises(KeyError, match="k"):
        with_values([bad])
