"""Run a ``%%parsl`` cell on the worker, in a namespace of its own, and return the values that it assigned.

:func:`run_cell` is the function of every such task; the names that the cell reads are its keyword arguments. The code
keeps the file name and the line numbers of the notebook, so that tracebacks show the right lines.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import os
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from parslab.bodies.display import MATPLOTLIB_BACKEND, display, instead_of, show_figures, teach_ipython
from parslab.errors import SerializationError

__all__ = ["Cell", "CellValues", "NotAssignedError", "run_cell"]


class NotAssignedError(NameError):
    """A cell ended without assigning a name that its code assigns on another path."""


_KERNELS_BACKEND = "module://matplotlib_inline.backend_inline"
"""The backend in the environment of ipykernel, which workers of its host inherit; it cannot show figures without a
shell."""


@dataclass(frozen=True)
class Cell:
    """The body of a cell.

    Attributes
    ----------
    source
        The code, after as many empty lines as its line numbers need to be those of the notebook's cell.
    filename
        IPython's name for the cell.
    outputs
        Names whose values the task returns.
    required
        Whether the task fails when the cell does not assign one of them.
    shown
        Whether to print the value of a last line that is an expression, as the interactive prompt does.
    flags
        Flags of the compiler: the ``__future__`` features in force in the notebook.
    title
        The name of the cell in tracebacks.
    """

    source: str
    filename: str
    outputs: tuple[str, ...] = ()
    required: bool = False
    shown: bool = True
    flags: int = 0
    title: str = ""

    def _parslab_identity(self, output_ref: bool, quick: bool) -> Any:
        """Return the parts that count for memoization. File name and title belong to one kernel, so they do not."""
        return self.source.lstrip("\n"), self.outputs, self.required, self.shown, self.flags


class CellValues(Mapping[str, Any]):
    """The values that a cell assigned, by name.

    Each value has a pickle of its own, which this object loads at the first access. So a value without a pickle does
    not affect the others, and a process can load one value although it lacks the modules of another.

    Parameters
    ----------
    values
        The values by name.
    required
        Whether the task fails when a value cannot be pickled. Otherwise the object prints a line on stderr.
    """

    def __init__(self, values: Mapping[str, Any], required: bool = False) -> None:
        self._values = dict(values)
        self._required = required
        self._packed: dict[str, tuple[Any, list[Any]]] = {}
        self._reasons: dict[str, str] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._packed:
            stream, buffers = self._packed.pop(name)
            self._values[name] = pickle.loads(stream, buffers=buffers)
        if name in self._values:
            return self._values[name]
        if name in self._reasons:
            raise SerializationError(f"{name!r}, assigned in the cell,", self._reasons[name])
        raise NotAssignedError(f"the cell ended without assigning {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter([*self._values, *self._packed])

    def __len__(self) -> int:
        return len(self._values) + len(self._packed)

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._packed

    def __repr__(self) -> str:
        return f"<values of a cell: {', '.join(self) or 'none'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from parslab.serialize.pickling import dumps

        # As buffers, the pickles of the values are not copied into the pickle of this object.
        packed = {name: (pickle.PickleBuffer(stream), buffers) for name, (stream, buffers) in self._packed.items()}
        reasons = dict(self._reasons)
        for name, value in self._values.items():
            buffers: list[Any] = []
            try:
                stream = dumps(value, buffers.append)
            except Exception as error:
                reasons[name] = f"{type(error).__name__}: {error}"
                if self._required:
                    raise SerializationError(f"the output {name!r} of the cell", reasons[name]) from error
                print(f"{name} stays on the worker: {reasons[name]}", file=sys.stderr)
            else:
                packed[name] = (pickle.PickleBuffer(stream), buffers)
        return _arrived, (packed, reasons)


def _arrived(packed: dict[str, tuple[Any, list[Any]]], reasons: dict[str, str]) -> CellValues:
    values = CellValues({})
    values._packed = packed
    values._reasons = reasons
    return values


def _prepare_rich_output(cell: Cell, values: dict[str, Any]) -> dict[str, Any]:
    """Redirect IPython's and matplotlib's output to the cell; return the values, with our functions for IPython's."""
    # Only where the cell mentions IPython or something has imported it: the import takes long.
    if "IPython" in cell.source or "IPython.display" in sys.modules:
        teach_ipython()
    if os.environ.get("MPLBACKEND", _KERNELS_BACKEND) == _KERNELS_BACKEND:
        os.environ["MPLBACKEND"] = MATPLOTLIB_BACKEND
    return {name: instead_of(value) for name, value in values.items()}


def run_cell(cell: Cell, /, **values: Any) -> CellValues:
    """Run ``cell`` with ``values`` as its names, and return the values of its outputs."""
    lines = cell.source.splitlines(keepends=True)
    linecache.cache[cell.filename] = (len(cell.source), None, lines, cell.title or cell.filename)
    # In a module called __main__, as in the notebook: cloudpickle then sends the classes of the cell by value.
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    on_worker = not hasattr(builtins, "display")  # IPython adds its own to builtins, so this thread is the notebook's
    if on_worker:
        namespace["display"] = display
        values = _prepare_rich_output(cell, values)
    namespace.update(values)
    try:
        _execute(cell, namespace)
    except NameError as error:
        _explain(error, cell)
        raise
    if on_worker:
        show_figures()
    missing = [name for name in cell.outputs if name not in namespace]
    if missing and cell.required:
        raise NameError(f"the cell ended without assigning its output {missing[0]!r}")
    return CellValues({name: namespace[name] for name in cell.outputs if name in namespace}, cell.required)


def _execute(cell: Cell, namespace: dict[str, Any]) -> None:
    tree = ast.parse(cell.source, cell.filename)
    # A last expression is compiled alone, because exec() does not return its value.
    last = tree.body[-1] if cell.shown and tree.body else None
    if isinstance(last, ast.Expr):
        del tree.body[-1]
    # Without dont_inherit, the code would get the __future__ features of this module (annotations as strings).
    exec(compile(tree, cell.filename, "exec", cell.flags, dont_inherit=True), namespace)
    if isinstance(last, ast.Expr):
        code = compile(ast.Expression(last.value), cell.filename, "eval", cell.flags, dont_inherit=True)
        value = eval(code, namespace)
        if value is not None:
            display(value)


def _explain(error: NameError, cell: Cell) -> None:
    """Add to the error why a name is missing that the code of the cell does not contain."""
    name = getattr(error, "name", None)
    if name and len(error.args) == 1 and not re.search(rf"\b{re.escape(name)}\b", cell.source):
        error.args = (
            f"{error.args[0]} (only names that stand in the cell travel to the worker, not those in a string that is "
            f"made at run time: use {name} in the cell)",
        )
