"""Decides when results are written to the run's checkpoint, and loads those that a run begins with [shell].

Called in the loop's thread.  When results are written depends on the mode:

- ``task_exit``: in the round in which a task ends, before its client gets the result;
- ``periodic``: by a timer;
- ``dfk_exit``: when the run ends;
- ``manual``: when a client asks for it.

In every mode, results that do not fit into memory any more are written early.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.checkpoints import CHECKPOINT, OWN_RESULTS, RESULTS
from parslab.clock import steady_time
from parslab.dataflow.persistence.checkpoint import Checkpoints
from parslab.errors import ParslabError

if TYPE_CHECKING:
    from parslab.dataflow.graph.memoization.memo import Memo
    from parslab.dataflow.host import Host
    from parslab.wire.run_files import RunSettings

__all__ = ["Checkpointing"]

_RETRY_AFTER = 30.0
"""Seconds after a write that failed until the next one is tried."""


class Checkpointing:
    """The results of a run, on disk.

    Parameters
    ----------
    memo
        The results of the run's calls.
    settings
        The settings of the run.
    host
        The process that it runs in.
    """

    def __init__(self, memo: Memo, settings: RunSettings, host: Host) -> None:
        self.memo = memo
        self.mode = settings.checkpoint_mode
        self._period = settings.checkpoint_period or 0.0
        self._inherited = list(settings.checkpoint_files)
        self._host = host
        shared = settings.checkpoint_dir or ""
        own = Path(settings.run_dir) / CHECKPOINT
        # Users who share a folder write a file each, because nobody else may be able to write to a trusted file.
        owners = frozenset(settings.trusted_owners)
        self._folder_of_many = shared if owners else ""
        """The folder in which several users write, each a file of its own."""
        name = OWN_RESULTS.format(uid=os.geteuid()) if shared and owners else RESULTS
        self.path = (Path(shared) if shared else own) / name
        self.file = Checkpoints(memo, settings.run, self.path, host.notify, shared=bool(shared), owners=owners)
        self._last_try = float("-inf")

    def start(self) -> None:
        """Load the results of earlier runs, and begin to write."""
        places = list(self._inherited)
        if self._folder_of_many and os.path.isdir(self._folder_of_many):
            places.append(self._folder_of_many)
        elif self.path.exists():  # the folder is shared, or a DataFlowKernel of this run was lost
            places.append(str(self.path))
        # A run that does not cache needs no results, and a large checkpoint takes seconds to read.
        if places and self.memo.on:
            self.file.load(places)
        self.memo.durable = self.mode is not None
        if self.mode == "periodic":
            self._host.call_at(steady_time() + self._period, self._periodic)

    def before_replies(self) -> None:
        """Write what must be on disk before clients get the results of this round."""
        memo = self.memo
        if memo.pressed or (memo.unwritten and self.mode == "task_exit"):
            self._write()

    def _periodic(self) -> None:
        self._write()
        self._host.call_at(steady_time() + self._period, self._periodic)

    def _write(self) -> None:
        now = steady_time()
        if self.file.broken and now < self._last_try + _RETRY_AFTER:
            # Until the next try the memo drops what is over its bound: the memory must not fill while the disk is full.
            self.memo.relieve(durable=False)
            return
        self._last_try = now
        self.file.write()

    def checkpoint(self) -> str:
        """Write the results that are not written yet; return the folder of the checkpoint.

        Raises
        ------
        ParslabError
            The checkpoint cannot be written.
        """
        self.file.write()
        if self.file.broken:
            raise ParslabError(f"The checkpoint {self.path} cannot be written: {self.file.broken}.")
        return str(self.path.parent)

    def close(self) -> None:
        """Write the remaining results if the run has a mode, and close the file."""
        if self.mode is not None and self.memo.unwritten:
            self.file.write()
        self.file.close()
