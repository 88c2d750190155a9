"""Defines the transitions of a task as one table: (state, signal) -> state.

A signal is something that happens to a task.  ``step`` raises for a pair that the table does not have, because such a
pair is a bug in parslab.  ``dataflow.graph.transitions`` is the only caller that moves tasks, and its functions show
the other effects of each signal.  ``records.states`` explains the states.
"""

from __future__ import annotations

from enum import IntEnum

from parslab.records.states import TaskState

__all__ = ["HISTORY", "PATHS", "SIGNAL_BITS", "TASK", "Signal", "signals_of"]


class Signal(IntEnum):
    """What can happen to a task."""

    needs_met = 1
    """The task waits for no other task any more."""
    need_failed = 2
    """A task that it needs failed or was cancelled."""
    sent = 3
    """The DataFlowKernel gave the task to a worker or to the client."""
    started = 4
    """The body of the task began to run."""
    succeeded = 5
    """The task ended with a result."""
    failed = 6
    """The task ended with an error."""
    joined = 7
    """The body of a join app returned the futures to wait for."""
    join_failed = 8
    """One of these futures failed."""
    returned = 9
    """The worker gave the task back before it began."""
    cancelled = 10
    """Somebody cancelled the task."""
    retried = 11
    """An attempt failed, and the next one may begin."""
    attempt_failed = 12
    """An attempt failed, and the next one has to wait, or the retry handler has to decide whether there is one."""
    reopened = 13
    """The task had ended without a result, and a client or the user retries it."""
    rejoined = 14
    """The same for a join app whose body had returned: the task waits for the returned futures again."""
    memo_hit = 15
    """An equal call gave its result."""
    leader_failed = 16
    """The equal call whose result the task waited for failed."""
    staged = 17
    """The body of a task that only fetches or stores a file began to run."""


S = TaskState

TASK: dict[tuple[TaskState, Signal], TaskState] = {
    (S.pending, Signal.needs_met): S.ready,
    (S.pending, Signal.need_failed): S.dep_fail,
    (S.pending, Signal.attempt_failed): S.fail_retryable,
    (S.pending, Signal.cancelled): S.cancelled,
    (S.pending, Signal.memo_hit): S.memo_done,
    (S.pending, Signal.leader_failed): S.failed,
    (S.ready, Signal.sent): S.launched,
    (S.ready, Signal.started): S.running,
    (S.ready, Signal.succeeded): S.exec_done,
    (S.ready, Signal.failed): S.failed,
    (S.ready, Signal.cancelled): S.cancelled,
    (S.launched, Signal.started): S.running,
    (S.launched, Signal.succeeded): S.exec_done,
    (S.launched, Signal.failed): S.failed,
    (S.launched, Signal.joined): S.joining,
    (S.launched, Signal.returned): S.ready,
    (S.launched, Signal.retried): S.ready,
    (S.launched, Signal.attempt_failed): S.fail_retryable,
    (S.launched, Signal.cancelled): S.cancelled,
    (S.running, Signal.succeeded): S.exec_done,
    (S.running, Signal.failed): S.failed,
    (S.running, Signal.joined): S.joining,
    (S.running, Signal.retried): S.ready,
    (S.running, Signal.attempt_failed): S.fail_retryable,
    (S.running, Signal.cancelled): S.cancelled,
    (S.launched, Signal.staged): S.staging,
    (S.staging, Signal.succeeded): S.exec_done,
    (S.staging, Signal.failed): S.failed,
    (S.staging, Signal.joined): S.joining,
    (S.staging, Signal.retried): S.ready,
    (S.staging, Signal.attempt_failed): S.fail_retryable,
    (S.staging, Signal.cancelled): S.cancelled,
    (S.fail_retryable, Signal.retried): S.ready,
    (S.fail_retryable, Signal.failed): S.failed,
    (S.fail_retryable, Signal.need_failed): S.dep_fail,
    (S.fail_retryable, Signal.cancelled): S.cancelled,
    (S.joining, Signal.succeeded): S.exec_done,
    (S.joining, Signal.join_failed): S.failed,
    (S.joining, Signal.failed): S.failed,
    (S.joining, Signal.cancelled): S.cancelled,
    (S.failed, Signal.reopened): S.pending,
    (S.failed, Signal.rejoined): S.joining,
    (S.dep_fail, Signal.reopened): S.pending,
    (S.cancelled, Signal.reopened): S.pending,
    (S.cancelled, Signal.rejoined): S.joining,
}
"""Three rows surprise at first:

- A pending task moves to fail_retryable when a task that it needs failed and the client has a retry handler.  The
  handler sees that failure and cannot change it.
- External tasks move from ready to their end, because nobody sends them.
- Only the two signals of reopening lead out of a final state.  The task table ignores and counts late outcomes, so they
  never get here.
"""


SIGNAL_BITS = 5
"""Bits of one signal in a history."""
HISTORY = (1 << 12 * SIGNAL_BITS) - 1
"""Mask of the newest twelve signals, because the history of a task with endless retries must not grow."""


def signals_of(history: int) -> list[Signal]:
    """Return the signals of a packed history, oldest first.

    A task keeps its history as one integer, because a list would cost each of a million tasks 100 bytes.

    Examples
    --------
    >>> [signal.name for signal in signals_of(Signal.needs_met << SIGNAL_BITS | Signal.sent)]
    ['needs_met', 'sent']
    """
    found: list[Signal] = []
    # No signal is 0, so 0 means that no signal is left.
    while history:
        found.append(Signal(history & ((1 << SIGNAL_BITS) - 1)))
        history >>= SIGNAL_BITS
    found.reverse()
    return found


def _paths() -> dict[TaskState, tuple[Signal, ...]]:
    """Walk the table breadth first from pending, without the signals of reopening and of equal calls that fail."""
    # These signals would give shorter ways, which few tasks take.
    unusual = {Signal.reopened, Signal.rejoined, Signal.leader_failed}
    found: dict[TaskState, tuple[Signal, ...]] = {S.pending: ()}
    for state in (reached := [S.pending]):
        for (before, signal), after in TASK.items():
            if before is state and after not in found and signal not in unusual:
                found[after] = (*found[state], signal)
                reached.append(after)
    return found


PATHS = _paths()
"""The shortest way from pending to each state, for tasks that a new DataFlowKernel reads from the event log."""
