"""The task's life as one table: (state, signal) -> state.  An impossible pair is a mistake of ours and tells the story.

Signals are what happens to a task; what else is done then stands beside the call in ``dataflow.table``.
"""

from __future__ import annotations

from enum import IntEnum

from parslab.errors import InternalError
from parslab.records.states import FINAL, TaskState

__all__ = ["TASK", "Signal", "drawing", "step"]


class Signal(IntEnum):
    """What can happen to a task."""

    needs_met = 1
    """The last result it waited for has come."""
    need_failed = 2
    """A task it needs failed or was cancelled."""
    sent = 3
    """It was given to a worker or to the client."""
    begun = 4
    """Its body runs."""
    succeeded = 5
    failed = 6
    joined = 7
    """The body of a join app returned the futures to wait for."""
    join_failed = 8
    """One of them failed."""
    returned = 9
    """The worker gave it back, not begun."""
    cancelled = 10
    retried = 11
    """Its attempt failed, and the next one may begin."""
    attempt_failed = 12
    """Its attempt failed; when the next one may begin, and whether, is not known or not reached yet."""
    reopened = 13
    """It had ended without a result, and somebody wants it tried again."""
    rejoined = 14
    """The same of a join app whose body has returned: what that returned is waited for again."""
    remembered = 15
    """An equal call has given its result."""
    shared = 16
    """The equal call whose result it waited for has failed."""


S = TaskState

TASK: dict[tuple[TaskState, Signal], TaskState] = {
    (S.pending, Signal.needs_met): S.ready,
    (S.pending, Signal.need_failed): S.dep_fail,
    (S.pending, Signal.cancelled): S.cancelled,
    (S.pending, Signal.remembered): S.memo_done,
    (S.pending, Signal.shared): S.failed,
    (S.ready, Signal.sent): S.launched,
    (S.ready, Signal.begun): S.running,
    (S.ready, Signal.succeeded): S.exec_done,
    (S.ready, Signal.failed): S.failed,
    (S.ready, Signal.cancelled): S.cancelled,
    (S.launched, Signal.begun): S.running,
    (S.launched, Signal.succeeded): S.exec_done,
    (S.launched, Signal.failed): S.failed,
    (S.launched, Signal.joined): S.joining,
    (S.launched, Signal.returned): S.ready,
    (S.launched, Signal.retried): S.ready,
    (S.launched, Signal.cancelled): S.cancelled,
    (S.running, Signal.succeeded): S.exec_done,
    (S.running, Signal.failed): S.failed,
    (S.running, Signal.joined): S.joining,
    (S.running, Signal.retried): S.ready,
    (S.pending, Signal.attempt_failed): S.fail_retryable,
    (S.launched, Signal.attempt_failed): S.fail_retryable,
    (S.running, Signal.attempt_failed): S.fail_retryable,
    (S.fail_retryable, Signal.retried): S.ready,
    (S.fail_retryable, Signal.failed): S.failed,
    (S.fail_retryable, Signal.need_failed): S.dep_fail,
    (S.fail_retryable, Signal.cancelled): S.cancelled,
    (S.running, Signal.cancelled): S.cancelled,
    (S.joining, Signal.succeeded): S.exec_done,
    (S.joining, Signal.join_failed): S.failed,
    (S.joining, Signal.failed): S.failed,
    (S.joining, Signal.cancelled): S.cancelled,
    (S.failed, Signal.reopened): S.pending,
    (S.dep_fail, Signal.reopened): S.pending,
    (S.cancelled, Signal.reopened): S.pending,
    (S.failed, Signal.rejoined): S.joining,
    (S.cancelled, Signal.rejoined): S.joining,
}
"""A pending task is in fail_retryable while the retry handler is asked about the failure of what it needs, which it can
look at and not change.  External tasks go from ready to their end without being sent; what is told of a task in a final
state is dropped by the table and counted, never looked up here: only reopening leads out of one."""


def step(state: TaskState, signal: Signal, story: str) -> TaskState:
    """The state after ``signal``.

    Raises
    ------
    InternalError
        The pair is impossible; ``story`` says which task and what happened to it.
    """
    try:
        return TASK[state, signal]
    except KeyError:
        raise InternalError(f"signal {signal.name} in state {state.name}: {story}") from None


def drawing() -> str:
    """The machine as a Graphviz digraph."""
    lines = ["digraph task {", "  rankdir=LR;"]
    lines += [f"  {state.name} [peripheries={2 if state in FINAL else 1}];" for state in TaskState]
    lines += [f'  {a.name} -> {b.name} [label="{signal.name}"];' for (a, signal), b in TASK.items()]
    return "\n".join([*lines, "}"])
