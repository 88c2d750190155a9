"""``FutureHome`` is the interface through which futures use their run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from parslab.records.panel import TaskDetail
    from parslab.records.states import TaskState
    from parslab.serialize.values import Inline
    from parslab.wire.stream import Buffer

__all__ = ["FutureHome"]


class FutureHome(Protocol):
    """The run of a future, as the future sees it; any thread may call any method.

    An interface, because the classes that implement it import the futures.
    """

    def flush(self) -> None:
        """Send the calls in the link's buffer, because a thread is about to wait for one of them."""

    def fetch(self, task: int, timeout: float | None) -> tuple[Inline, list[Buffer]]:
        """Get a value that was too large for the message about the end of the task."""

    def cannot_stop(self, task: int) -> bool:
        """Return whether the task runs in a thread of this process, which nobody can stop."""

    def cancel(self, task: int) -> None:
        """Ask the DataFlowKernel to cancel a task whose future is cancelled."""

    def retry(self, task: int) -> None:
        """Ask the DataFlowKernel to run a failed task again, and wait for its reply."""

    def release(self, task: int, size: int) -> None:
        """Drop the value of a task whose future is garbage.

        ``__del__`` calls this, possibly in a thread that holds a lock of the client, so it must take none.
        """

    def state_of(self, task: int) -> TaskState:
        """Ask the DataFlowKernel for the state of an unfinished task."""

    def detail(self, task: int) -> TaskDetail:
        """Ask the DataFlowKernel for the details of a task."""

    def explain(self, task: int) -> str:
        """Ask the DataFlowKernel why a task ran, or which task gave its result."""
