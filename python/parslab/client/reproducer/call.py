"""Reads a call out of its pickles: function, arguments, and the sources of cells.

The worker reads a function in another way: it also changes ``sys.path`` and the imported modules, which must stay as
they are in a notebook.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parslab.serialize.references import Constant, follow_path, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.wire.messages.client import RequestReproducer

__all__ = ["Call", "TaskResult", "read_call"]


class TaskResult:
    """Replaces the result of a task that is too large, or that nobody has."""

    def __init__(self, task: int) -> None:
        self.task = task

    def __reduce__(self) -> Any:
        raise pickle.PicklingError("the result of a task is missing")  # so that no text of a container hides it


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes
    ----------
    runner
        Calls the function on the worker; None if the worker calls it directly.
    sources
        Text and title of each cell, by the name of its file.
    args, kwargs
        The arguments; None for ``args`` if they are too large.
    """

    function: Callable[..., Any]
    runner: Callable[..., Any] | None
    sources: dict[str, tuple[str, str]]
    args: tuple[Any, ...] | None
    kwargs: dict[str, Any]


def read_call(message: RequestReproducer) -> Call:
    """Return the call that a message describes; errors of the user's classes pass through."""
    stream = io.BytesIO(message.function)
    pickle.load(stream)  # edited modules and import paths, which are those of this process
    runner, function, sources = pickle.load(stream)
    args: tuple[Any, ...] | None = None
    kwargs: dict[str, Any] = {}
    if message.args:
        args, kwargs = _Arguments(message).load()
    return Call(function, runner, sources, args, kwargs)


class _Arguments(pickle.Unpickler):
    """Reads arguments, with the results of small tasks in the places of futures."""

    def __init__(self, message: RequestReproducer) -> None:
        super().__init__(io.BytesIO(message.args), buffers=message.buffers)
        self._message = message

    def find_class(self, module: str, name: str) -> Any:
        # Not ``resolving``: that is one context for the whole process, and this is not its only thread.
        found = super().find_class(module, name)
        return self._result if found is resolve else found

    def _result(self, place: int, path: Any = None) -> Any:
        if isinstance(path, Constant):
            return path.value
        packed = self._message.values[place]
        return follow_path(pickle.loads(packed), path) if packed else TaskResult(self._message.deps[place])
