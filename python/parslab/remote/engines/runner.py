"""Runs a batch of tasks on a worker of an engine: the engine calls :func:`run_batch`, and carries bytes both ways.

The process belongs to the engine: parslab restores nothing in it after a task, and only looks that the output of a task
and an interrupt reach the task that they are meant for.
"""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.clock import anchor, set_anchor, steady_time
from parslab.remote.engines.batch import BatchCall
from parslab.remote.engines.capture import captured_output
from parslab.remote.engines.interrupts import InterruptibleBatch
from parslab.remote.engines.page import WorkerPage, open_page
from parslab.remote.worker.calls import arguments_of, loaded, packed
from parslab.serialize.failures import failure_of
from parslab.serialize.import_path import explain_missing
from parslab.version import version
from parslab.wire.encoding import encode_messages
from parslab.wire.messages.base import Refused, frame_count
from parslab.wire.messages.worker import Outcome, RunTask, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.wire.messages.base import OutputPrinted, WireMessage

__all__ = ["run_batch"]

_decode = msgspec.msgpack.Decoder(BatchCall)
_LONGEST = 0.05
"""Seconds after which a worker begins no other task of its batch: other workers may be idle."""
_FUNCTIONS = 256
"""Functions that a process keeps."""
_OURS = 2
"""Frames of this file at the top of a task's traceback, which the user does not want to see."""

_functions: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()


def run_batch(package: str, python: str, head: bytes, frames: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """Run the tasks of a batch.

    Parameters
    ----------
    package, python
        The versions of parslab and Python of the run.
    head, frames
        The batch.

    Returns
    -------
    tuple
        The messages about the tasks, and the frames of their results.
    """
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    # Pickled functions hold bytecode, and messages of another version mean something else.
    if package != version() or python != here:
        reason = (
            f"its workers have Python {here} and parslab {version()}, this notebook Python {python} and parslab "
            f"{package}: install the same versions there"
        )
        return encode_messages([Refused(reason)]), []
    call = _decode.decode(head)
    cells = open_page(call.run.page) if call.row else None
    if cells is not None and anchor() != call.run.clock:
        set_anchor(call.run.clock)  # processes of one host share a monotonic clock, so their times can be compared
    page = None if cells is None else WorkerPage(cells, call.row, call.number)
    with InterruptibleBatch(page) as running, captured_output() as output:
        return _Batch(call, frames, running, output).run()


class _Batch:
    def __init__(
        self, call: BatchCall, frames: Sequence[bytes], running: InterruptibleBatch, output: captured_output
    ) -> None:
        self._tasks = call.tasks
        self._running = running
        self._output = output
        self._messages: list[WireMessage] = []
        self._out: list[bytes] = []
        self._frames = frames
        self._functions = {
            one.fn: (one, frames[at])
            for one, at in zip(call.functions, range(len(frames) - len(call.functions), len(frames)), strict=True)
        }

    def run(self) -> tuple[bytes, list[bytes]]:
        at, page = 0, self._running.page
        until = 0.0
        for place, run in enumerate(self._tasks):
            count = run.frames + sum(map(frame_count, run.values))
            now = steady_time()
            until = until or now + _LONGEST
            if now > until or (page is not None and not page.begin(place, now)):
                self._messages.append(WorkerReport(-1, 0.0, tuple(task.task for task in self._tasks[place:])))
                break
            # Tasks get writable buffers of their own.
            self._execute(place, run, [bytearray(frame) for frame in self._frames[at : at + count]], now)
            at += count
        return encode_messages(self._messages), self._out

    def _execute(self, place: int, run: RunTask, frames: list[Any], started: float) -> None:
        inline, failure = b"", None
        out: list[Any] = []
        running = self._running
        try:
            try:
                running.begin(place)
                inline, out = self._call(run, frames)
            finally:
                running.end()
        except BaseException as error:
            explain_missing(error)
            failure = failure_of(error, _OURS)
            inline, out = b"", []
        ended = steady_time()
        printed: list[OutputPrinted] = self._output.messages(run.task)
        self._messages += printed
        self._messages.append(
            Outcome(
                task=run.task,
                attempt=run.attempt,
                inline=inline,
                frames=len(out),
                started=started,
                ended=ended,
                failure=failure,
                interrupted=failure is not None and running.interrupted,
            )
        )
        self._out += [bytes(frame) for frame in out]

    def _call(self, run: RunTask, frames: list[Any]) -> tuple[bytes, list[Any]]:
        described, payload = self._functions[run.fn]
        function = _functions.get(described.digest)
        if function is None:
            function = _functions[described.digest] = loaded(payload, described.name)
            while len(_functions) > _FUNCTIONS:
                _functions.popitem(last=False)
        args, kwargs = arguments_of(run, frames, described.name)
        result = function(*args, **kwargs)
        if type(result) is types.CoroutineType:
            # Here, because it takes longer to load than most tasks run, and few apps are coroutines.
            import asyncio

            result = asyncio.run(result)
        return packed(result, described.name)
