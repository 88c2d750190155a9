"""The nodes of the task graph, and what the loop has to do after something was decided about them [core].

Both only hold what others decide: nothing here has a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.states import FINAL, TaskState

if TYPE_CHECKING:
    from parslab.dataflow.graph.backoff import NextAttempt
    from parslab.dataflow.graph.memo import MemoCall
    from parslab.dataflow.graph.values import StoredValue
    from parslab.records.events import Event, TaskSubmitted
    from parslab.wire.messages.base import Failure
    from parslab.wire.messages.client import KernelMessage, SubmitTask
    from parslab.wire.stream import Buffer

__all__ = ["DEAF", "Effects", "Task"]

DEAF = FINAL | {TaskState.fail_retryable}
"""Nothing that is told of a task in one of these states counts: no attempt is on its way."""


class Task:
    """One node of the graph."""

    __slots__ = (
        "alias",
        "app",
        "args",
        "attempt",
        "call",
        "client",
        "dependents",
        "executor",
        "failure",
        "fn",
        "followers",
        "frames",
        "id",
        "joins",
        "kind",
        "life",
        "many",
        "needs",
        "released",
        "spec",
        "state",
        "value",
        "waiting",
        "wanted",
        "worker",
    )

    def __init__(self, client: int, message: SubmitTask, frames: list[Buffer], app: str) -> None:
        self.id = message.task
        self.client = client
        self.kind = message.kind
        self.executor = message.executor
        self.fn = message.fn
        self.app = app
        self.args = message.args
        self.frames = frames
        self.spec = message.spec
        """What it asks for beyond what every task gets; None for nearly all."""
        self.alias = 0
        """Another number by which its client may know it, for a while."""
        self.attempt = 0
        self.call: MemoCall | None = None
        """What is remembered of it; None for most."""
        self.state = TaskState.pending
        self.life: TaskSubmitted | None = None
        """What monitoring will be told of it, until it is told."""
        self.needs: list[Task] = []
        self.waiting = 0
        self.dependents: list[Task] | None = None
        self.joins: list[Task] | None = None
        self.many = False
        self.value: StoredValue | None = None
        self.failure: Failure | None = None
        self.worker: object | None = None
        """The slot that has it: set and read by the executor's queue."""
        self.released = False
        self.wanted = False
        self.followers: set[int] | None = {client} if message.follow else None

    def story(self) -> str:
        """What is known of the task, for errors of ours."""
        return (
            f"task {self.id} ({self.app}), attempt {self.attempt}, state {self.state.name}, waits for {self.waiting} "
            f"of {[t.id for t in self.needs]}"
        )


class Effects:
    """What the loop has to do after the core has decided."""

    def __init__(self) -> None:
        self.ready: list[Task] = []
        """Remote tasks that may run now, in order."""
        self.again: list[NextAttempt] = []
        """Those that may be tried again now: they go first."""
        self.later: list[tuple[float, Task, int]] = []
        """(seconds from now, task, failed attempt): when to call :meth:`Table.try_again`."""
        self.replies: list[tuple[int, KernelMessage, list[Buffer]]] = []
        """(client, message, frames) to send."""
        self.stops: list[Task] = []
        """Cancelled tasks that a worker still has."""
        self.large: list[tuple[int, StoredValue]] = []
        """The values of ended tasks that are too large to be in the replies, for the record."""
        self.events: list[Event] = []
