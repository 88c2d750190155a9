"""Writes the text of a cell that repeats a call: comment, imports, values, functions, and the call itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.bodies import bash
from parslab.client.reproducer.call import read_call
from parslab.client.reproducer.globals_used import Definitions
from parslab.client.reproducer.literals import Literals

if TYPE_CHECKING:
    from parslab.client.reproducer.call import Call
    from parslab.wire.messages.client import RequestReproducer

__all__ = ["write_cell"]

_MAX_LINE = 100
_OF_BASH_APPS = ("stdout", "stderr", "label", "walltime", bash.SANDBOX)
"""Keywords of a bash app that its function need not take."""


def write_cell(message: RequestReproducer, number: int) -> str:
    """Return the text of a cell that calls the function of a task.

    Parameters
    ----------
    message
        The call.
    number
        The number of the task, as users see it.

    Raises
    ------
    ValueError
        The text of the function is not known.
    """
    call = read_call(message)
    literals = Literals()
    definitions = Definitions(call.sources, literals)
    name = definitions.add_function(call.function)
    if not name:
        raise ValueError(f"The text of the function of {message.app} is not known, so it cannot be copied.")
    expression = _expression(name, call, literals)
    if call.runner is bash.run:
        definitions.imports["import subprocess"] = None
        expression = f"command = {expression}\nsubprocess.run(command, shell=True, check=True)"
    if literals.uses_pickle:
        definitions.imports |= {"import base64": None, "import pickle": None}
    head = f"# Task {number}" + (f" failed: {' '.join(message.error.split())[:200]}" if message.error else "")
    note = "# This cell calls its function here, without Parsl."
    if literals.missing or call.args is None:
        note += " Replace each ... by a value."
    parts = [f"{head}\n{note}", "\n".join(sorted(definitions.imports)), "\n".join(definitions.values)]
    parts += [f"\n{block}\n" for block in definitions.blocks]
    return "\n\n".join(part for part in [*parts, expression] if part).replace("\n\n\n\n", "\n\n\n")


def _expression(name: str, call: Call, literals: Literals) -> str:
    """Return the call; on one line where it is short and has no comments."""
    if call.args is None:
        return f"{name}(...)  # its arguments are too large for a cell"
    kwargs = call.kwargs
    if call.runner is bash.run:
        taken = _parameters(call.function)
        kwargs = {key: value for key, value in kwargs.items() if key in taken or key not in _OF_BASH_APPS}
    arguments = [("", value) for value in call.args] + [(f"{key}=", value) for key, value in kwargs.items()]
    written = [prefix + literals.write(value) for prefix, value in arguments]
    line = f"{name}({', '.join(written)})"
    if len(line) <= _MAX_LINE and not any("  # " in text for text in written):
        return line
    lines = []
    for text in written:
        value, mark, comment = text.partition("  # ")
        lines.append(f"    {value},{mark}{comment}")
    return "\n".join([f"{name}(", *lines, ")"])


def _parameters(function: Any) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
