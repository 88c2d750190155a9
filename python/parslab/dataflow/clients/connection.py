"""Clients of a run [shell]: the owner on its inherited socket, guests through the listening one.

Messages of a client become calls of the task table; who may connect is settled here: a guest's process must belong to
our user, whatever the folder's permissions say.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from parslab.dataflow.graph.values import StoredValue, sliced
from parslab.wire.messages.base import DefineFunction, ForgetFunctions
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import (
    CancelTasks,
    ClientHello,
    ClientMessage,
    ClientResumed,
    FetchValue,
    FollowOutput,
    JoinBodyReturned,
    LocalTaskFinished,
    LocalTaskStarted,
    PanelRequest,
    ReleaseTasks,
    RetryCost,
    RetryHandlerChanged,
    RetryTasks,
    SetLinger,
    ShutDownRun,
    SubmitTask,
    ValueNotPicklable,
)
from parslab.wire.stream import Buffer, Stream, decoder

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.resume.call_matching import CallMatching

__all__ = ["ClientConnection", "listen", "peer_pid", "peer_uid"]

log = logging.getLogger(__name__)

_decode = decoder(ClientMessage)


def listen(path: Path) -> socket.socket:
    """The socket through which guests attach; its folder is ours alone, so what lies there was left by a crash."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.unlink(missing_ok=True)  # one of a DataFlowKernel that was killed
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(old)
    sock.listen(16)
    sock.setblocking(False)
    return sock


def peer_uid(sock: socket.socket) -> int | None:
    """The user at the other end of a unix socket; None where the system does not tell."""
    if sys.platform == "linux":
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", raw)[1])
    with contextlib.suppress(OSError, AttributeError, struct.error):
        # LOCAL_PEERCRED of macOS and the BSDs: struct xucred begins with its version and the uid.
        raw = sock.getsockopt(0, 1, 76)
        return int(struct.unpack_from("=II", raw)[1])
    return None


def peer_pid(sock: socket.socket) -> int | None:
    """The process at the other end of a unix socket, by our numbers; None where the system does not tell."""
    if sys.platform == "linux":
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", raw)[0])
    with contextlib.suppress(OSError, struct.error):
        # LOCAL_PEERPID of macOS.
        return int(struct.unpack("i", sock.getsockopt(0, 2, 4))[0])
    return None


