"""The rules about size and names that a program can check, for every file of the package."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "parslab"
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if "labextension" not in path.parts and path.name != "_version.py"
)

LINES = 40
"""Of a function, without its docstring."""
POSITIONAL = 5
"""Parameters that may be given by position, ``self`` and ``cls`` left out."""
ARGUMENTS = 7
"""Positional arguments that a call of a class may have."""
FILES_IN_A_FOLDER = 15

PARSL_API = {"python_app", "bash_app", "join_app"}
"""Functions whose parameters Parsl documents as positional."""

SAME_NAME_ON_PURPOSE: dict[str, str] = {}
"""Public class names that two modules may share, and why."""


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.expr | ast.stmt) -> str:
    return f"{path.relative_to(PACKAGE)}:{node.lineno}"


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from ``def`` to its end, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [argument.arg for argument in function.args.posonlyargs + function.args.args]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def called_class(call: ast.Call) -> str:
    """The name of the class that a call makes an object of; empty for other calls (classes begin with a capital)."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    return name if name.lstrip("_")[:1].isupper() and not name.isupper() else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short_and_calls_name_their_arguments(path: Path) -> None:
    wrong = []
    for function in functions(path):
        if length(function) > LINES:
            wrong.append(f"{place(path, function)} {function.name} has {length(function)} lines")
        if positional(function) > POSITIONAL and function.name not in PARSL_API:
            wrong.append(f"{place(path, function)} {function.name} has {positional(function)} positional parameters")
    wrong += [
        f"{place(path, node)} {called_class(node)} is called with {len(node.args)} positional arguments"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and called_class(node) and len(node.args) > ARGUMENTS
    ]
    assert wrong == []


def test_no_folder_holds_too_many_files() -> None:
    folders = Counter(path.parent.relative_to(PACKAGE) for path in FILES)
    assert {str(folder): count for folder, count in folders.items() if count > FILES_IN_A_FOLDER} == {}


def test_a_public_class_name_means_one_thing() -> None:
    where: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    shared = {name: paths for name, paths in where.items() if len(paths) > 1}
    assert {name: paths for name, paths in shared.items() if name not in SAME_NAME_ON_PURPOSE} == {}
    assert set(SAME_NAME_ON_PURPOSE) <= set(shared), "a name that is not shared any more needs no reason"
