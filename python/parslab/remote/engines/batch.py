"""What travels between the host of an engine and the engine's workers: a batch of tasks, and their outcomes."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from parslab.wire.messages.base import OutputPrinted, Refused
from parslab.wire.messages.worker import Outcome, RunTask, WorkerReport

__all__ = ["BatchCall", "BatchFunction", "BatchOutcome", "RunOnWorker", "reply_messages"]


class BatchFunction(msgspec.Struct, array_like=True, gc=False):
    """A function that tasks of a batch call; its pickle is among the frames, after those of the tasks."""

    fn: int
    digest: bytes
    name: str


class RunOnWorker(msgspec.Struct, array_like=True, gc=False):
    """What a worker of the engine has to know of the run."""

    clock: float
    """The client's ``clock.anchor``; workers of the same host use it."""
    page: str
    """The address of the page; empty where the system has none."""


class BatchCall(msgspec.Struct, array_like=True, gc=False):
    """Some tasks that one call of the engine runs, one after the other."""

    number: int
    row: int
    """The row of the page; 0: none."""
    run: RunOnWorker
    functions: list[BatchFunction]
    tasks: list[RunTask]


BatchOutcome: TypeAlias = Outcome | OutputPrinted | WorkerReport | Refused
"""What a worker returns for a batch; a report names the tasks that it has not begun."""

reply_messages = msgspec.msgpack.Decoder(list[BatchOutcome])
