"""Unpack the arguments of a task and pack its result, for every process that runs tasks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from parslab.errors import DeserializationError, SerializationError
from parslab.serialize.argument_at_fault import argument_at_fault
from parslab.serialize.failures import one_line
from parslab.serialize.functions import load_function
from parslab.serialize.import_path import explain_missing
from parslab.serialize.references import resolving
from parslab.serialize.shared.values import unshared
from parslab.serialize.values import pack, unpack
from parslab.wire.messages.base import frame_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.serialize.shared.values import Mappings
    from parslab.wire.messages.base import PackedValue
    from parslab.wire.messages.worker import RunTask
    from parslab.wire.shared_memory import Buffer, PlainBuffer

__all__ = ["arguments_of", "loaded", "packed"]


def loaded(payload: bytes, name: str) -> Callable[..., Any]:
    """Rebuild the function of an app.

    Raises
    ------
    DeserializationError
        It cannot be unpickled here.
    """
    try:
        return load_function(payload)
    except Exception as error:
        explain_missing(error)
        raise DeserializationError(f"app {name}", one_line(error)) from error


def arguments_of(run: RunTask, frames: list[Buffer], name: str, mappings: Mappings | None = None) -> Any:
    """Return the positional and the named arguments of a task.

    Parameters
    ----------
    run, frames
        The message and its frames.
    name
        The name of the app.
    mappings
        Notes the blocks of shared memory that the arguments use.

    Raises
    ------
    DeserializationError
        They cannot be unpickled here; the text names the argument at fault.
    """
    own = frames[: run.frames]
    references: resolving | None = None
    try:
        if not run.values:
            return unpack(run.args, own, mappings)
        references = resolving(_Values(run.values, frames[run.frames :], mappings).value)
        with references:
            return unpack(run.args, own, mappings)
    except Exception as error:
        if references is not None and error is references.path_error:
            raise  # future["key"]: the value has no such part, which is the error of the user's code
        explain_missing(error)
        raise _not_rebuilt(run, own, references, name, error) from error


def _not_rebuilt(
    run: RunTask, frames: list[Buffer], references: resolving | None, name: str, error: Exception
) -> DeserializationError:
    """Return the error for arguments that cannot be unpickled."""
    stream, buffers = unshared(run.args, frames)
    if not stream:
        stream, buffers = bytes(buffers[0]), buffers[1:]
    with references or contextlib.nullcontext():
        what = argument_at_fault(stream, buffers)
    return DeserializationError(f"{what} of app {name}", one_line(error))


def packed(result: Any, name: str) -> tuple[bytes, list[PlainBuffer]]:
    """Pack the result of a task.

    Raises
    ------
    SerializationError
        It cannot be pickled.
    """
    try:
        return pack(result)
    except SerializationError:  # this error already names the part that cannot be packed
        raise
    except Exception as error:
        raise SerializationError(f"the result of app {name} ({type(result).__name__})", one_line(error)) from error


class _Values:
    """The values of the futures that a task's arguments refer to; each is unpickled once."""

    __slots__ = ("_frames", "_known", "_mappings", "_starts", "_values")

    def __init__(self, values: tuple[PackedValue, ...], frames: list[Buffer], mappings: Mappings | None) -> None:
        self._mappings = mappings
        self._values = values
        self._frames = frames
        self._known: dict[int, Any] = {}
        self._starts = [0]
        for value in values:
            self._starts.append(self._starts[-1] + frame_count(value))

    def value(self, place: int) -> Any:
        if place not in self._known:
            self._known[place] = self._unpack(self._values[place], self._starts[place])
        return self._known[place]

    def _unpack(self, value: PackedValue, at: int) -> Any:
        if value.parts is None:
            return unpack(value.inline, self._frames[at : at + value.frames], self._mappings)
        parts = []
        for part in value.parts:
            parts.append(self._unpack(part, at))
            at += frame_count(part)
        return parts
