"""``RunCommands`` sends the commands of users, each as one request of the panel protocol, and returns the reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from parslab.errors import ConfigurationError, ParslabError, RetryError
from parslab.records import panel

if TYPE_CHECKING:
    from parslab.client.run_state import RunState
    from parslab.client.transport.questions import Questions

__all__ = ["ANSWER_TIMEOUT", "RunCommands"]

ANSWER_TIMEOUT = 10.0
"""Seconds to wait for a reply of the DataFlowKernel."""
_CHECKPOINT_TIMEOUT = 600.0
"""Seconds to wait for a checkpoint; its results may have gigabytes, and its folder may be on a slow disk."""


class RunCommands:
    """The commands of one run; the methods of the same names in ``DataFlowKernel`` document them.

    Parameters
    ----------
    questions
        Sends a request and waits for the reply.
    state
        The state of the run.
    """

    def __init__(self, questions: Questions, state: RunState) -> None:
        self._questions = questions
        self._state = state

    def ask(self, message: panel.Request, timeout: float | None = ANSWER_TIMEOUT) -> panel.Reply:
        """Send a request of the panel protocol and wait for the reply."""
        if self._state.ended is not None:
            raise self._state.over_error()
        answer = self._questions.ask(message, timeout)
        if answer is None:
            raise self._state.lost_error()
        return answer

    def detail(self, task: int) -> panel.TaskDetail:
        """Return the details of a task."""
        answer = self.ask(panel.TaskDetailRequest("", task))
        if not isinstance(answer, panel.TaskDetail):
            raise ParslabError(getattr(answer, "text", f"task {task} is not known"))
        return answer

    def explain(self, task: int) -> str:
        """Return a sentence that says why a task ran, or which task gave its result."""
        return self._order(panel.ExplainRequest("", task), ParslabError)

    def checkpoint(self) -> str:
        """Write a checkpoint, and return its folder."""
        return self._order(panel.CheckpointRequest(""), ParslabError, _CHECKPOINT_TIMEOUT)

    def retry(self, tasks: list[int], app: str = "") -> str:
        """Run failed tasks again.

        The reply has no time limit.  It follows the last message that reopens a future, and a retry that raised
        TimeoutError before that would leave the caller with settled futures.
        """
        if not tasks:
            return "No task has failed."
        return self._order(panel.RetryRequest("", tasks, app=app), RetryError, None)

    def keep(self, seconds: float) -> str:
        """Set how long the run outlives its last client."""
        answer = self._order(panel.LingerRequest("", float(seconds)))
        self._state.linger = float(seconds)
        return answer

    def handover(self, wait: float, keep: float) -> str:
        """Begin to hand the run over to another host."""
        return self._order(panel.HandoverRequest("", wait, keep), ConfigurationError)

    def cancel(self, tasks: list[int], *, cell: str, app: str) -> str:
        """Cancel the tasks of a cell or an app."""
        return self._order(panel.CancelRequest("", tasks, app=app, cell=cell))

    def scale(self, label: str, blocks: int) -> str:
        """Bring an executor to a number of blocks."""
        return self._order(panel.ScaleRequest("", label, blocks))

    def blocks(self) -> list[panel.BlockRow]:
        """Return the blocks of the run, also those that have ended."""
        answer = self.ask(panel.SnapshotRequest(subscribe=False))
        return answer.blocks if isinstance(answer, panel.Snapshot) else []

    def block(self, block: str, action: Literal["hold", "release", "drain", "cancel"]) -> str:
        """Carry out an action on a block, which is named ``LABEL/NUMBER`` or by its number alone."""
        label, _, number = str(block).rpartition("/")
        return self._order(panel.BlockActionRequest("", label, number, action))

    def _order(
        self,
        message: panel.Request,
        refusal: type[ParslabError] = ConfigurationError,
        timeout: float | None = ANSWER_TIMEOUT,
    ) -> str:
        """Send a command; return the sentence of the reply, or raise ``refusal`` with it."""
        answer = self.ask(message, timeout)
        if isinstance(answer, panel.ErrorReply):
            raise refusal(answer.text)
        return answer.text if isinstance(answer, panel.CommandReply) else ""
