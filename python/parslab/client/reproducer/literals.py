"""Writes values as Python expressions for a notebook cell."""

from __future__ import annotations

import ast
import base64
import contextlib
from typing import Any

from parslab.client.reproducer.call import TaskResult
from parslab.serialize.pickling import dumps
from parslab.serialize.summaries import brief

__all__ = ["Literals"]

_MAX_TEXT = 2000
"""Characters of a value that is written as a literal."""

_MAX_PICKLE = 3000
"""Bytes of a value that is written as a pickle."""


class Literals:
    """Writes values.

    Attributes
    ----------
    uses_pickle
        Whether an expression needs ``pickle`` and ``base64``.
    missing
        Whether an expression is ``...`` because its value is too large.

    Examples
    --------
    >>> Literals().write([1, "two"])
    "[1, 'two']"
    >>> Literals().write(TaskResult(12))
    '...  # the result of task 12'
    """

    def __init__(self) -> None:
        self.uses_pickle = False
        self.missing = False

    def write(self, value: Any) -> str:
        """Return an expression for a value, with a comment behind it where the expression does not show the value."""
        if isinstance(value, TaskResult):
            self.missing = True
            return f"...  # the result of task {value.task}"
        # Whatever goes wrong in the user's classes, another way of writing is left.
        with contextlib.suppress(Exception):
            text = repr(value)
            if len(text) <= _MAX_TEXT and "\n" not in text and _is_literal(text, value):
                return text
        with contextlib.suppress(Exception):
            pickled = dumps(value)
            if len(pickled) <= _MAX_PICKLE:
                self.uses_pickle = True
                return f'pickle.loads(base64.b64decode("{base64.b64encode(pickled).decode()}"))  # {_one_line(value)}'
        self.missing = True
        return f"...  # {_one_line(value)}: too large for a cell"


def _is_literal(text: str, value: Any) -> bool:
    read = ast.literal_eval(text)
    # By repr, too: 1 == 1.0 == True, also inside of a list.
    return type(read) is type(value) and repr(read) == text


def _one_line(value: Any) -> str:
    return " ".join(brief(value).split())
