"""Fakes for tests of the cores of a run: calls without a client, and a link without a socket.

The fakes are pure.  They keep all messages that they get, so that a test can check them afterwards.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import SubmitTask
from parslab.wire.messages.worker import Outcome
from parslab.wire.run_files import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from parslab.dataflow.graph.task import Task
    from parslab.wire.messages.base import Failure, WireMessage
    from parslab.wire.stream import Batch, Buffer

__all__ = ["FakeLink", "call", "memoized_call", "outcome", "run_settings"]


def call(task: int, *deps: int, kind: int = TaskKind.remote, fn: int = 0, at: float = 0.0) -> SubmitTask:
    """Return the message of a call without arguments.

    Examples
    --------
    >>> call(7, 3, 4).deps
    (3, 4)
    """
    return SubmitTask(
        task=task,
        fn=fn if kind == TaskKind.remote else -1,
        kind=kind,
        executor=0,
        args=b"args",
        frames=0,
        deps=deps,
        at=at,
    )


def memoized_call(
    task: int, *deps: int, kind: int = TaskKind.remote, identity: bytes = b"x", fn: int = -1, at: float = 0.0
) -> SubmitTask:
    """Return the message of a call of an app with memoization.

    Examples
    --------
    >>> memoized_call(7, 3).memo
    True
    """
    message = call(task, *deps, kind=kind, at=at)
    message.fn, message.shown, message.identity, message.memo = fn, identity.decode(), identity, True
    return message


def outcome(
    task: Task, started: float, ended: float, failure: Failure | None = None, *, attempt: int | None = None
) -> Outcome:
    """Return the outcome of an attempt, by default of the task's present one."""
    return Outcome(
        task=task.id,
        attempt=task.attempt if attempt is None else attempt,
        inline=b"",
        frames=0,
        started=started,
        ended=ended,
        failure=failure,
    )


class FakeLink:
    """A worker's link without a peer.

    Parameters
    ----------
    on_empty
        Called when the worker waits for a message and there is none.  By default the connection ends then.

    Attributes
    ----------
    sent : list of (messages, frames)
        Every batch, in order.
    """

    passes_descriptors = False

    def __init__(self, on_empty: Callable[[], None] | None = None) -> None:
        self.sent: list[tuple[list[WireMessage], list[Buffer]]] = []
        self._incoming: deque[Batch] = deque()
        self._on_empty = on_empty

    def feed(self, messages: Sequence[WireMessage], frames: Sequence[bytes] = ()) -> None:
        """Deliver a batch to the worker."""
        self._incoming.append((list(messages), [bytearray(frame) for frame in frames]))

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        self.sent.append((list(messages), list(frames)))

    def receive(self, timeout: float | None) -> list[Batch]:
        if timeout is None and not self._incoming and self._on_empty is not None:
            self._on_empty()
        if timeout is None and not self._incoming:
            raise EOFError
        batches = list(self._incoming)
        self._incoming.clear()
        return batches

    @property
    def messages(self) -> list[Any]:
        """All messages sent so far."""
        return [message for messages, _ in self.sent for message in messages]

    def outcome(self, task: int) -> tuple[Outcome, list[Buffer]]:
        """Return the outcome of a task and its frames.

        Raises
        ------
        LookupError
            There is none, or more than one.
        """
        found = []
        for messages, frames in self.sent:
            at = 0
            for message in messages:
                if isinstance(message, Outcome):
                    if message.task == task:
                        found.append((message, frames[at : at + message.frames]))
                    at += message.frames
        if len(found) != 1:
            raise LookupError(f"task {task} has {len(found)} outcomes")
        return found[0]


def run_settings(run_dir: Path, **options: Any) -> RunSettings:
    """Return the settings of a run that only has a folder."""
    return RunSettings(
        run="000-abc",
        run_dir=str(run_dir),
        connection=str(run_dir / "connection.json"),
        sockets=str(run_dir / "sockets"),
        package="1.0",
        path=[],
        cwd=str(run_dir),
        owner_pid=1,
        executors=[],
        **options,
    )
