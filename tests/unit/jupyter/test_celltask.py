"""Which values of the notebook travel with a cell, and what its names are afterwards."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parslab.bodies.cell import CellValues
from parslab.jupyter.celltask import CellOptions, CellSource, CellTask, UserNames
from parslab.jupyter.magics import _without_comment
from parslab.jupyter.name_futures import MISSING, NameFuture
from tests.unit.client.home import FakeHome, done, failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.client.futures.app_future import AppFuture


class Book:
    """The names of a notebook, and cells that are submitted to nobody."""

    def __init__(self, **names: Any) -> None:
        self.names = dict(names)
        self.home = FakeHome()

    def task(self, text: str, outputs: Sequence[str] | None = None, cell_id: str = "cell") -> CellTask:
        return CellTask(CellSource(text, "<cell>", 0), self.names, CellOptions(outputs=outputs), cell_id)

    def inputs(self, text: str, **options: Any) -> dict[str, Any]:
        return self.task(text, **options).inputs()

    def run(self, text: str, **options: Any) -> AppFuture:
        """Submit a cell: its names are futures then."""
        task = self.task(text, **options)
        future = self.home.future()
        self.names.update(task.futures(future))
        return future


LOOP = "for x in xs:\n    part = x\n    print(part)\nraise ValueError"


def test_a_cell_that_failed_does_not_depend_on_its_own_old_run() -> None:
    """It failed with DependencyError, because `part` of the first run travelled."""
    book = Book(xs=[1])
    failed(book.run(LOOP), ValueError("no"))
    assert isinstance(book.names["part"], NameFuture)
    assert book.inputs(LOOP) == {"xs": [1]}
    assert book.inputs(LOOP.replace("raise ValueError", "last = part")) == {"xs": [1]}


def test_a_cell_does_not_wait_for_its_own_run_that_goes_on() -> None:
    book = Book(xs=[1])
    book.run(LOOP)
    assert book.inputs(LOOP) == {"xs": [1]}
    assert book.inputs(LOOP, cell_id="") == {"xs": [1]}
    by_names = Book(xs=[1])
    by_names.run(LOOP, cell_id="")
    assert by_names.inputs(LOOP + "(1)", cell_id="") == {"xs": [1]}


def test_futures_of_other_cells_are_dependencies_where_they_are_read() -> None:
    book = Book(xs=[1])
    book.run(LOOP)
    part = book.names["part"]
    assert book.inputs("print(part)", cell_id="other") == {"part": part}
    assert book.inputs("if xs:\n part = 1\nprint(part)", cell_id="other") == {"xs": [1], "part": part}
    assert book.inputs("if xs:\n part = 1", cell_id="other") == {"xs": [1]}


def test_a_count_goes_on_and_begins_again_from_before_a_failure() -> None:
    book = Book(total=1)
    count = "total = total + 1"
    assert book.inputs(count) == {"total": 1}
    first = book.run(count)
    second = book.names["total"]
    assert book.inputs(count) == {"total": second}
    done(first, CellValues({"total": 2}))
    assert book.inputs(count) == {"total": second}
    assert second.result() == 2
    failed(book.run(count), ValueError("no"))
    assert book.inputs(count) == {"total": second}


def test_locks_and_large_values_stay_where_the_cell_only_assigns() -> None:
    lock, large = threading.Lock(), np.zeros(1000)
    book = Book(a=lock, b=large, c=5, d="x" * 5000, cond=True)
    assert book.inputs("if cond:\n a = b = c = d = 1") == {"cond": True, "c": 5}
    assert book.inputs("if cond:\n a = b = 1\nprint(a, b)") == {"cond": True, "b": large}
    assert book.inputs("if cond:\n b = 1", outputs=["b"]) == {"cond": True, "b": large}
    assert book.inputs("print(a)") == {"a": lock}


def test_a_name_that_the_cell_leaves_as_it_is_keeps_its_value() -> None:
    large = np.zeros(1000)
    book = Book(a=large, cond=False)
    future = book.run("if cond:\n a = 1\n b = 2")
    done(future, CellValues({}))
    assert book.names["a"].result() is large
    assert book.names["a"].exception() is None
    with pytest.raises(NameError, match="the cell ended without assigning 'b'"):
        book.names["b"].result()
    before = book.names["a"]
    again = book.run("if cond:\n a = 1\n b = 2")
    assert book.names["a"].previous is before
    done(again, CellValues({"a": 1}))
    assert book.names["a"].result() == 1
    assert book.names["a"].previous is MISSING
    assert before.result() is large


def test_values_of_before_are_dropped_when_nobody_needs_them() -> None:
    book = Book(a=np.zeros(10))
    future = book.run("a = 1")
    assert book.names["a"].previous is not MISSING
    done(future, CellValues({"a": 1}))
    assert book.names["a"].previous is MISSING


def test_imports_are_bound_in_the_notebook() -> None:
    book = Book()
    task = book.task("import json as j, nowhere_at_all\nfrom math import pi, tau\nimport os.path\nx = pi")
    task.bind_imports(book.names)
    bound = {name: getattr(value, "__name__", value) for name, value in book.names.items() if name != "__builtins__"}
    assert bound == {"j": "json", "pi": math.pi, "tau": math.tau, "os": "os"}


def test_names_in_strings_travel() -> None:
    book = Book(limit=3, df=4)
    assert book.inputs("df.query('a > @limit')") == {"df": 4, "limit": 3}


class Shell:
    def __init__(self) -> None:
        self.user_ns_hidden = {"open": print, "x": 1}
        self.user_ns = {"open": print, "exit": 3, "x": 1, "y": 2}


def test_ipythons_own_names_are_not_the_users() -> None:
    names = UserNames(Shell())
    assert dict(names) == {"exit": 3, "x": 1, "y": 2}
    assert "open" not in names
    assert len(names) == 3


class Counting(dict):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise AssertionError("every name of the notebook is looked at")

    items = keys = __iter__


def test_only_names_of_the_cell_are_looked_at() -> None:
    """Each of 5,000 names of a notebook cost a cell 2 us."""
    shell = Shell()
    shell.user_ns = Counting(shell.user_ns)
    assert CellTask(CellSource("z = y", "<cell>", 0), UserNames(shell), CellOptions()).inputs() == {"y": 2}


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("# all", ""),
        ("-w # wait", "-w "),
        ("-n 'a # b' #c", "-n 'a # b' "),
        ("-n a#b", "-n a#b"),
        ('-n "it\'s # 1"', '-n "it\'s # 1"'),
    ],
)
def test_comments_on_the_line_of_the_cell(line: str, left: str) -> None:
    assert _without_comment(line) == left
