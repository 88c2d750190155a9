"""Finds the statements that define the globals of a function: imports, functions, classes and small values."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
import textwrap
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from parslab.client.reproducer.literals import Literals

__all__ = ["Definitions", "source_of"]

_MAX_LINES = 400
"""Lines of functions and classes in one cell; the cell names what is left out."""


class Definitions:
    """The statements before the call, without duplicates, in the order in which they must stand.

    Parameters
    ----------
    sources
        Text and title of each cell, by the name of its file.
    literals
        Writes values.
    """

    def __init__(self, sources: Mapping[str, tuple[str, str]], literals: Literals) -> None:
        self.imports: dict[str, None] = {}
        self.values: dict[str, None] = {}
        self.blocks: list[str] = []
        self._sources = sources
        self._literals = literals
        self._seen: set[int] = set()
        self._lines = 0

    def add_function(self, function: Any) -> str:
        """Add a function and what it uses; return the expression that names it, or nothing if its text is not known."""
        if not isinstance(function, types.FunctionType):
            return self._imported(function)
        if function.__module__ != "__main__" and "<" not in function.__qualname__:
            return self._imported(function)
        text = source_of(function, self._sources)
        if not text:
            return ""
        self._seen.add(id(function))
        self._add_used(function, text)
        self._add_block(function.__name__, text)
        return function.__name__

    def _add_used(self, value: Any, text: str) -> None:
        """Add what a function or class uses: globals that traveled with it, and what only its header names."""
        used = dict(_globals_of(value))
        main = vars(sys.modules["__main__"])
        for name in _names_of_headers(text):
            if name not in used and name in main and not hasattr(builtins, name):
                used[name] = main[name]
        for name, found in used.items():
            self._add_global(name, found)

    def _imported(self, function: Any) -> str:
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
        if not isinstance(module, str) or not name or "<" in name:
            return ""
        first = name.partition(".")[0]
        self.imports[f"from {module} import {first}"] = None
        # The name of an app in its module is the app, which would submit another task.
        found = inspect.getattr_static(__import__(module, fromlist=[first]), first, None)
        return f"{name}.func" if "." not in name and hasattr(found, "func") else name

    def _add_global(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType):
            self.imports[_import_of(value.__name__, name)] = None
            return
        app_function = getattr(value, "func", None) if not isinstance(value, type) else None
        value = app_function if isinstance(app_function, types.FunctionType) else value
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        module, original = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
            if module not in ("__main__", None) and "<" not in original:
                as_name = "" if original == name else f" as {name}"
                self.imports[f"from {module} import {original}{as_name}"] = None
                return
            text = source_of(value, self._sources)
            if text:
                self._add_used(value, text)
                self._add_block(name, text)
                return
        self.values[f"{name} = {self._literals.write(value)}"] = None

    def _add_block(self, name: str, text: str) -> None:
        self._lines += text.count("\n") + 1
        self.blocks.append(text if self._lines <= _MAX_LINES else f"# {name}: left out, because this cell is long.")


def _import_of(module: str, name: str) -> str:
    if name == module:
        return f"import {module}"
    # ``import a.b`` binds the name a.
    return f"import {module} as {name}" if "." not in module or name != module.partition(".")[0] else f"import {module}"


def _globals_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the globals that a function, or the methods of a class, use."""
    functions = [value] if isinstance(value, types.FunctionType) else []
    if isinstance(value, type):
        functions = [member for member in vars(value).values() if isinstance(member, types.FunctionType)]
    for function in functions:
        for name in _names_in(function.__code__):
            if name in function.__globals__:
                yield name, function.__globals__[name]


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _names_of_headers(text: str) -> Iterator[str]:
    """Yield the names outside of the bodies of functions: bases, decorators, defaults, annotations."""
    try:
        left: list[ast.AST] = [ast.parse(text)]
    except SyntaxError:
        return
    while left:
        node = left.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            body = node.body if isinstance(node.body, list) else [node.body]
            children = [child for child in children if child not in body]
        left += children


def source_of(value: Any, sources: Mapping[str, tuple[str, str]]) -> str:
    """Return the text of a function without its decorators, or of a class; empty if it is not known."""
    if isinstance(value, type):
        return _class_source(value, sources)
    code = getattr(value, "__code__", None)
    if code is None or code.co_name == "<lambda>":
        return ""  # a lambda has no text of its own, only that of the statement around it
    try:
        if code.co_filename in sources:
            lines = sources[code.co_filename][0].splitlines(keepends=True)
            block = inspect.getblock(lines[code.co_firstlineno - 1 :])
        else:
            block, _ = inspect.getsourcelines(value)
    except (OSError, TypeError, IndexError, SyntaxError):
        return ""
    lines = textwrap.dedent("".join(block)).rstrip().splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith(("def ", "async def "))]
    return "\n".join(lines[starts[0] :]) if starts else ""


def _class_source(value: type, sources: Mapping[str, tuple[str, str]]) -> str:
    """Return the text of a class of a cell, with its decorators."""
    head = re.compile(rf"^(?:@.*\n)*class {re.escape(value.__name__)}\b", re.MULTILINE)
    for text, _ in sources.values():
        # The last definition of the name in a cell is the one that counts.
        for found in reversed(list(head.finditer(text))):
            lines = text[found.start() :].splitlines(keepends=True)
            decorators = found.group().count("\n")
            block = inspect.getblock(lines[decorators:])
            return "".join([*lines[:decorators], *block]).rstrip()
    return ""
