"""The same cells mean the same in another kernel, and each edit is noticed and named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.process.dry_kernel import kernels

IMPORTS = """
import collections, dataclasses, datetime, decimal, enum, functools, pathlib, typing, uuid
import numpy as np
import parslab
from parslab import File, bash_app, join_app, python_app
"""
FIT = {
    "scale": "scale = 2.0",
    "table": "table = {'a': [1, 2], 'b': {3, 'x', 'y'}}",
    "deep": "def deep(x):\n    return x + scale",
    "prepare": "def prepare(x, k=3):\n    return deep(x) * k if x in {'u', 'v', 'w'} else None",
    "model": """
class Base:
    depth = 1
class Model(Base):
    '''Doc.'''
    rate = 0.1
    def fit(self, x):
        return prepare(x) * self.rate
    @staticmethod
    def name(): return 'model'
    @property
    def double(self): return 2 * self.rate
""",
    "outer": """
def outer(k):
    def inner(x, n=10, *, mode='fast'):
        '''Inside.'''
        class Local:
            weight = 1.5
            def __init__(self): self.one, self.two, self.three = 1, 2, 3
        model = Model()
        return [model.fit(x) + k + np.pi for _ in range(n)], table, Local, recur(x)
    return inner
fit_function = outer(5)
""",
    "recur": "def recur(x):\n    return fit_function(x - 1)",
    "app": "fit = python_app(fit_function, executors='llex')",
    "call": "fit(1)",
}
EDITS: dict[str, tuple[str, str, str, set[str]]] = {
    "body": ("outer", "model = Model()", "model = Model", {"body"}),
    "constant": ("outer", "weight = 1.5", "weight = 1.6", {"body"}),
    "default": ("outer", "n=10", "n=11", {"default n"}),
    "keyword default": ("outer", "'fast'", "'slow'", {"default mode"}),
    "captured": ("outer", "outer(5)", "outer(6)", {"captured k"}),
    "global": ("table", "'y'", "'z'", {"global table"}),
    "nested global": ("table", "[1, 2]", "[1, 3]", {"global table"}),
    "helper": ("prepare", "* k", "+ k", {"helper prepare"}),
    "helper's default": ("prepare", "k=3", "k=4", {"helper prepare"}),
    "helper's constant": ("prepare", "'w'", "'q'", {"helper prepare"}),
    "helper's helper": ("deep", "x + scale", "x - scale", {"helper deep"}),
    "helper's global": ("scale", "2.0", "3.0", {"global scale"}),
    "method": ("model", "* self.rate\n", "* self.rate * 1\n", {"class Model"}),
    "attribute": ("model", "rate = 0.1", "rate = 0.2", {"class Model"}),
    "static method": ("model", "'model'", "'other'", {"class Model"}),
    "property": ("model", "2 * self", "3 * self", {"class Model"}),
    "base": ("model", "depth = 1", "depth = 2", {"class Base"}),
    "bases": ("model", "class Model(Base)", "class Model", {"class Model", "class Base"}),
    "recursion": ("recur", "x - 1", "x - 2", {"helper recur"}),
}
SAME: dict[str, tuple[str, str, str]] = {
    "comment": ("prepare", "return", "# why\n    return"),
    "docstring": ("model", "'''Doc.'''", "'''Another.'''"),
    "inner docstring": ("outer", "'''Inside.'''", "'''Elsewhere.'''"),
    "run again": ("scale", "scale = 2.0", "scale = 1.0 + 1.0"),
    "order of a dict": ("table", "{'a': [1, 2], 'b': {3, 'x', 'y'}}", "{'b': {3, 'y', 'x'}, 'a': [1, 2]}"),
}
CALLS = """
class Model:
    def __init__(self, rate): self.rate = rate
    def __eq__(self, other): return self.rate == other.rate
@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float = dataclasses.field(default=1.5, metadata={'unit': 'm'})
    tags: set = dataclasses.field(default_factory=set)
class Colour(enum.Enum):
    red = 1
    blue = 2
    def warm(self): return self is Colour.red
Pair = collections.namedtuple('Pair', 'a b')
class Row(typing.NamedTuple):
    a: int
    b: str = 'b'