class ClientConnection:
    """One attached client.

    Parameters
    ----------
    number
        The upper part of its task ids.
    sock
        Connected, not blocking.
    owner
        Whether it may end the run.
    """

    def __init__(self, number: int, sock: socket.socket, owner: bool) -> None:
        self.number = number
        self.owner = owner
        self.stream = Stream(sock, _decode)
        self.greeted = owner
        self.pid = 0
        self.host = ""
        self.notebook = ""
        self.leashed = False
        """Whether its process number means the same here, so that its death can be noticed."""
        self.adoption: CallMatching | None = None
        """What it may take over from kernels of its notebook that are gone."""
        self.returned = False
        """Whether it was a client of a DataFlowKernel that was lost."""
        self.acked = 0
        """How many of its batches it knows to be in the record."""
        self.fns: dict[int, int] = {}

    def handle(self, kernel: Any, messages: list[Any], frames: list[bytearray]) -> None:
        """Carry out one batch, and note it for the record."""
        raw = self.stream.raw
        if raw is None:
            self._carry_out(kernel, messages, frames, {})
            return
        header, greeted = raw.popleft(), self.greeted
        used: dict[int, int] = {}
        try:
            self._carry_out(kernel, messages, frames, used)
        finally:
            if greeted or not self.returned:  # who comes back says hello outside of what it counts
                kernel.record.taken(self.number, header, used, frames)

    def _carry_out(self, kernel: Any, messages: list[Any], frames: list[bytearray], used: dict[int, int]) -> None:
        table: TaskTable = kernel.table
        names = kernel.codes.names
        number, fns = self.number, self.fns
        at = 0
        for message in messages:
            kind = type(message)
            if kind is SubmitTask:
                own: list[Buffer] = []
                if message.frames:
                    own = list(frames[at : at + message.frames])
                    at += message.frames
                if message.fn >= 0:
                    used[message.fn] = message.fn = fns[message.fn]
                app = message.name or names[message.fn]
                if self.adoption is None or not self._adopted(kernel, message, own, app):
                    table.submit(number, message, own, app)
            elif kind is DefineFunction:
                used[message.fn] = fns[message.fn] = kernel.codes.add(message, frames[at])
                at += 1
            elif kind is ValueMessage:
                at += self._value(kernel, message, list(frames), at)
            else:
                self._rest(kernel, message)

    def _adopted(self, kernel: Any, message: SubmitTask, frames: list[Buffer], app: str) -> bool:
        """Whether this is a call that a lost kernel has made already."""
        adoption = self.adoption
        assert adoption is not None
        if not adoption.adopted + adoption.anew:
            kernel.heirs.begun(adoption)
        found = adoption.submit(self.number, message, frames, app)
        if adoption.done:
            self.adoption = None
        return found

    def _value(self, kernel: Any, message: ValueMessage, frames: list[Buffer], at: int) -> int:
        task = kernel.table.tasks.get(message.task)
        value: StoredValue = sliced(message.inline, message.frames, frames, at)
        if task is not None:
            kernel.table.value_arrived(task, value, kernel.now())
        return message.frames

    def _rest(self, kernel: Any, message: Any) -> None:
        """What does not come by the thousand."""
        table: TaskTable = kernel.table
        kind = type(message)
        if kind is ReleaseTasks:
            table.release(message.tasks)
            if self.adoption is not None:
                self.adoption.forget(message.tasks)
        elif kind is CancelTasks:
            table.cancel(message.tasks, kernel.now())
        elif kind is FetchValue:
            table.fetch(self.number, message.task)
            if kernel.keeper.second is not None:
                kernel.keeper.second.fetched(message.task)
        elif kind is PanelRequest:
            kernel.orders.asked(self, message)
        elif kind is ForgetFunctions:
            for fn in message.fns:
                kernel.drop_code(self.fns.pop(fn))
        elif kind is RetryTasks:
            kernel.mending.answered(self, message)
        elif kind is ShutDownRun:
            if self.owner:
                kernel.ended_by = self.number
                kernel.end(message.reason)
        elif kind is RetryHandlerChanged:
            left = kernel.attendance.leases.kept(self.notebook)
            table.judged_by(self.number if message.handler else None, (self.number, *left), kernel.now())
        elif kind is SetLinger:
            kernel.attendance.keep(message.seconds)
        elif kind is ClientHello:
            kernel.greet(self, message)
        elif kind is ClientResumed:
            if kernel.keeper.second is not None:
                kernel.keeper.second.resumed(self, message)
        else:
            task = table.tasks.get(message.task)
            if task is not None:
                self._reported(kernel, task, message)

    def _reported(self, kernel: Any, task: Any, message: Any) -> None:
        """How a task that runs at the client is getting on."""
        table: TaskTable = kernel.table
        kind = type(message)
        if kind is LocalTaskStarted:
            table.begun(task, message.at)
        elif kind is LocalTaskFinished:
            if message.failure is None:
                table.succeeded(task, None, message.started, message.ended)
            else:
                table.failed(task, message.failure, message.started, message.ended)
        elif kind is JoinBodyReturned:
            table.joins(task, message.tasks, message.many, message.started, kernel.now())
        elif kind is RetryCost:
            table.judged(task, message.attempt, message.cost, message.failure, kernel.now())
        elif kind is ValueNotPicklable:
            table.unshippable(task, message.failure, kernel.now())
        elif kind is FollowOutput:
            task.followers = (task.followers or set()) | {self.number}
