"""What a ``%%parsl`` cell does on the worker: run its source in a namespace of its own, give back what it assigned.

:func:`run_cell` is the function of every such task; what the cell reads comes as keyword arguments. The source lines
are put where tracebacks look for them, under the file name and at the line numbers that they have in the notebook.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from parslab.bodies.display import MATPLOTLIB_BACKEND, display, instead_of, show_figures, teach_ipython
from parslab.errors import SerializationError

__all__ = ["Cell", "CellValues", "run_cell"]

_KERNELS_BACKEND = "module://matplotlib_inline.backend_inline"
"""What ipykernel puts into the environment, which workers of its host inherit; it needs a shell to show figures."""


@dataclass(frozen=True)
class Cell:
    """The body of a cell.

    Attributes
    ----------
    source
        Padded with lines in front, so that line numbers are those of the notebook's cell.
    filename
        The name under which IPython knows the cell.
    outputs
        Names whose values are given back.
    required
        Whether it is an error that one of them has not been assigned.
    shown
        Whether the value of a last line that is an expression is printed, as the interactive prompt does.
    flags
        Of the compiler: the ``__future__`` features in force in the notebook.
    title
        What tracebacks call it: the "full name" of its lines.
    """

    source: str
    filename: str
    outputs: tuple[str, ...] = ()
    required: bool = False
    shown: bool = True
    flags: int = 0
    title: str = ""

    def _parslab_identity(self, output_ref: bool, quick: bool) -> Any:
        """What the cell does; by which name and where it stood are those of one kernel."""
        return self.source.lstrip("\n"), self.outputs, self.required, self.shown, self.flags


class CellValues(Mapping[str, Any]):
    """What a cell assigned, by name.

    Each value is pickled, and unpickled when it is asked for, by itself: one that cannot travel does not keep back the
    others, and asking for one part needs only what that part needs.

    Parameters
    ----------
    values
        By name.
    required
        Whether it is an error when one of them cannot be pickled; else a line on stderr says that it stays behind.
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
        raise NameError(f"the cell ended without assigning {name!r}")

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
    """Let what the cell imports, and what it has from the notebook, show its output under the cell; its values."""
    if "IPython" in cell.source or "IPython.display" in sys.modules:
        teach_ipython()
    if os.environ.get("MPLBACKEND", _KERNELS_BACKEND) == _KERNELS_BACKEND:
        os.environ["MPLBACKEND"] = MATPLOTLIB_BACKEND
    return {name: instead_of(value) for name, value in values.items()}


def run_cell(cell: Cell, /, **values: Any) -> CellValues:
    """Run ``cell`` with ``values`` as its names; the values of its outputs."""
    lines = cell.source.splitlines(keepends=True)
    linecache.cache[cell.filename] = (len(cell.source), None, lines, cell.title or cell.filename)
    tree = ast.parse(cell.source, cell.filename)
    last = tree.body[-1] if cell.shown and tree.body else None
    if isinstance(last, ast.Expr):
        del tree.body[-1]
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    on_worker = not hasattr(builtins, "display")  # in a thread of the notebook IPython's own is there
    if on_worker:
        namespace["display"] = display
        values = _prepare_rich_output(cell, values)
    namespace.update(values)
    exec(compile(tree, cell.filename, "exec", cell.flags, dont_inherit=True), namespace)
    if isinstance(last, ast.Expr):
        code = compile(ast.Expression(last.value), cell.filename, "eval", cell.flags, dont_inherit=True)
        value = eval(code, namespace)
        if value is not None:
            display(value)
    if on_worker:
        show_figures()
    missing = [name for name in cell.outputs if name not in namespace]
    if missing and cell.required:
        raise NameError(f"the cell ended without assigning its output {missing[0]!r}")
    return CellValues({name: namespace[name] for name in cell.outputs if name in namespace}, cell.required)
