"""``FutureRequests`` serves the requests of futures to their run; it is the ``FutureHome`` of one handle."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from parslab.records.states import TaskState
from parslab.wire.messages.client import CancelTasks, ReleaseTasks

if TYPE_CHECKING:
    from parslab.client.calls.pending import PendingTasks
    from parslab.client.handle.commands import RunCommands
    from parslab.client.run_state import RunState
    from parslab.client.transport.link import KernelLink
    from parslab.client.transport.questions import Questions
    from parslab.records import panel
    from parslab.serialize.values import Inline
    from parslab.wire.stream import Buffer

__all__ = ["FutureRequests"]

_LARGE = 1 << 20
"""Bytes of a value whose release the client sends at once; releases of smaller values travel in batches."""
_BATCH = 256
"""The number of releases in one message: a message for each garbage future would double the traffic of a call."""


class FutureRequests:
    """The run as its futures see it; any thread may call any method.

    Parameters
    ----------
    state
        The state of the run.
    link
        The connection to the DataFlowKernel.
    questions
        Fetches large values.
    pending
        The futures of unfinished tasks.
    commands
        Retries and explains tasks.

    Attributes
    ----------
    released
        Tasks whose futures are garbage, and whose release the client has not sent yet.
    """

    def __init__(
        self,
        state: RunState,
        link: KernelLink,
        questions: Questions,
        pending: PendingTasks,
        commands: RunCommands,
    ) -> None:
        self._state = state
        self._link = link
        self._questions = questions
        self._pending = pending
        self._commands = commands
        self.released: deque[int] = deque()

    def flush(self) -> None:
        """Send the calls in the buffer of the link."""
        if self._state.forked:
            raise self._state.over_error()
        self._link.flush()

    def fetch(self, task: int, timeout: float | None) -> tuple[Inline, list[Buffer]]:
        """Get a value that was too large for ``TaskResolved``."""
        if self._state.ended is not None:
            raise self._state.lost_error()
        value = self._questions.fetch(task, timeout)
        if value is None:
            raise self._state.lost_error()
        return value

    def cannot_stop(self, task: int) -> bool:
        """Return whether the body of the task runs in a thread of this process."""
        return task in self._pending.in_threads

    def cancel(self, task: int) -> None:
        """Cancel a task whose future the user has cancelled."""
        self._pending.cancelled(task)
        self._link.send(CancelTasks([task]))

    def retry(self, task: int) -> None:
        """Run a failed task again."""
        self._commands.retry([task])

    def state_of(self, task: int) -> TaskState:
        """Ask for the state of an unfinished task."""
        if self._state.ended is not None:
            return TaskState.failed
        return TaskState[self.detail(task).row.state]

    def detail(self, task: int) -> panel.TaskDetail:
        """Ask for the details of a task."""
        return self._commands.detail(task)

    def explain(self, task: int) -> str:
        """Return a sentence that says why a task ran, or which task gave its result."""
        return self._commands.explain(task)

    # ----- garbage
    #
    # Python may collect a future at any bytecode of any thread, also while that thread holds a lock of the client. A
    # lock that is taken here could therefore deadlock, so these methods use operations of deque and list alone.

    def release(self, task: int, size: int) -> None:
        """Queue the message that the DataFlowKernel may drop the value of a task."""
        if self._state.ended is None:
            self.released.append(task)
            if size:
                self._questions.give_up(task)
            if len(self.released) >= _BATCH or size > _LARGE:
                self.send_released()
                if size > _LARGE:
                    self._link.wake()

    def send_released(self) -> None:
        """Send the queued releases with the next batch."""
        tasks: list[int] = []
        released = self.released
        try:  # ``suppress`` takes longer than the loop, which runs for each batch
            # popleft(), not a copy of the deque: two threads may be here, and must not send a number twice.
            while released:
                tasks.append(released.popleft())
        except IndexError:
            pass
        if tasks:
            self._link.later(ReleaseTasks(tasks))
