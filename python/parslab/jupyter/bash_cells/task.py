"""Make a task of a ``%%parsl --bash`` cell: find the names of the notebook in its script, and take their values.

``magics`` calls this in the kernel's main thread. ``{name}`` is a name of the notebook, a doubled brace is a brace of
bash. Mistakes raise a UsageError with the line, so that IPython shows one sentence under the cell.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from parslab.bodies.bash_cell import BashCell, Field, run_bash_cell, words
from parslab.jupyter.bash_cells.quotes import ShellQuotes
from parslab.serialize.functions import AppFunction
from parslab.serialize.future_types import is_future

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.jupyter.celltask import CellOptions

__all__ = ["BashCellTask", "parts_of"]

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}|[{}]")
_cells = AppFunction(run_bash_cell, name="bash cell")


def parts_of(script: str, first_line: int = 1) -> list[str | Field]:
    """Return the texts and the names of a script, in their order.

    Parameters
    ----------
    script
        The body of the cell.
    first_line
        The number of its first line in the cell, for errors.

    Raises
    ------
    UsageError
        A brace is neither part of a name nor doubled.

    Examples
    --------
    >>> parts_of("cp {file} /tmp/${{USER}}")
    ['cp ', Field(name='file', quotes=''), ' /tmp/${USER}']
    """
    parts: list[str | Field] = []
    quotes, text, at = ShellQuotes(), "", 0

    def literal(more: str) -> None:
        nonlocal text
        quotes.read(more)
        text += more

    for piece in _PIECE.finditer(script):
        literal(script[at : piece.start()])
        at, found, line = piece.end(), piece.group(), first_line + script.count("\n", 0, piece.start())
        if quotes.in_comment:
            literal(found)
        elif found in ("{{", "}}"):
            literal(found[0])
        else:
            field = _field(found, text, quotes.around, line)
            parts += [text, field] if text else [field]
            text = ""
            quotes.read("x")  # what takes its place is a part of a word
    literal(script[at:])
    return [*parts, text] if text else parts


def _field(found: str, before: str, around: str | None, line: int) -> Field:
    name = found[1:-1].strip()
    if len(found) < 3 or not name.isidentifier():
        raise UsageError(
            f"Line {line} of the cell: {found if len(found) < 30 else found[:27] + '...'} is no name of the notebook. "
            "A brace of bash is doubled: {{ and }}."
        )
    if before.endswith("$") and not before.endswith("\\$"):
        raise UsageError(
            f"Line {line} of the cell: ${found} is neither the notebook's name, which is {{{name}}}, nor the variable "
            f"of bash, which is ${name} or ${{{{{name}}}}}."
        )
    if around is None:
        raise UsageError(
            f"Line {line} of the cell: {found} stands where bash replaces nothing: remove the quotes of the "
            "here-document's word, or double the braces."
        )
    return Field(name, around)


class BashCellTask:
    """A bash cell that is about to become a task.

    Parameters
    ----------
    script
        The body of the cell.
    ahead
        The number of lines above it in the cell.
    namespace
        The names of the notebook.

    Raises
    ------
    UsageError
        A brace or a name is wrong, or the value of a name has no form in a shell.
    """

    def __init__(self, script: str, ahead: int, namespace: Mapping[str, Any]) -> None:
        self._ahead = ahead
        self._parts = tuple(parts_of(script, ahead + 1))
        self.inputs: dict[str, Any] = {}
        """The values of the names; futures among them are dependencies."""
        for part in self._parts:
            if isinstance(part, Field) and part.name not in self.inputs:
                self.inputs[part.name] = _value(part.name, namespace)

    def submit(
        self, dfk: DataFlowKernel, options: CellOptions, *, origin: str, follow: Callable[[str, str], None]
    ) -> AppFuture:
        """Submit the cell and return its future, whose result is 0."""
        cell = BashCell(self._parts, origin or "cell", self._ahead)
        return dfk.submit(
            _cells,
            (cell,),
            self.inputs,
            executors=options.executors,
            name=options.name,
            cell=origin,
            follow=follow,
            spec=options.spec(),
        )


def _value(name: str, namespace: Mapping[str, Any]) -> Any:
    try:
        value = namespace[name]
    except KeyError:
        raise UsageError(
            f"The notebook has no name {name!r}, which is in braces in the cell. "
            "A brace of bash is doubled: {{ and }}."
        ) from None
    items = value if isinstance(value, (list, tuple)) else [value]
    if not any(map(is_future, items)):  # the value of a future is checked on the worker
        try:
            words(name, value)
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from None
    return value
