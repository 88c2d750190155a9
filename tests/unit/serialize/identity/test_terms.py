"""Equal values have one identity and others have another one, whatever order a process keeps them in."""

from __future__ import annotations

import collections
import dataclasses
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.data_provider.files import File
from parslab.errors import ConfigurationError
from parslab.serialize.arguments import ArgumentDependencies, pack_arguments
from parslab.serialize.code.hashing import digest_of
from parslab.serialize.identity import registry
from parslab.serialize.identity.calls import ArgumentTerms, Parameters, identify_arguments
from parslab.serialize.identity.registry import Unidentified, id_for_memo
from parslab.serialize.references import Constant


def identity_of(value: Any, **options: Any) -> bytes:
    return digest_of(ArgumentTerms(**options).term(value))


class Plain:
    """An object with attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
hashable = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=8)
values = st.recursive(
    atoms | st.sets(hashable, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)


def rebuilt(value: Any) -> Any:
    """An equal value that shares nothing with this one, and keeps sets and dicts in another order."""
    kind = type(value)
    if kind in (set, frozenset):
        return kind([rebuilt(item) for item in reversed(list(value))])
    if kind is dict:
        return {rebuilt(key): rebuilt(item) for key, item in reversed(list(value.items()))}
    if kind in (list, tuple):
        return kind([rebuilt(item) for item in value])
    if kind is Point:
        return Point(rebuilt(value.x), rebuilt(value.y))
    return eval(repr(value), {"inf": float("inf")})


def same(one: Any, other: Any) -> bool:
    """Equality that distinguishes 1 from 1.0, True and -0.0 from 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, dict):
        pairs = [(key, item) for key, item in other.items()]
        return len(one) == len(other) and all(
            any(same(key, k) and same(item, i) for k, i in pairs) for key, item in one.items()
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Point):
        return same(one.x, other.x) and same(one.y, other.y)
    return repr(one) == repr(other)


@given(values)
def test_equal_values_have_one_identity(value: Any) -> None:
    assert identity_of(value) == identity_of(rebuilt(value))


@given(values, values)
def test_other_values_have_another_identity(one: Any, other: Any) -> None:
    assert (identity_of(one) == identity_of(other)) == same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("a", b"a"),
        (b"a", bytearray(b"a")),
        ([1], (1,)),
        ({1}, frozenset({1})),
        ([1, 2], [2, 1]),
        ({"a": 1}, [("a", 1)]),
        ({"dict": [(1, 2)]}, [{"dict": [(1, 2)]}]),
        (("name", ("builtins", "len")), len),
        (collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
        (Path("a"), "a"),
        (Plain(a=1), Plain(a=2)),
        (Plain(a=1), Point(1)),
        (np.arange(3), np.arange(3.0)),
        (np.arange(4), np.arange(4).reshape(2, 2)),
        (np.arange(3, dtype=">i4"), np.arange(3, dtype="<i4")),
        (np.zeros(3000), np.zeros(3001)),
        (np.zeros(3000), np.ones(3000)),
        (np.float32(1), np.float64(1)),
        (np.float64(1), 1.0),
        (np.array(["a"], dtype=object), np.array(["a"])),
        (np.array([{1}], dtype=object), np.array([{2}], dtype=object)),
        (range(3), range(4)),
        (len, print),
        (int, float),
        ("x".join, "y".join),
    ],
)
def test_different_values_have_different_identities(one: Any, other: Any) -> None:
    assert identity_of(one) != identity_of(other)


def test_where_an_array_lies_does_not_count_but_its_order_does() -> None:
    table = np.arange(6000.0).reshape(60, 100)
    assert identity_of(table) != identity_of(np.asfortranarray(table))
    assert identity_of(table[::2]) == identity_of(table[::2].copy())


def test_what_contains_itself() -> None:
    def ring(length: int, value: int) -> list[Any]:
        items: list[Any] = [value]
        inner = items
        for _ in range(length):
            inner.append([value])
            inner = inner[1]
        inner.append(items)
        return items

    assert identity_of(ring(3, 1)) == identity_of(ring(3, 1))
    assert len({identity_of(ring(length, value)) for length in range(4) for value in range(2)}) == 8


def test_value_in_many_places_is_examined_once() -> None:
    value: list[Any] = [Plain(a=1)]
    for _ in range(60):
        value = [value, value]
    assert identity_of(value) == identity_of(value)


