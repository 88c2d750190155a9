"""Functions of a run: one number for each digest, kept while somebody may call them."""

from __future__ import annotations

import pytest

from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.wire.messages.base import DefineFunction


def code(digest: bytes, name: str = "f") -> DefineFunction:
    return DefineFunction(0, digest, name, 1)


def test_the_same_function_of_two_clients_is_kept_once() -> None:
    codes = FunctionRegistry()
    first = codes.add(code(b"a"), b"pickle")
    assert codes.add(code(b"a"), b"pickle") == first
    assert codes.add(code(b"b", "g"), b"other") != first
    message, payload = codes.message(first)
    assert (message.fn, message.name, message.frames, payload) == (first, "f", 1, b"pickle")


def test_it_goes_when_the_last_holder_has_gone() -> None:
    codes = FunctionRegistry()
    fn = codes.add(code(b"a"), b"pickle")
    codes.add(code(b"a"), b"pickle")
    assert codes.drop(fn) is False
    codes.forget(fn)
    assert codes.message(fn)[1] == b"pickle"
    assert codes.drop(fn) is True
    codes.forget(fn)
    with pytest.raises(KeyError):
        codes.message(fn)
    assert codes.names[fn] == "f"  # tasks that have ended still show their app


def test_a_function_wanted_again_before_it_is_forgotten_stays() -> None:
    codes = FunctionRegistry()
    fn = codes.add(code(b"a"), b"pickle")
    assert codes.drop(fn)
    assert codes.add(code(b"a"), b"pickle") == fn
    codes.forget(fn)
    assert codes.message(fn)[1] == b"pickle"


def test_a_function_that_comes_back_gets_a_new_number() -> None:
    codes = FunctionRegistry()
    fn = codes.add(code(b"a"), b"pickle")
    codes.drop(fn)
    codes.forget(fn)
    codes.forget(fn)
    again = codes.add(code(b"a"), b"pickle")
    assert again != fn
    assert codes.message(again)[1] == b"pickle"
