"""When results are written to the run's checkpoint, and which a run begins with [shell].

Called by the kernel's loop.  ``task_exit``: in the round in which a task ends, before its client is told; ``periodic``:
by a timer; ``dfk_exit``: at the end; ``manual``: when somebody asks.  What does not fit into memory any more is written
early, in every mode but none.
"""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from parslab.checkpoints import CHECKPOINT, RESULTS
from parslab.dataflow.persistence.checkpoint import Checkpoints
from parslab.errors import ParslabError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from parslab.dataflow.graph.memo import Memo

__all__ = ["Checkpointing"]

_AGAIN = 30.0
"""Seconds after a write that failed until the next one is tried."""


class Checkpointing:
    """The results of a run, on disk.

    Parameters
    ----------
    memo
        What is remembered.
    settings
        Of the run.
    at
        ``at(when, call)`` has something called later, in the loop.
    tell
        Called with a notice for the user: (level, sentence).
    """

    def __init__(
        self,
        memo: Memo,
        settings: Mapping[str, Any],
        at: Callable[[float, Callable[[], None]], None],
        tell: Callable[[str, str], None],
    ) -> None:
        self.memo = memo
        self.mode: str | None = settings.get("checkpoint_mode")
        self._period: float = settings.get("checkpoint_period") or 0.0
        self._places: list[str] = list(settings.get("checkpoint_files") or ())
        self._at = at
        shared = settings.get("checkpoint_dir") or ""
        own = Path(settings["run_dir"]) / CHECKPOINT
        self.path = (Path(shared) if shared else own) / RESULTS
        self.file = Checkpoints(memo, settings["run"], self.path, tell, shared=bool(shared))
        self._tried = float("-inf")

    def start(self) -> None:
        """Begin with what earlier runs have left."""
        places = list(self._places)
        if self.path.exists():  # it is shared, or a DataFlowKernel of this run was lost
            places.append(str(self.path))
        if places and self.memo.on:
            self.file.load(places)
        self.memo.durable = self.mode is not None
        if self.mode == "periodic":
            self._at(time() + self._period, self._periodic)

    def before_replies(self) -> None:
        """Results of this round are about to be told."""
        memo = self.memo
        if memo.pressed or (memo.unwritten and self.mode == "task_exit"):
            self._write()

    def _periodic(self) -> None:
        self._write()
        self._at(time() + self._period, self._periodic)

    def _write(self) -> None:
        now = time()
        if self.file.broken and now < self._tried + _AGAIN:
            self.memo.relieve(durable=False)
            return
        self._tried = now
        self.file.write()

    def checkpoint(self) -> str:
        """Write what is remembered and not written yet; the folder of the checkpoint.

        Raises
        ------
        ParslabError
            It cannot be written.
        """
        self.file.write()
        if self.file.broken:
            raise ParslabError(f"The checkpoint {self.path} cannot be written: {self.file.broken}.")
        return str(self.path.parent)

    def close(self) -> None:
        """The run is over."""
        if self.mode is not None and self.memo.unwritten:
            self.file.write()
        self.file.close()
