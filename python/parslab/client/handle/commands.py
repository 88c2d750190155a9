"""What a user asks of a run that goes on, beyond calls: each is one question of the panel protocol and its answer.

Nothing here knows of futures, threads or sockets: :class:`RunCommands` stands on ``ask`` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from parslab.errors import ConfigurationError, ParslabError, RetryError
from parslab.records import panel

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from parslab.client.futures.app_future import AppFuture

__all__ = ["RunCommands"]

_PATIENCE = 10.0
"""Seconds that an answer may take."""
_WRITING = 600.0
"""Seconds that a disk may take for a checkpoint."""


class RunCommands(ABC):
    """The orders that a user may give a run; for :class:`~parslab.client.handle.dfk.DataFlowKernel`."""

    linger: float

    @abstractmethod
    def ask(self, message: panel.Request, timeout: float | None = _PATIENCE) -> panel.Reply:
        """Ask something of the panel protocol and wait for the answer."""

    @abstractmethod
    def _to_retry(self, tasks: Iterable[Future[Any] | int] | None) -> list[int]:
        """The numbers of these tasks; None: of all that failed and whose future somebody still has."""

    def explain(self, task: int | AppFuture) -> str:
        """Why a task ran, or whose result it has, in a sentence or two.

        Parameters
        ----------
        task
            Its future, or its number.

        Raises
        ------
        ParslabError
            Nothing is known of it any more.
        """
        number = task if isinstance(task, int) else task.task_id
        return self._order(panel.ExplainRequest("", number), ParslabError)

    def checkpoint(self) -> str:
        """Write the results that are remembered and not written yet to the run's checkpoint (Parsl: same name).

        Returns
        -------
        str
            The folder of the checkpoint.

        Raises
        ------
        ParslabError
            It cannot be written.
        """
        return self._order(panel.CheckpointRequest(""), ParslabError, _WRITING)

    def retry(self, tasks: Iterable[Future[Any] | int] | None = None, app: str = "") -> str:
        """Try tasks again that failed or were cancelled, with all that failed because of them, and nothing else.

        Their futures, in the hands of whoever has them, are unfinished when this returns, and then hold what comes of
        it.  Tasks call what their app is defined as now (the newest one of its name), with the arguments of the
        original call.

        Parameters
        ----------
        tasks
            Futures or task numbers; None: all that failed and whose future somebody in this process still has.
        app
            Only tasks of the app of this name, and those that failed because of one.

        Returns
        -------
        str
            One sentence: what is done about it.

        Raises
        ------
        RetryError
            None of the tasks can be tried again; it says why.
        """
        numbers = self._to_retry(tasks)
        if not numbers:
            return "No task has failed."
        return self._order(panel.RetryRequest("", numbers, app=app), RetryError, None)

    def keep(self, seconds: float) -> str:
        """Let the run outlive its last notebook or script by so many seconds; 0: it ends with its owner.

        Returns
        -------
        str
            One sentence: what that means.
        """
        done = self._order(panel.LingerRequest("", float(seconds)))
        self.linger = float(seconds)
        return done

    def scale(self, label: str, blocks: int) -> str:
        """Bring an executor to this many blocks now; its strategy goes on from there.

        Parameters
        ----------
        label
            Of the executor; empty: the only one that has blocks.
        blocks
            How many it shall have.

        Returns
        -------
        str
            One sentence: what is done about it.

        Raises
        ------
        ConfigurationError
            There is no such executor, or it has no blocks.
        """
        return self._order(panel.ScaleRequest("", label, blocks))

    def blocks(self) -> list[panel.BlockRow]:
        """The blocks of this run, those that are over included."""
        answer = self.ask(panel.SnapshotRequest(subscribe=False))
        return answer.blocks if isinstance(answer, panel.Snapshot) else []

    def hold(self, block: str) -> str:
        """Give a block no new tasks, until :meth:`release`.

        ``"LABEL/3"``, or ``"3"`` where one executor has blocks; the name of a manager means that node of a block alone.
        """
        return self._block_order(block, "hold")

    def release(self, block: str) -> str:
        """Give a block that is held tasks again."""
        return self._block_order(block, "release")

    def drain(self, block: str) -> str:
        """Let a block end when it has finished the tasks that it holds."""
        return self._block_order(block, "drain")

    def cancel_block(self, block: str) -> str:
        """End a block at once; the tasks that it runs are lost, and tried again where retries allow."""
        return self._block_order(block, "cancel")

    def _block_order(self, block: str, action: Literal["hold", "release", "drain", "cancel"]) -> str:
        label, _, number = str(block).rpartition("/")
        return self._order(panel.BlockActionRequest("", label, number, action))

    def _order(
        self,
        message: panel.Request,
        refusal: type[ParslabError] = ConfigurationError,
        timeout: float | None = _PATIENCE,
    ) -> str:
        """Have something done; one sentence about it, and ``refusal`` is raised where it cannot be."""
        answer = self.ask(message, timeout)
        if isinstance(answer, panel.ErrorReply):
            raise refusal(answer.text)
        return answer.text if isinstance(answer, panel.CommandReply) else ""