def square(x): return x * x
make = lambda x: x + 1
ring = [1]
ring.append(ring)
shared = {'q', 'r', 's'}
@python_app(executors='llex')
def plain(*args, **kwargs): return args
@python_app(cache=True, executors='llex')
def cached(*args, **kwargs): return args
@bash_app(executors='llex')
def shell(x, stdout=None): return f'echo {x}'
@python_app(executors='threads')
def here(*args): return args
@join_app
def many(x): return [plain(x)]
"""
VALUES = """
1
-0.0
2 ** 100
'text', b'bytes', 3j, True, None
[1, [2, (3, 'x')]]
{'one', 'two', 'three'}
frozenset({'one', ('two', 2), None})
[{'one', 'two'}, {'k': {'three', 'four'}}]
{'b': 1, 'a': {'y': 2, 'x': 1}}
np.arange(12.0).reshape(3, 4)
np.arange(12.0).reshape(3, 4).T
np.arange(3000.0)
np.array([{'p', 'q'}, None, 'z'], dtype=object)
np.array([('a', 1)], dtype=[('n', 'U3'), ('i', 'i4')])
np.float32(1.5), np.int8(3), np.datetime64('2026-01-01')
np.array([], dtype='i8')
Model(3)
[Model(shared), Model(shared)]
Point(1, tags={'u', 'v', 'w'})
Colour.red
[Colour.blue, Colour]
Pair(1, {'x', 'y'})
Row(1)
square
make
functools.partial(square, {'a', 'b'})
Model(1).__eq__
pathlib.Path('data/x.csv')
datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(3)
decimal.Decimal('1.50'), uuid.UUID(int=5)
collections.OrderedDict([('b', {'x', 'y'}), ('a', 2)])
collections.defaultdict(list, {'k': {'x', 'y'}})
collections.deque([{'x', 'y'}], maxlen=3)
ring
[shared] * 3
range(5), slice(1, None), Ellipsis
len, np.add, np.zeros, dict, collections.OrderedDict
bytearray(b'abc')
plain(1)
[plain({'x', 'y'}), plain(2)[0]]
""".strip().splitlines()


def notebook(edit: tuple[str, str, str] | None = None) -> list[str]:
    cells = dict(FIT)
    if edit is not None:
        name, before, after = edit
        assert before in cells[name]
        cells[name] = cells[name].replace(before, after)
    return [IMPORTS, *cells.values()]


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    notebooks = {"": notebook()}
    notebooks |= {name: notebook(edit[:3]) for name, edit in EDITS.items()}
    notebooks |= {name: notebook(edit) for name, edit in SAME.items()}
    return kernels(notebooks, tmp_path_factory.mktemp("edited"))


def test_a_function_is_the_same_in_another_kernel(edited: list[dict[str, Any]]) -> None:
    first, second = edited
    for name in first:
        assert (name, first[name][0]["parts"]) == (name, second[name][0]["parts"])
        assert first[name][0]["fingerprint"] == second[name][0]["fingerprint"] != ""


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_another_function_and_is_named(edited: list[dict[str, Any]], name: str) -> None:
    before, after = edited[0][""][0], edited[1][name][0]
    assert before["fingerprint"] != after["fingerprint"]
    parts = before["parts"].items() ^ after["parts"].items()
    assert {label for label, _ in parts} == EDITS[name][3]


@pytest.mark.parametrize("name", SAME)
def test_what_changes_nothing_is_no_edit(edited: list[dict[str, Any]], name: str) -> None:
    assert edited[0][""][0]["fingerprint"] == edited[1][name][0]["fingerprint"]


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    apps = ("plain", "cached", "here")
    calls = {f"{app} {value}": [IMPORTS, CALLS, f"{app}({value})"] for value in VALUES for app in apps}
    calls["shell"] = [IMPORTS, CALLS, "shell(1, stdout=parslab.AUTO_LOGNAME)\nshell(1, stdout=parslab.AUTO_LOGNAME)"]
    calls["join"] = [IMPORTS, CALLS, "many({'x', 'y'})"]
    return kernels(calls, tmp_path_factory.mktemp("called"))


def test_a_call_is_the_same_in_another_kernel(called: list[dict[str, Any]]) -> None:
    first, second = called
    for name in first:
        assert (name, first[name]) == (name, second[name])
        assert not any(call["unknown"] for call in first[name]), name


def test_other_calls_are_other_calls(called: list[dict[str, Any]]) -> None:
    for app in ("plain", "cached", "here"):
        last_calls = {name: calls[-1] for name, calls in called[0].items() if name.startswith(f"{app} ")}
        assert len({(call["arguments"], *call["deps"]) for call in last_calls.values()}) == len(VALUES)


def test_plain_values_cost_nothing_unless_they_are_memoized(called: list[dict[str, Any]]) -> None:
    first = called[0]
    for value in VALUES[:5] + VALUES[9:12]:
        assert not first[f"plain {value}"][-1]["identity"], value
        assert first[f"cached {value}"][-1]["identity"]
        assert first[f"cached {value}"][-1]["memo"]
        assert first[f"here {value}"][-1]["identity"]


def test_files_that_are_named_by_the_call_do_not_count(called: list[dict[str, Any]]) -> None:
    first, second = called[0]["shell"]
    assert first["arguments"] == second["arguments"]
