"""What apps are defined as now, for tasks that are tried again after a cell has mended their function.

An app is known by where it is defined (module and qualified name), and the newest one of a name counts: a cell that is
run again makes another app.  Names that do not tell one function from another, those of lambdas and of functions
defined in functions, are not looked for: such tasks call again what they called.  Asked by the DataFlowKernel
(``RequestDefinitions``); answered by a thread of its own, because pickling a user's function takes time and runs the
user's code.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from parslab.client.local.pool import ThreadPool
from parslab.errors import SerializationError
from parslab.serialize.failures import one_line
from parslab.serialize.functions import AppFunction
from parslab.wire.messages.client import RedefinedApp, RetryTasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.wire.messages.base import TaskSpec
    from parslab.wire.messages.client import RequestDefinitions

__all__ = ["Definition", "DefinitionService", "define", "defined_now", "origin_of", "same_body"]


_JOIN = "join_app"


class Definition(Protocol):
    """An app, as far as it matters here."""

    kind: str
    func: Callable[..., Any]
    _code: AppFunction
    _spec: TaskSpec | None


class _Name:
    """The apps that were defined under one name."""

    __slots__ = ("newest", "specs")

    def __init__(self) -> None:
        self.newest: weakref.ref[Any] | None = None
        self.specs: list[TaskSpec | None] = []
        """What they asked for, each once."""


_names: dict[str, _Name] = {}


def origin_of(function: Any) -> str:
    """Where a function is defined, ``module:name``; empty where that does not tell it from others."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        return ""
    return f"{module}:{name}"


def define(app: Definition) -> None:
    """An app has been made: it is the newest one of its name."""
    origin = origin_of(app.func)
    if origin:
        name = _names.setdefault(origin, _Name())
        name.newest = weakref.ref(app)
        if app._spec not in name.specs:
            name.specs.append(app._spec)


def defined_now(function: Any, join: bool) -> Any:
    """The function that the newest app of this name is made of; the function itself where that is another kind."""
    app = _newest(origin_of(function))
    return function if app is None or (app.kind == _JOIN) != join else app.func


def _newest(origin: str) -> Definition | None:
    name = _names.get(origin)
    return None if name is None or name.newest is None else name.newest()


def same_body(one: Any, other: Any) -> bool:
    """Whether two functions were written alike, wherever that was."""
    if one is other:
        return True
    first, second = getattr(one, "__code__", None), getattr(other, "__code__", None)
    return first is not None and second is not None and _text(first) == _text(second)


def _text(code: CodeType) -> tuple[Any, ...]:
    constants = [_text(c) if hasattr(c, "co_code") else (type(c), repr(c)) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, names, code.co_argcount, code.co_kwonlyargcount, code.co_flags, tuple(constants)


class DefinitionService:
    """Answers for one run what its tasks' apps are defined as now.

    Parameters
    ----------
    kernel
        The run's handle.
    """

    def __init__(self, kernel: DataFlowKernel) -> None:
        self._kernel = kernel
        self._thread = ThreadPool("mend", 1)

    def asked(self, message: RequestDefinitions) -> None:
        """(Link's thread) Some tasks are to be tried again."""
        self._thread.submit(lambda: self._answer(message))

    def _answer(self, message: RequestDefinitions) -> None:
        kernel, held = self._kernel, []
        mended: list[RedefinedApp] = []
        problem = ""
        for origin in message.apps:
            app, name = _newest(origin), _names.get(origin)
            if app is None or name is None or app.kind == _JOIN:
                continue
            code = app._code
            try:
                # Not the app's own Function: that belongs to the thread that calls the app.
                pickled = AppFunction(code.function, code.runner, code.name).current()
                fn = kernel._codes.number(pickled, code.function)
                mended.append(RedefinedApp(origin, fn, tuple(name.specs), app._spec))
            except Exception as error:
                problem = one_line(error) if not isinstance(error, SerializationError) else str(error)
                break
            held.append(pickled)  # until Reopen is sent: a number is forgotten with the pickle
        failed = (kernel._failed.get(task) for task in message.tasks)
        bodies = kernel._local.mended(future for future in failed if future is not None)
        with contextlib.suppress(OSError):
            kernel._link.send(RetryTasks(message.ask, message.tasks, tuple(mended), tuple(bodies), problem))
        del held

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.close(0.5)
