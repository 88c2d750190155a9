"""Cells that repeat a call: the text runs alone, and does what the task did."""

from __future__ import annotations

import linecache
import math
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from parslab.bodies import bash
from parslab.client.reproducer.cell import write_cell
from parslab.client.reproducer.literals import Literals
from parslab.serialize.arguments import ArgumentDependencies, pack_arguments
from parslab.serialize.functions import AppFunction
from parslab.serialize.references import resolve
from parslab.serialize.values import pack
from parslab.wire.messages.client import RequestReproducer

if TYPE_CHECKING:
    from collections.abc import Callable

Names = dict[str, Any]


def cell(text: str, number: int = 3) -> Names:
    """Execute a cell of a notebook and return its names."""
    text = textwrap.dedent(text).lstrip("\n")
    filename = f"<cell {number} {hash(text)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), f"In [{number}]")
    names: Names = {"__name__": "__main__"}
    exec(compile(text, filename, "exec"), names)
    return names


class _Reference:
    """Is pickled as the client pickles a future: as a place among the dependencies."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return resolve, (self.place,)


def request(
    function: Callable[..., Any], *args: Any, runner: Any = None, values: tuple[bytes, ...] = (), **kwargs: Any
) -> RequestReproducer:
    packed, buffers = pack_arguments(args, kwargs, ArgumentDependencies(lambda _: (0, None)), "fit")
    return RequestReproducer(
        ask=1,
        task=7,
        app="fit",
        error="ValueError: no\nsecond line",
        function=AppFunction(function, runner).current().payload,
        args=packed,
        buffers=tuple(bytes(buffer) for buffer in buffers),
        deps=tuple(range(20, 20 + len(values))),
        values=values,
    )


def run(text: str) -> Any:
    """Run a cell, and return the value of its last expression."""
    *statements, last = text.split("\n\n")
    names: Names = {"__name__": "__main__"}
    exec("\n\n".join(statements), names)
    return eval(last.strip(), names)


def test_a_function_and_its_arguments() -> None:
    names = cell("def fit(x, *, scale=1):\n    # a comment stays\n    return x * scale\n")
    text = write_cell(request(names["fit"], 3, scale=2.5), 7)
    assert text == (
        "# Task 7 failed: ValueError: no second line\n"
        "# This cell calls its function here, without Parsl.\n\n\n"
        "def fit(x, *, scale=1):\n    # a comment stays\n    return x * scale\n\n\n"
        "fit(3, scale=2.5)"
    )
    assert run(text) == 7.5


def test_what_the_function_uses() -> None:
    names = cell(
        """
        import math
        import os.path as paths
        from collections import Counter as Bag

        LIMIT = [1, 2]

        class Shape:
            def area(self):
                return LIMIT[1]

        def helper(x):
            return math.floor(x) + Shape().area()

        def fit(x):
            return helper(x), Bag("aa"), paths.sep, [LIMIT for _ in range(2)]
        """
    )
    text = write_cell(request(names["fit"], 1.5), 7)
    assert "from collections import Counter as Bag\nimport math\nimport posixpath as paths\n" in text
    assert "\nLIMIT = [1, 2]\n" in text
    assert text.count("def helper") == text.count("class Shape") == 1
    assert run(text) == (3, {"a": 2}, "/", [[1, 2], [1, 2]])


def test_decorators_are_left_out() -> None:
    names = cell("def mark(f):\n    return f\n\n@mark\n@mark\ndef fit(x):\n    return x\n")
    text = write_cell(request(names["fit"], 1), 7)
    assert "@" not in text
    assert run(text) == 1


def test_functions_that_call_each_other() -> None:
    names = cell("def even(n):\n    return n == 0 or odd(n - 1)\n\n\ndef odd(n):\n    return n != 0 and even(n - 1)\n")
    text = write_cell(request(names["even"], 4), 7)
    assert text.count("def even") == text.count("def odd") == 1
    assert run(text) is True


def test_a_function_of_a_module_is_imported() -> None:
    text = write_cell(request(math.sqrt, 4), 7)
    assert text.endswith("from math import sqrt\n\nsqrt(4)")
    assert write_cell(request(textwrap.dedent, " x"), 7).endswith("from textwrap import dedent\n\ndedent(' x')")


def test_an_argument_that_has_no_literal_is_pickled() -> None:
    names = cell("def fit(x, y):\n    return x, y\n")
    text = write_cell(request(names["fit"], {1.5}, float("inf")), 7)
    assert "import base64\nimport pickle\n" in text
    assert run(text) == ({1.5}, math.inf)


def test_large_arguments_are_named() -> None:
    names = cell("def fit(x):\n    return x\n")
    text = write_cell(request(names["fit"], list(range(5000))), 7)
    assert "Replace each ... by a value." in text
    assert text.endswith("fit(\n    ...,  # list of 5000: too large for a cell\n)")
    left_out = request(names["fit"], 1)
    left_out.args = b""
    assert write_cell(left_out, 7).endswith("fit(...)  # its arguments are too large for a cell")


def test_results_of_other_tasks() -> None:
    names = cell("def fit(x, y):\n    return x, y\n")
    small, _ = pack({"a": 1})
    text = write_cell(request(names["fit"], _Reference(0), _Reference(1), values=(small, b"")), 7)
    assert text.endswith("fit(\n    {'a': 1},\n    ...,  # the result of task 21\n)")
    nested = write_cell(request(names["fit"], [_Reference(1)], 1, values=(small, b"")), 7)
    assert "    ...,  # list of 1: too large for a cell\n" in nested


def test_the_command_of_a_bash_app() -> None:
    names = cell("def greet(name, outputs=()):\n    return f'echo {name} > {outputs[0]}'\n")
    text = write_cell(request(names["greet"], "you", runner=bash.run, outputs=["a"], stdout="log", walltime=3), 7)
    assert "import subprocess\n" in text
    assert text.endswith("command = greet('you', outputs=['a'])\nsubprocess.run(command, shell=True, check=True)")


def test_a_lambda_has_no_text() -> None:
    names = cell("fit = lambda x: x\n")
    with pytest.raises(ValueError, match="The text of the function of fit is not known"):
        write_cell(request(names["fit"], 1), 7)


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        ([1, 1.0, None, b"x"], "[1, 1.0, None, b'x']"),
        ({"a": (1,)}, "{'a': (1,)}"),
        (Rude(), "...  # Rude: too large for a cell"),
        ("x" * 9000, "...  # 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'...: too large for a cell"),
    ],
)
def test_values(value: Any, text: str) -> None:
    assert Literals().write(value) == text
