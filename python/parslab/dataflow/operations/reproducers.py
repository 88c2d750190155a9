"""Asks the client of a task for a cell that repeats the call of the task [core].

The DataFlowKernel holds function and arguments as pickles, and only clients may unpickle these.  So the client that
made the call writes the text.  The loop of the DataFlowKernel calls this.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from parslab.errors import ParslabError
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import RequestReproducer
from parslab.wire.shared_memory import SharedFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.wire.messages.client import ReproducerWritten
    from parslab.wire.shared_memory import Buffer

__all__ = ["MAX_BYTES", "Reproducers"]

MAX_BYTES = 64 * 1024
"""Bytes of the arguments, and of one result, that travel to the client for the text of a cell."""

_MAX_FUNCTION = 4 * 1024 * 1024
_MAX_OPEN = 100
"""Requests that wait for their clients; a client that has left never answers."""


class Reproducers:
    """The requests for such cells.

    Parameters
    ----------
    table, functions
        The tasks and the functions of the run.
    connected
        The numbers of the attached clients.
    """

    def __init__(self, table: TaskTable, functions: FunctionRegistry, connected: Container[int]) -> None:
        self._table = table
        self._functions = functions
        self._connected = connected
        self._open: dict[int, Callable[[ReproducerWritten], None]] = {}
        self._numbers = itertools.count(1)

    def ask(self, number: int, reply: Callable[[ReproducerWritten], None]) -> None:
        """Ask the client of a task for the cell; ``reply`` is called with its answer.

        Raises
        ------
        ParslabError
            Nobody can write the cell; the text says why.
        """
        task = self._table.tasks.get(number)
        if task is None:
            raise ParslabError(f"The run does not hold task {number} any more: its notebook has dropped its future.")
        if task.kind != TaskKind.remote:
            raise ParslabError(f"The body of {task.app} runs in its notebook: call its function there.")
        if task.client not in self._connected:
            raise ParslabError("The notebook that made this call has left the run, and only it can read the call.")
        ask = next(self._numbers)
        message = self._request(ask, task)
        self._open[ask] = reply
        while len(self._open) > _MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._table.out.replies.append((task.client, message, []))

    def _request(self, ask: int, task: Task) -> RequestReproducer:
        _, function = self._functions.message(task.fn)
        code = _plain([function], _MAX_FUNCTION)
        if code is None:
            raise ParslabError(f"The function of {task.app} holds too much data for the text of a cell.")
        buffers = _plain(task.frames, MAX_BYTES - len(task.args))
        return RequestReproducer(
            ask=ask,
            task=task.id,
            app=task.app,
            error="" if task.failure is None else task.failure.error,
            function=code[0],
            args=b"" if buffers is None else task.args,
            buffers=buffers or (),
            deps=tuple(need.id for need in task.needs),
            values=tuple(_small_value(need) for need in task.needs),
        )

    def answered(self, message: ReproducerWritten) -> None:
        """Pass on the answer of a client."""
        reply = self._open.pop(message.ask, None)
        if reply is not None:
            reply(message)


def _plain(frames: Sequence[Buffer], limit: int) -> tuple[bytes, ...] | None:
    """Return the bytes of frames; None if they are more than ``limit``, or lie in shared memory, as large ones do."""
    plain = [frame for frame in frames if not isinstance(frame, SharedFrame)]
    if len(plain) < len(frames) or sum(map(len, plain)) > limit:
        return None
    return tuple(map(bytes, plain))


def _small_value(need: Task) -> bytes:
    """Return the pickle of a result, or nothing if it is too large or has buffers of its own."""
    value = need.value
    if value is None or value.parts is not None or value.frames or len(value.inline) > MAX_BYTES:
        return b""
    return value.inline
