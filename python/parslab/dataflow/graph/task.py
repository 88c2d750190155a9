"""Defines the nodes of the task graph, and the effects that the loop carries out for it [core].

These classes hold data and have no rules of their own.  They refer to one another, so they share a module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from parslab.records.machine import signals_of
from parslab.records.states import FINAL, TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parslab.dataflow.graph.values import StoredValue
    from parslab.records.events import Event, TaskSubmitted
    from parslab.wire.messages.base import Failure, TaskSpec
    from parslab.wire.messages.client import KernelMessage, SubmitTask
    from parslab.wire.stream import Buffer

__all__ = ["NO_ACTIVE_ATTEMPT", "Effects", "MemoCall", "NextAttempt", "Task"]

NO_ACTIVE_ATTEMPT = FINAL | {TaskState.fail_retryable}
"""States in which no attempt is on its way, so that the table ignores every outcome."""

# One for all calls: an empty dictionary for each would cost 64 bytes.
_NO_PARTS: Mapping[str, bytes] = {}


# Slots, because a run holds hundreds of thousands of tasks and most of its memory is theirs.
class Task:
    """One node of the graph.

    Attributes
    ----------
    spec
        The limits and resources that the call asks for; None for nearly all tasks.
    alias
        A second number by which the client may know the task, until the client has learnt the first one.
    call
        The call as the memo sees it; None when its app does not cache.
    history
        The signals that moved the task, packed into one integer (see ``records.machine.signals_of``).
    submitted
        The event that announced the task, until its moves are events of their own.
    needs
        The tasks whose results it needs.
    waiting
        How many tasks it waits for: of its needs, or, when it is joining, of ``joins``.
    dependents
        The tasks that wait for it; None: there are none.
    joins
        The tasks whose futures the body of a join app returned.
    many
        Whether that body returned a list of futures rather than a single one.
    worker
        The slot that has the task; the executor's queue sets and reads it.
    released
        Whether its client has dropped the future.
    wanted
        Whether a worker needs the value, so that the client has to send it.
    followers
        The clients to which its output is sent; None: there are none.
    """

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
        "history",
        "id",
        "joins",
        "kind",
        "many",
        "needs",
        "released",
        "spec",
        "state",
        "submitted",
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
        self.spec: TaskSpec | None = message.spec
        self.alias = 0
        self.attempt = 0
        self.call: MemoCall | None = None
        self.state = _PENDING
        self.history = 0
        self.submitted: TaskSubmitted | None = None
        self.needs: list[Task] = []
        self.waiting = 0
        self.dependents: list[Task] | None = None
        self.joins: list[Task] | None = None
        self.many = False
        self.value: StoredValue | None = None
        self.failure: Failure | None = None
        self.worker: object | None = None
        self.released = False
        self.wanted = False
        # None and no empty set or list: most tasks have none, and each would cost memory.
        self.followers: set[int] | None = {client} if message.follow else None

    def story(self) -> str:
        """Describe the task and the history of its transitions, for internal errors."""
        history = ", ".join(signal.name for signal in signals_of(self.history)) or "nothing"
        return (
            f"task {self.id} ({self.app}), attempt {self.attempt}, state {self.state.name}, waits for {self.waiting} "
            f"of {[need.id for need in self.needs]}; so far: {history}"
        )


# Python 3.11 needs 70 ns to look up a member of an enum, and every task begins with this one.
_PENDING = TaskState.pending


class MemoCall:
    """A call of an app that caches results: the parts of its key, and the result that it has.

    Attributes
    ----------
    task
        The number of its task; -1: a task of another run.
    parts
        What the function's fingerprint was made of, by name.
    identity
        A hash of the arguments; empty: the arguments themselves are part of the key.
    inputs
        The part of the key for each task that the call depends on.
    key
        The key under which the memo looks the call up; None: it is not known yet, or never will be.
    order
        The place of the call among all calls and all results that were kept.
    kept
        The place of its result in the same order; 0: no result was kept, -1: another run kept it.
    source
        The call whose result this one has, or whose end it awaits.
    where
        The checkpoint and the run from which its result was read.
    why
        Why the memo does not look this call up; empty when it does.
    leader
        The equal call whose end this one awaits.
    followers
        The equal calls that await the end of this one.
    awaited
        Whether the call has ended and the memo waits until the client has sent the value.
    """

    __slots__ = (
        "app",
        "at",
        "awaited",
        "deps",
        "fingerprint",
        "followers",
        "identity",
        "inputs",
        "kept",
        "key",
        "leader",
        "order",
        "parts",
        "shown",
        "source",
        "task",
        "where",
        "why",
    )

    def __init__(
        self, task: int, app: str, fingerprint: bytes, *, shown: str, deps: tuple[int, ...], at: float
    ) -> None:
        self.task = task
        self.app = app
        self.fingerprint = fingerprint
        self.parts = _NO_PARTS
        self.shown = shown
        self.deps = deps
        self.at = at
        self.identity = b""
        self.inputs: tuple[bytes, ...] = ()
        self.key: bytes | None = None
        self.order = 0
        self.kept = 0
        self.source: MemoCall | None = None
        self.where: tuple[str, str] | None = None
        self.why = ""
        self.leader: Task | None = None
        self.followers: list[Task] = []
        self.awaited = False


class NextAttempt(NamedTuple):
    """A task that is ready for another attempt; a queue gives it out before those that wait for their first one."""

    task: Task
    worker: str
    """The manager or worker that had the failed attempt; another one is preferred."""
    lost: bool
    """Whether the failed attempt was lost with a machine, so that the queue waits for another machine."""


class Effects:
    """The actions that the graph has decided on; the loop carries them out and empties the lists.

    Attributes
    ----------
    ready
        Remote tasks for the queues of their executors, in order.
    again
        Remote tasks for another attempt; the queues give them out first.
    later
        (seconds from now, task, failed attempt): when to call ``TaskTable.try_again``.
    replies
        (client, message, frames) to send.
    stops
        Cancelled tasks that a worker still has.
    large
        The values of ended tasks that are too large for the replies; the event log keeps them.
    events
        The events for monitoring.
    """

    def __init__(self) -> None:
        self.ready: list[Task] = []
        self.again: list[NextAttempt] = []
        self.later: list[tuple[float, Task, int]] = []
        self.replies: list[tuple[int, KernelMessage, list[Buffer]]] = []
        self.stops: list[Task] = []
        self.large: list[tuple[int, StoredValue]] = []
        self.events: list[Event] = []
