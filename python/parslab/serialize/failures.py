"""How an exception travels: its own pickle, one line of text, and the traceback as the worker saw it.

The worker calls :func:`failure_of`; the notebook calls :func:`exception_of`. An exception that cannot be pickled, or
not be rebuilt, is replaced by a ``RemoteError`` that says so, and one that is meant to end a program by an ``AppExit``;
the traceback is never lost. Cells are named in it as the notebook numbers them.
"""

from __future__ import annotations

import os
import pickle
import traceback

from parslab.errors import AppExit, DependencyError, JoinError, ParslabError, RemoteError, RemoteTraceback
from parslab.records.reasons import Reason, reason_of
from parslab.serialize.cells import with_titles
from parslab.serialize.pickling import dumps
from parslab.wire.messages.base import Failure

__all__ = ["bounded", "exception_of", "failure_from", "failure_of", "one_line"]

_TRACEBACK = 64 * 1024
_PAYLOAD = 16 * 1024 * 1024
_LINE = 500
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep


def bounded(text: str, limit: int = _TRACEBACK) -> str:
    """``text`` with its middle cut out when it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n... [{len(text) - limit} characters cut] ...\n{text[-limit // 2 :]}"


def one_line(error: BaseException) -> str:
    """``Type: message`` on one line; survives exceptions whose ``__str__`` fails."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be made)"
    text = text if len(text) <= _LINE else text[:_LINE] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def failure_of(error: BaseException, skip: int = 0) -> Failure:
    """Pack an exception; the first ``skip`` frames of its traceback are ours and left out, as are runners of bodies."""
    trace = error.__traceback__
    for _ in range(skip):
        trace = trace.tb_next if trace is not None else None
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception as fault:
        text = f"{one_line(error)} (its traceback cannot be formatted: {one_line(fault)})"
    return Failure(one_line(error), bounded(with_titles(text)), _payload(error), reason=_reason(error))


def failure_from(error: ParslabError) -> Failure:
    """Pack an error that parslab made itself, outside of any body: its sentence says all, there is no traceback."""
    return Failure(one_line(error), "", pickle.dumps(error), reason=_reason(error))


def _reason(error: BaseException) -> str:
    """Its reason; left empty for what is raised most, so that it costs nothing on the wire."""
    reason = reason_of(error)
    return "" if reason is Reason.app_error else reason.value


def _payload(error: BaseException) -> bytes:
    if not isinstance(error, Exception):
        return pickle.dumps(AppExit(type(error).__name__, ", ".join(map(_short, error.args))), 5)
    try:
        payload: bytes = dumps(error)
        if len(payload) > _PAYLOAD:
            raise ValueError(f"its pickle is {len(payload)} bytes long")
        # What cannot be rebuilt here will not be rebuilt there: find out where it can still be replaced.
        pickle.loads(payload)
    except Exception as reason:
        return pickle.dumps(_stand_in(error, reason), 5)
    return payload


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        return "..."
    return text if len(text) <= _LINE else text[:_LINE] + "..."


def _stand_in(error: BaseException, reason: BaseException) -> RemoteError:
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    message = one_line(error).removeprefix(f"{type(error).__name__}: ")
    return RemoteError(name, message, one_line(reason))


def exception_of(failure: Failure, task: int) -> BaseException:
    """The exception to raise in the notebook; its ``__cause__`` carries the remote traceback."""
    if failure.roots:
        kind = JoinError if failure.error.startswith("JoinError") else DependencyError
        error: BaseException = kind(task, list(failure.roots), list(failure.path))
        if failure.payload:
            error.__cause__ = _rebuilt(failure)
        return error
    return _rebuilt(failure)


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
    if failure.traceback and (isinstance(error, (AppExit, RemoteError)) or not isinstance(error, ParslabError)):
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error
