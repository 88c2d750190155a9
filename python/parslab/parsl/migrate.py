"""Examines programs that were written for Parsl: what they use, and what differs here (``parslab migrate``) [pure].

The text of a program is read and never run.
"""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.compat.differences import ATTRIBUTES, difference
from parslab.compat.modules import look_up
from parslab.compat.names import MODULES, TARGETS
from parslab.description import Description

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Finding", "Report", "examine", "python_of_notebook"]


class Finding(msgspec.Struct, frozen=True, order=True):
    """Something that differs."""

    line: int
    text: str
    missing: bool = False
    """Whether the program cannot run because of it."""


class Report(msgspec.Struct):
    """What one program uses."""

    uses: list[str]
    """The names of Parsl, sorted."""
    findings: list[Finding]


def python_of_notebook(text: str) -> str:
    """Return the code of a notebook as one program; lines of magics and of shell commands are blank.

    Raises
    ------
    ValueError
        The text is no notebook.
    """
    cells = json.loads(text)["cells"]
    lines: list[str] = []
    for cell in cells:
        if cell.get("cell_type") == "code":
            source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            lines += ["" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.splitlines()]
    return "\n".join(lines)


def examine(text: str) -> Report:
    """Return what a program uses of Parsl, and what differs.

    Raises
    ------
    SyntaxError
        The text is not Python.
    """
    program = _Program(ast.parse(text))
    return Report(sorted(program.uses), sorted(set(program.findings)))


class _Program:
    """Walks through a program and collects names and findings.

    Parameters
    ----------
    tree
        The program.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.uses: set[str] = set()
        self.findings: list[Finding] = []
        self._modules: dict[str, str] = {}
        """The modules of Parsl by the names that the program gives them."""
        self._names: dict[str, tuple[str, str]] = {}
        """The module and name in Parsl of each imported object."""
        nodes = list(ast.walk(tree))
        for node in nodes:
            if isinstance(node, ast.Import):
                self._import(node)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                self._import_from(node)
        if not self._modules and not self._names:
            return
        for node in nodes:
            if isinstance(node, ast.Attribute):
                self._attribute(node)
            elif isinstance(node, ast.Call):
                self._call(node)

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            package, _, path = alias.name.partition(".")
            if package != "parsl":
                continue
            self._modules[alias.asname or "parsl"] = path if alias.asname else ""
            if path not in MODULES:
                self._add(node, f"the module {alias.name} is not part of Parsl's documented API", missing=True)
            else:
                self.uses.add(alias.name)

    def _import_from(self, node: ast.ImportFrom) -> None:
        package, _, path = (node.module or "").partition(".")
        if package != "parsl":
            return
        if path not in MODULES:
            self._add(node, f"the module {node.module} is not part of Parsl's documented API", missing=True)
            return
        for alias in node.names:
            below = f"{path}.{alias.name}".strip(".")
            if alias.name == "*":
                self._names.update({name: (path, name) for name in TARGETS[path]})
            elif alias.name in TARGETS[path]:
                self._names[alias.asname or alias.name] = (path, alias.name)
                self._use(node, path, alias.name)
            elif below in MODULES:
                self._modules[alias.asname or alias.name] = below
            else:
                self._add(node, f"{node.module}.{alias.name} is not part of Parsl's documented API", missing=True)

    def _use(self, node: ast.stmt | ast.expr, module: str, name: str) -> None:
        full = ".".join(filter(None, ("parsl", module, name)))
        self.uses.add(full)
        differs = difference(module, name)
        if differs:
            self._add(node, f"{full}: {differs}")

    def _attribute(self, node: ast.Attribute) -> None:
        module = self._module_of(node.value)
        if module is not None:
            if node.attr in TARGETS[module]:
                self._use(node, module, node.attr)
            elif f"{module}.{node.attr}".strip(".") not in MODULES and not node.attr.startswith("__"):
                full = ".".join(filter(None, ("parsl", module, node.attr)))
                self._add(node, f"{full} is not part of Parsl's documented API", missing=True)
        elif node.attr in ATTRIBUTES:
            self._add(node, f".{node.attr} is not there: {ATTRIBUTES[node.attr]}", missing=True)

    def _module_of(self, node: ast.expr) -> str | None:
        """Return the module of Parsl that an expression stands for; None for anything else."""
        if isinstance(node, ast.Name):
            return self._modules.get(node.id)
        if isinstance(node, ast.Attribute):
            above = self._module_of(node.value)
            path = None if above is None else f"{above}.{node.attr}".strip(".")
            return path if path in MODULES else None
        return None

    def _call(self, node: ast.Call) -> None:
        named = self._named(node.func)
        if named is None:
            return
        found: Any = look_up(*named)
        if not isinstance(found, type) or not issubclass(found, Description):
            return
        for keyword in node.keywords:
            text = None if keyword.arg is None else _about_option(found, keyword.arg, keyword.value)
            if text is not None:
                self._add(keyword.value, text[0], text[1])

    def _named(self, node: ast.expr) -> tuple[str, str] | None:
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            module = self._module_of(node.value)
            if module is not None and node.attr in TARGETS[module]:
                return module, node.attr
        return None

    def _add(self, node: ast.stmt | ast.expr, text: str, missing: bool = False) -> None:
        self.findings.append(Finding(node.lineno, text, missing))


def _entries(kind: type[Description], table: str) -> dict[str, Any]:
    """Return one of the tables of a description's class, with those of its bases."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found.update(vars(base).get(table, {}))
    return found


def _about_option(kind: type[Description], name: str, value: ast.expr) -> tuple[str, bool] | None:
    """Return a sentence about an option, and whether the program fails at it; None for an option that is the same."""
    if kind.unavailable or name in ("memoizer", "channel"):
        return None
    if name in kind.option_names() and name not in vars(kind).get("ignored", {}):
        return None
    if (here := _entries(kind, "renamed").get(name)) is not None:
        return f"{kind.__name__}({name}=...) is called {here} here; both are accepted", False
    if (reason := _entries(kind, "ignored").get(name)) is not None:
        expected = (None, _entries(kind, "expected").get(name))
        if isinstance(value, ast.Constant) and value.value in expected:
            return None
        return f"{kind.__name__}({name}=...) has no effect: {reason}", False
    advice = _entries(kind, "instead").get(name, "the class has no such option")
    return f"{kind.__name__}({name}=...) is refused: {advice}", True


def options_of(kind: type[Description]) -> Iterator[tuple[str, str]]:
    """Yield the options of Parsl that differ in a class, each with what happens to it."""
    for name, here in sorted(_entries(kind, "renamed").items()):
        yield name, f"called `{here}` here; both are accepted"
    for name, reason in sorted(_entries(kind, "ignored").items()):
        yield name, f"no effect: {reason}"
