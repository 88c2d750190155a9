"""Run a ``%%parsl --bash`` cell on the worker: fill the names of the notebook into a script, and run it with bash.

The values never become a part of the script's text. The first line of the script assigns each of them to a variable of
bash, and an expansion of that variable takes the place of the name. Bash does not evaluate the result of an expansion
again, so no value can run a command. Exceptions are places where a script evaluates text itself, such as ``eval`` and
arithmetic expressions.
"""

from __future__ import annotations

import numbers
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parslab.bodies.command import CommandLine, run_command
from parslab.errors import BashExitFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BashCell", "Field", "run_bash_cell", "words"]

_ESCAPES = {ord("\\"): "\\\\", ord("'"): "\\'", ord("\n"): "\\n", ord("\r"): "\\r"}


@dataclass(frozen=True)
class Field:
    """A name of the notebook in a script.

    Attributes
    ----------
    name
        The name.
    quotes
        The quotes around the place: ``"``, ``'``, ``$'`` or none.
    """

    name: str
    quotes: str = ""


@dataclass(frozen=True)
class BashCell:
    """The script of a cell.

    Attributes
    ----------
    parts
        Texts and fields, in their order.
    title
        The name of the cell, by which bash calls the script in its messages.
    ahead
        The number of lines above the script in the cell, so that bash counts lines as the notebook does.
    """

    parts: tuple[str | Field, ...]
    title: str = ""
    ahead: int = 1

    def _parslab_identity(self, output_ref: bool, quick: bool) -> Any:
        """Return the parts that count for the identity of a call; the title belongs to one kernel."""
        return tuple(part if isinstance(part, str) else (part.name, part.quotes) for part in self.parts)

    def script(self, values: Mapping[str, Any]) -> str:
        """Return the script for these values.

        Raises
        ------
        TypeError, ValueError
            A value has no form in a shell; the text names it.
        """
        names = {part.name: f"_parslab_{n}" for n, part in enumerate(self.parts) if isinstance(part, Field)}
        assigned, many = [], set()
        for name, variable in names.items():
            found = words(name, values[name])
            if isinstance(found, list):
                many.add(name)
                assigned.append(f"{variable}=({' '.join(map(_quoted, found))})")
            else:
                assigned.append(f"{variable}={_quoted(found)}")
        text = "".join(
            part if isinstance(part, str) else _expansion(names[part.name], part.name in many, part.quotes)
            for part in self.parts
        )
        return f"{' '.join(assigned)}{chr(10) * self.ahead}{text}"


def words(name: str, value: Any) -> str | list[str]:
    """Return the word of a value, or the words of a list of values.

    Raises
    ------
    TypeError, ValueError
        The value is nothing that a shell has a form for; the text names it.
    """
    if isinstance(value, (list, tuple)):
        return [_word(f"{name}[{n}]", item) for n, item in enumerate(value)]
    return _word(name, value)


def _word(name: str, value: Any) -> str:
    if isinstance(value, (str, bytes, os.PathLike)):
        text = os.fsdecode(value)
    elif isinstance(value, numbers.Real):
        text = str(value)
    else:
        raise TypeError(
            f"{name} is of type {type(value).__name__}, which a shell has no form for: "
            "use a text, a number, a path, or a list of these."
        )
    if "\0" in text:
        raise ValueError(f"{name} has a null character in it, which no shell accepts.")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} cannot be written in a script: {error}") from None
    return text


def _quoted(text: str) -> str:
    """Return a text quoted for bash, on one line."""
    return f"$'{text.translate(_ESCAPES)}'" if "\n" in text or "\r" in text else shlex.quote(text)


def _expansion(variable: str, many: bool, quotes: str) -> str:
    if quotes == '"':
        return f"${{{variable}[*]}}" if many else f"${{{variable}}}"
    expansion = f'"${{{variable}[@]}}"' if many else f'"${{{variable}}}"'
    return f"'{expansion}{quotes}" if quotes else expansion


def run_bash_cell(cell: BashCell, /, **values: Any) -> int:
    """Run the script of a cell with ``values`` for its names; return 0, or raise BashExitFailure."""
    code, tail = run_command(CommandLine(cell.script(values), title=cell.title), {})
    if code:
        raise BashExitFailure(cell.title, code, tail)
    return 0