def test_a_budget_ends_the_looking() -> None:
    small, large = [Plain(a=n) for n in range(5)], [Plain(a=n) for n in range(500)]
    assert identity_of(small, budget=100) == identity_of(small)
    for much in (large, np.zeros(1 << 20), {"k": large}):
        with pytest.raises(Unidentified, match="too large"):
            identity_of(much, budget=100)


# --- what users say --------------------------------------------------------------------------------------------------


class Connection:
    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registrations of one test stay in it."""
    import functools

    plain: Any = id_for_memo
    known = functools.singledispatch(plain.registry[object])
    monkeypatch.setattr(registry, "id_for_memo", known)
    monkeypatch.setattr(registry, "_registered", known.registry)
    return known


def test_a_type_without_identity_is_named_and_can_be_given_one(fresh_registry: Any) -> None:
    with pytest.raises(Unidentified, match=r"argument 'via' \(Connection\): .*cannot pickle '_thread.lock' object"):
        identify_arguments((), {"via": Connection("a")})
    with pytest.raises(ValueError, match="cannot pickle"):
        fresh_registry(Connection("a"))
    fresh_registry.register(Connection, lambda connection: connection.url.encode())
    assert identity_of([Connection("a")]) == identity_of([Connection("a")]) != identity_of([Connection("b")])
    fresh_registry.register(float, lambda number, output_ref=False: str(round(number)).encode())
    assert identity_of({"k": 1.1}) == identity_of({"k": 0.9}) != identity_of({"k": 1.9})
    assert identity_of((1.1, 2)) == identity_of((0.9, 2))


def test_a_registration_leaves_other_identities_as_they_were(fresh_registry: Any) -> None:
    things = [[1, {"a", 2.5}], {"k": Plain(a=[1])}, np.arange(3), ("x", None)]
    before = [identity_of(thing) for thing in things]
    fresh_registry.register(Connection, lambda connection: b"")
    assert [identity_of(thing) for thing in things] == before


@pytest.mark.parametrize(("handler", "text"), [(lambda _: 1 / 0, "ZeroDivisionError"), (lambda _: 3, "return bytes")])
def test_failure_of_a_registered_function_is_reported(fresh_registry: Any, handler: Any, text: str) -> None:
    fresh_registry.register(Connection, handler)
    with pytest.raises(Unidentified, match=f"id_for_memo .*{text}"):
        identity_of(Connection("a"))


def test_users_may_ask_for_parts(fresh_registry: Any) -> None:
    fresh_registry.register(Connection, lambda connection: fresh_registry(connection.url))
    assert identity_of(Connection("a")) != identity_of(Connection("b"))
    assert id_for_memo([1]) == id_for_memo([1]) != id_for_memo([2])


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("one")
    before = identity_of(File(path))
    path.write_text("two")
    after = identity_of(File(path))
    assert before != after
    path.write_text("one")
    assert identity_of(File(path)) == before
    path.rename(tmp_path / "other.txt")
    assert identity_of(File(tmp_path / "other.txt")) != before


def test_a_file_may_count_by_time_and_size(tmp_path: Path) -> None:
    import os

    path = tmp_path / "data.txt"
    path.write_text("one")
    file = File(path, known_by="mtime")
    before = identity_of(file)
    os.utime(path, (1, 1))
    after = identity_of(file)
    assert before != after
    path.write_text("two")
    os.utime(path, (1, 1))
    assert identity_of(file.cleancopy()) == after
    with pytest.raises(ConfigurationError, match="known_by must be"):
        File(path, known_by="name")  # type: ignore[arg-type]


def test_the_content_of_a_file_is_read_once_for_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "data.txt"
    path.write_text("one")
    os.utime(path, (1, 1))  # long ago
    before = identity_of(File(path))
    path.write_text("two")
    os.utime(path, (1, 1))  # nobody can see that it changed: it was not read again
    assert identity_of(File(path)) == before
    os.utime(path, (2, 2))
    assert identity_of(File(path)) != before


def test_a_file_that_will_be_written_counts_by_its_name(tmp_path: Path) -> None:
    outputs = Parameters(lambda outputs: None)
    before = outputs.identify(([File(tmp_path / "out")],), {})
    (tmp_path / "out").write_text("one")
    assert outputs.identify(([File(tmp_path / "out")],), {}) == before
    with pytest.raises(Unidentified, match="cannot be read when the app is called"):
        identity_of(File(tmp_path / "none"))
    with pytest.raises(Unidentified, match="not a regular file"):
        identity_of(File(tmp_path))
    assert identity_of(File(tmp_path / "none"), budget=9) != identity_of(File(tmp_path / "out"), budget=9)


# --- calls -----------------------------------------------------------------------------------------------------------


def fit(x: Any, k: Any = 3, *rest: Any, mode: str = "fast", **more: Any) -> None: ...


def only(x: Any, /, y: Any = 0) -> None: ...


CALLS: list[list[tuple[tuple[Any, ...], dict[str, Any]]]] = [
    [
        ((1,), {}),
        ((), {"x": 1}),
        ((1, 3), {}),
        ((1,), {"k": 3, "mode": "fast"}),
        ((), {"mode": "fast", "k": 3, "x": 1}),
    ],
    [((1, 4), {}), ((1,), {"k": 4})],
    [((1,), {"mode": "slow"})],
    [((1, 3, 5), {})],
    [((1, 3), {"z": 5}), ((), {"z": 5, "x": 1})],
    [((1, 3), {"z": 5, "y": 6}), ((1, 3), {"y": 6, "z": 5})],
    [((), {})],
    [((1,), {"x": 1})],
    [((2,), {})],
]


def test_a_call_is_one_however_it_is_written() -> None:
    found = [{Parameters(fit).identify(*call) for call in calls} for calls in CALLS]
    assert [len(identities) for identities in found] == [1] * len(CALLS)
    assert len(set.union(*found)) == len(CALLS)


def test_what_the_function_would_refuse_is_not_taken_for_a_right_call() -> None:
    found = {Parameters(only).identify(*call) for call in [((1,), {}), ((), {"x": 1}), ((1, 2), {"y": 2})]}
    assert len(found) == 3


def test_ignored_parameters_do_not_count() -> None:
    some = Parameters(fit, ["mode", "z", "never"])
    assert len({some.identify(*call) for call in [*CALLS[0], *CALLS[2], *CALLS[4]]}) == 1
    assert some.identify((1, 4), {}) != some.identify((1,), {})
    every = Parameters(fit, ["x"]).without(["k"])
    assert every.identify((Connection("a"), 5), {}) == every.identify((1, 6), {})


def test_a_function_without_a_signature() -> None:
    bare = Parameters(type)
    assert bare.identify((1,), {}) != bare.identify((2,), {})


def test_futures_count_by_their_place_and_path() -> None:
    futures: list[Future[Any]] = [Future(), Future()]
    part, data = Future[Any](), Future[Any]()
    paths: dict[Future[Any], Any] = {part: ("a", 0), data: Constant(File("out.txt"))}

    def made(*args: Any) -> bytes:
        dependencies = ArgumentDependencies(
            lambda future: (0 if future in paths else futures.index(future), paths.get(future))
        )
        pack_arguments(args, {}, dependencies, "fit")
        tasks = list(dependencies.tasks)
        identity = Parameters(fit).identify(args, {}, dependencies.refer)
        assert dependencies.tasks == tasks
        return identity

    one, other = futures
    assert made(one) == made(other)
    assert made([one, other]) == made([other, one]) != made([one, one])
    assert len({made(one), made(part), made(data), made({"k": one})}) == 4
    with pytest.raises(Unidentified, match="a future, which has no value yet"):
        identify_arguments((one,), {})


def test_the_loose_are_found_while_they_are_pickled() -> None:
    def loose(*args: Any) -> bool:
        dependencies = ArgumentDependencies(lambda _: (0, None))
        pack_arguments(args, {}, dependencies, "fit")
        return dependencies.needs_identity

    space: dict[str, Any] = {"__name__": "__main__"}
    exec("class Own: pass\ndef own(): pass", space)
    firm = [
        1,
        "\x8f\x91",
        [1, ["\x8f"], {"k": (2.5, "\x8f")}],
        np.frombuffer(b"\x8f\x91" * 50, "u1"),
        Path("a"),
        len,
        dict,
    ]
    for value in [*firm, [np.frombuffer(b"\x8f" * 8, "f8"), 3]]:
        assert not loose(value), value
    for value in [
        {1},
        [[frozenset("ab")]],
        space["Own"](),
        space["own"],
        lambda: 1,
        File("a"),
        Plain(a=1),
        [{"k": {1}}],
    ]:
        assert loose(value), value
