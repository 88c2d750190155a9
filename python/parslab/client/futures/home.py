"""What a future asks of the run that its task belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from parslab.records.panel import TaskDetail
    from parslab.records.states import TaskState
    from parslab.serialize.values import Inline
    from parslab.wire.stream import Buffer

__all__ = ["FutureHome"]


class FutureHome(Protocol):
    """The run of a future, as the future sees it; every method may be called from any thread."""

    def flush(self) -> None:
        """Send the calls that wait in a buffer, because somebody is about to wait for one of them."""

    def fetch(self, task: int, timeout: float | None) -> tuple[Inline, list[Buffer]]:
        """Get a value that was too large to come with the message that the task has ended."""

    def cannot_stop(self, task: int) -> bool:
        """Tell whether the task runs in a thread of this process, which nobody can stop."""

    def cancel(self, task: int) -> None:
        """Ask the DataFlowKernel to cancel a task whose future is cancelled."""

    def retry(self, task: int) -> None:
        """Ask the DataFlowKernel to run a failed task again, and wait for its answer."""

    def release(self, task: int, size: int) -> None:
        """Drop the value of a task whose future is garbage; called in ``__del__``, so it takes no lock."""

    def state_of(self, task: int) -> TaskState:
        """Ask for the state of an unfinished task."""

    def detail(self, task: int) -> TaskDetail:
        """Ask for all that the run knows about a task."""

    def explain(self, task: int) -> str:
        """Say why a task ran, or whose result it has."""
