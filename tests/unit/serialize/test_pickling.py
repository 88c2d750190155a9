"""What travels by value keeps the name of its file, whatever cloudpickle does with it."""

from __future__ import annotations

import linecache
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from parslab.bodies.cell import CellValues
from parslab.serialize.arguments import ArgumentDependencies, pack_arguments
from parslab.serialize.failures import failure_of
from parslab.serialize.pickling import dumps
from parslab.serialize.values import pack, unpack
from tests.unit.serialize.notebook import Notebook, on_worker

if TYPE_CHECKING:
    from collections.abc import Callable

CELL = """
def f(x=0):
    def inner(y):
        return [1 / z for z in (y,)]
    return inner(x)

class C:
    def method(self):
        return f()

class Oops(Exception):
    def where(self):
        return 1 / 0
"""


def by_value(value: Any) -> Any:
    return pickle.loads(dumps(value))


def as_argument(value: Any) -> Any:
    inline, frames = pack_arguments((value,), {}, ArgumentDependencies(lambda _: (0, None)), "app")
    return unpack(inline, frames)[0][0]


def as_result(value: Any) -> Any:
    return unpack(*pack(value))


def as_value_of_a_cell(value: Any) -> Any:
    return pickle.loads(pickle.dumps(CellValues({"value": value}), 5))["value"]


@pytest.fixture
def notebook() -> Notebook:
    made = Notebook()
    made.cell(CELL)
    return made


@pytest.mark.parametrize("travel", [by_value, as_argument, as_result, as_value_of_a_cell])
def test_functions_and_classes_keep_their_file(notebook: Notebook, travel: Callable[[Any], Any]) -> None:
    names = notebook.names
    filename = names["f"].__code__.co_filename
    function = travel(names["f"])
    assert function.__code__.co_filename == filename
    inner = next(constant for constant in function.__code__.co_consts if hasattr(constant, "co_filename"))
    assert inner.co_filename == filename
    assert travel(names["C"]).method.__code__.co_filename == filename
    assert function.__code__ == names["f"].__code__


def test_an_exception_class_keeps_its_file(notebook: Notebook) -> None:
    error = pickle.loads(failure_of(notebook.names["Oops"]("no")).payload)
    assert type(error).where.__code__.co_filename == notebook.names["f"].__code__.co_filename


def test_a_traceback_from_the_worker_shows_the_source_line(notebook: Notebook) -> None:
    function = on_worker(notebook.app())
    with pytest.raises(ZeroDivisionError) as raised:
        function(0)
    assert "return [1 / z for z in (y,)]" in failure_of(raised.value).traceback
    assert any("1 / z" in line for lines in linecache.cache.values() if len(lines) > 2 for line in lines[2])


def test_equal_functions_give_equal_pickles() -> None:
    pickles = []
    for _ in range(2):
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile("def f(): return (lambda: 1)()", "".join(["cell", "-7"]), "exec"), names)
        pickles.append(dumps(names["f"].__code__))
    assert pickles[0] == pickles[1]
