"""Pack exceptions for the way to the notebook: the exception, one line of text, and the traceback on the worker.

The worker calls :func:`failure_of`, the notebook :func:`exception_of`. Rules:

- An exception keeps its type. The notebook rebuilds it without its ``__init__``, which may take other arguments than
  ``args`` holds, or have side effects.
- ``raise A from B`` keeps B as the ``__cause__`` of A. The last exception of such a chain gets the remote traceback as
  its cause.
- A ``RemoteError`` that says why replaces an exception that cannot be pickled or rebuilt.
- An ``AppExit`` replaces an exception that would end a program, such as ``SystemExit``.
- Every text can be encoded and printed, whatever characters the user's message contains.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import traceback
import types
from typing import TYPE_CHECKING, Any

from parslab.errors import AppExit, DependencyError, JoinError, ParslabError, RemoteError, RemoteTraceback
from parslab.records.reasons import Reason, reason_of
from parslab.records.text import printable
from parslab.serialize.cells import with_titles
from parslab.serialize.pickling import pickler_class
from parslab.wire.messages.base import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bounded", "exception_of", "failure_from", "failure_of", "one_line", "remote_traceback"]

# The DataFlowKernel keeps the failures of all tasks, so each part of a failure has a limit.
_TRACEBACK = 64 * 1024
"""The most characters of a traceback."""
_PAYLOAD = 16 * 1024 * 1024
"""The most bytes of a pickled exception."""
_LINE = 500
"""The most characters of a message, and of each value in it."""
_CAUSES = 8
"""The most exceptions of a chain of causes in a failure; a chain that contains itself has no end."""
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep

# ----- texts


def bounded(text: str, limit: int = _TRACEBACK) -> str:
    """Return ``text`` with its middle cut out when it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n... [{len(text) - limit} characters cut] ...\n{text[-limit // 2 :]}"


def one_line(error: BaseException) -> str:
    """Return ``Type: message`` on one line, also for exceptions whose ``__str__`` fails."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be made)"
    text = text if len(text) <= _LINE else text[:_LINE] + "..."
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        return "..."
    return text if len(text) <= _LINE else text[:_LINE] + "..."


# ----- on the side where it was raised


def failure_of(error: BaseException, skip: int = 0) -> Failure:
    """Pack an exception; leave out the first ``skip`` frames of its traceback, and frames of parslab after them.

    Users look for their own code in a traceback.
    """
    trace = error.__traceback__
    for _ in range(skip):
        trace = trace.tb_next if trace is not None else None
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception as fault:
        text = f"{one_line(error)} (its traceback cannot be formatted: {one_line(fault)})"
    return Failure(one_line(error), printable(bounded(with_titles(text))), _payload(error), reason=_reason(error))


def failure_from(error: ParslabError) -> Failure:
    """Pack an error of parslab itself, without a traceback, because no code of the user raised it."""
    return Failure(one_line(error), "", pickle.dumps(error), reason=_reason(error))


def _reason(error: BaseException) -> str:
    """Return the reason of a failure; empty for the most frequent one, so that it costs nothing on the wire."""
    reason = reason_of(error)
    return "" if reason is Reason.app_error else reason.value


def _payload(error: BaseException, depth: int = _CAUSES) -> bytes:
    if not isinstance(error, Exception):
        return pickle.dumps(AppExit(type(error).__name__, ", ".join(map(_shown, error.args))), 5)
    try:
        payload = _pickled(error)
        if len(payload) > _PAYLOAD:
            raise ValueError(f"its pickle is {len(payload)} bytes long")
        # Try to rebuild the exception here. If that fails, it would fail in the notebook too, where no original exists
        # from which a RemoteError could be made.
        pickle.loads(payload)
    except Exception as reason:
        payload = pickle.dumps(_stand_in(error, reason), 5)
    if error.__cause__ is None or depth <= 1:
        return payload
    return pickle.dumps(_Caused(payload, _payload(error.__cause__, depth - 1)), 5)


def _stand_in(error: BaseException, reason: BaseException) -> RemoteError:
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    message = one_line(error).removeprefix(f"{type(error).__name__}: ")
    return RemoteError(name, message, one_line(reason))


class _Caused:
    """An exception and its cause, each in a pickle of its own, so that a fault in one does not affect the other."""

    def __init__(self, error: bytes, cause: bytes) -> None:
        self._pickles = error, cause

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_cause, self._pickles


def _with_cause(error: bytes, cause: bytes) -> Any:
    rebuilt = pickle.loads(error)
    if isinstance(rebuilt, BaseException):
        rebuilt.__cause__ = pickle.loads(cause)
    return rebuilt


_exception_pickler: Any = None


def _pickled(error: Exception) -> bytes:
    global _exception_pickler
    if _exception_pickler is None:

        class ExceptionPickler(pickler_class()):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                parts = _parts(obj) if isinstance(obj, BaseException) else None
                return super().reducer_override(obj) if parts is None else parts

        _exception_pickler = ExceptionPickler
    stream = io.BytesIO()
    _exception_pickler(stream, 5).dump(error)
    return stream.getvalue()


def _parts(error: BaseException) -> tuple[Any, ...] | None:
    """Reduce an exception whose class has an ``__init__`` in Python; return None when pickle's own way works.

    Pickle rebuilds an exception by a call of its class with ``args``, which fails for many classes of users.
    """
    kind = type(error)
    if isinstance(kind.__init__, types.WrapperDescriptorType) or kind in copyreg.dispatch_table:
        return None
    if kind.__reduce_ex__ is not object.__reduce_ex__ or not isinstance(kind.__reduce__, types.MethodDescriptorType):
        return None  # the class defines its own pickling
    parts: Any = error.__reduce__()
    state = {name: getattr(error, name) for name in _slots(kind) if hasattr(error, name)}
    state.update(parts[2] if len(parts) > 2 and parts[2] else {})
    return _without_init, (kind, parts[1]), state or None


def _slots(kind: type) -> list[str]:
    names: list[str] = copyreg._slotnames(kind)  # type: ignore[attr-defined]
    return names


# ----- in the notebook


def _without_init(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception by the constructors of its builtin base alone."""
    makes: Any = _first(kind, "__new__", types.BuiltinFunctionType)
    error: BaseException = makes.__new__(kind, *args)
    error.args = args
    fills: Any = _first(kind, "__init__", types.WrapperDescriptorType)
    with contextlib.suppress(Exception):  # OSError, UnicodeError and others read their attributes from the arguments
        fills.__init__(error, *args)
    return error


def _first(kind: type, method: str, builtin: type) -> type:
    """Return the nearest base class whose ``method`` is written in C."""
    return next(base for base in kind.__mro__ if isinstance(vars(base).get(method), builtin))


def exception_of(failure: Failure, task: int) -> BaseException:
    """Return the exception to raise in the notebook; the last ``__cause__`` of it is the remote traceback."""
    if failure.roots:
        kind = JoinError if failure.error.startswith("JoinError") else DependencyError
        error: BaseException = kind(task, list(failure.roots), list(failure.path))
        if failure.payload:
            error.__cause__ = _rebuilt(failure)
        return error
    return _rebuilt(failure)


def remote_traceback(error: BaseException) -> str:
    """Return the text of the remote traceback of an exception; empty when it has none."""
    last = _causes(error)[-1]
    return last.text if isinstance(last, RemoteTraceback) else ""


def _rebuilt(failure: Failure) -> BaseException:
    error: BaseException
    if not failure.payload:
        name, _, message = failure.error.partition(": ")
        error = RemoteError(name, message, "no pickle of it was made")
    else:
        try:
            error = pickle.loads(failure.payload)
            if not isinstance(error, BaseException):
                raise TypeError(f"its pickle is a {type(error).__name__}")
        except Exception as reason:
            name, _, message = failure.error.partition(": ")
            error = RemoteError(name, message, one_line(reason))
    last = _causes(error)[-1]
    # Code of parslab raises most of our own errors, so their traceback would not help the user.
    if failure.traceback and (isinstance(last, (AppExit, RemoteError)) or not isinstance(last, ParslabError)):
        last.__cause__ = RemoteTraceback(failure.traceback)
    return error


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes, each once: users can make a chain that contains itself."""

    def walk() -> Iterator[BaseException]:
        cause: BaseException | None = error
        seen: set[int] = set()
        while cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            cause = cause.__cause__

    return list(walk())
