"""Cached functions, cached properties and single-dispatch functions of a notebook travel."""

from __future__ import annotations

import fnmatch

import pytest

from parslab.serialize import functools_objects
from parslab.serialize.functions import AppFunction
from tests.unit.serialize.notebook import Notebook, on_worker


@pytest.fixture(autouse=True)
def fresh_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functools_objects, "_caches", {})


LOADER = """
import functools
loads = []
@functools.lru_cache(maxsize=None)
def load_model(name):
    loads.append(name)
    return [name, scale]
scale = 2
def f(x): return load_model("m")
def g(x): return load_model("m")
"""


def test_a_cached_function_travels_and_is_called_once_per_worker() -> None:
    """It failed with `AttributeError: Can't get attribute 'load_model'` at the task."""
    notebook = Notebook()
    notebook.cell(LOADER)
    one, other = on_worker(notebook.app("f")), on_worker(notebook.app("g"))
    model = one(1)
    assert model == ["m", 2]
    assert one(2) is model
    assert other(1) is model
    notebook.cell("def f(x): return load_model('m'), x")
    assert on_worker(notebook.app("f"))(3) == (model, 3)
    assert on_worker(notebook.app("f"))(3)[0] is model


def test_a_cache_is_empty_where_the_function_or_what_it_uses_has_changed() -> None:
    notebook = Notebook()
    notebook.cell(LOADER.replace("loads.append(name)", "pass"))
    function = notebook.app("f")
    model = on_worker(function)(1)
    notebook.names["load_model"]("n")
    assert on_worker(function)(1) is model
    notebook.cell("scale = 3")
    assert on_worker(function)(1) == ["m", 3]
    assert len(functools_objects._caches) == 1


def test_a_cached_function_may_call_itself() -> None:
    notebook = Notebook()
    notebook.cell(
        "import functools\n"
        "@functools.cache\n"
        "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "def f(n): return fib(n), fib.cache_info().currsize, fib.__name__, fib.__doc__"
    )
    assert on_worker(notebook.app("f"))(30) == (832040, 31, "fib", None)
    assert on_worker(AppFunction(notebook.names["fib"]))(30) == 832040


def test_cached_functions_of_modules_travel_by_name() -> None:
    notebook = Notebook()
    notebook.names["compiled"] = fnmatch._compile_pattern  # type: ignore[attr-defined]
    notebook.cell("def f(x): return compiled")
    assert on_worker(notebook.app("f"))(1) is notebook.names["compiled"]


def test_a_single_dispatch_function_travels() -> None:
    """It was refused: its cache holds weak references, which cannot be pickled."""
    notebook = Notebook()
    notebook.cell(
        "import functools\n"
        "class Own: pass\n"
        "@functools.singledispatch\n"
        "def name(x):\n"
        "    'Name a thing.'\n"
        "    return 'thing'\n"
        "@name.register\n"
        "def _(x: int): return 'number'\n"
        "@name.register(list)\n"
        "def _(x): return [name(i) for i in x]\n"
        "@name.register\n"
        "def _(x: Own): return 'own'\n"
        "name.more = 3\n"
        "def f(x): return name([x, 1.5, Own()]), name.__doc__, name.more"
    )
    function = notebook.app("f")
    assert on_worker(function)(1) == (["number", "thing", "own"], "Name a thing.", 3)
    before = function.current()
    assert function.current() is before
    assert before.fingerprint
    notebook.cell("@name.register(float)\ndef _(x): return 'real'")
    assert on_worker(function)(1)[0] == ["number", "real", "own"]
    assert function.current().fingerprint != before.fingerprint


def test_methods_that_dispatch_and_cached_properties_travel() -> None:
    notebook = Notebook()
    notebook.cell(
        "import functools\n"
        "class Disc:\n"
        "    def __init__(self, r): self.r = r\n"
        "    @functools.cached_property\n"
        "    def area(self):\n"
        "        'Its area.'\n"
        "        return factor * self.r ** 2\n"
        "    @functools.singledispatchmethod\n"
        "    def scaled(self, by): return 'no'\n"
        "    @scaled.register\n"
        "    def _(self, by: int): return Disc(self.r * by)\n"
        "    @functools.lru_cache\n"
        "    def cached(self): return self.r\n"
        "factor = 3\n"
        "def f(r):\n"
        "    disc = Disc(r).scaled(2)\n"
        "    return disc.area, vars(disc), Disc(1).scaled('x'), Disc.area.__doc__, Disc(5).cached()"
    )
    function = notebook.app("f")
    assert on_worker(function)(1) == (12, {"r": 2, "area": 12}, "no", "Its area.", 5)
    assert function.current() is function.current()
    notebook.cell("factor = 4")
    assert on_worker(function)(1)[0] == 16


def test_watching_them_costs_no_pickle_for_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from parslab.serialize.code import contents

    notebook = Notebook()
    notebook.cell(LOADER.replace("loads.append(name)", "pass"))
    function = notebook.app("f")
    function.current()
    monkeypatch.setattr(contents, "dumps", lambda _: 1 / 0)
    assert function.current() is function.current()
