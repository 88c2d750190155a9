"""``RunState`` holds what this process knows about its run: name, folder, and whether it is over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from parslab.errors import DataFlowKernelLost, NoDataFlowKernelError

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.errors import ParslabError

__all__ = ["RunState"]


class RunState:
    """The state of a run, which all components of its handle share.

    ``Lifecycle`` writes it; all others read it.  It has no lock, because each attribute changes in one assignment.

    Attributes
    ----------
    run, run_dir
        The name and the folder of the run.
    pid
        The process number of the DataFlowKernel; a restart changes it.
    process
        The process number of this process; a forked child has another one.
    linger
        Seconds that the run outlives its last client.
    ended
        The reason why calls fail; None while the run is alive.
    closing
        Whether this process is ending or leaving the run.
    left
        Whether this process has left the run without ending it.
    forked
        Whether this object is the copy in a forked child.
    """

    __slots__ = ("closing", "ended", "forked", "left", "linger", "pid", "process", "run", "run_dir")

    def __init__(self, run: str, run_dir: Path, pid: int) -> None:
        self.run = run
        self.run_dir = run_dir
        self.pid = pid
        self.process = os.getpid()
        self.linger = 0.0
        self.ended: ParslabError | None = None
        self.closing = False
        self.left = False
        self.forked = False

    @property
    def log_path(self) -> str:
        """The path of the DataFlowKernel's log, for error messages."""
        return str(self.run_dir / "dfk.log")

    def lost_error(self) -> ParslabError:
        """Return the error for a request that the run can no longer answer."""
        return self.ended or DataFlowKernelLost(self.run, "is gone", self.log_path)

    def over_error(self) -> NoDataFlowKernelError:
        """Return the error for a call after the end of the run."""
        if self.forked:
            return NoDataFlowKernelError(
                f"This process was forked from the one that loaded run {self.run}, which keeps it: "
                "call parslab.load() here to start a run of its own."
            )
        if isinstance(self.ended, DataFlowKernelLost):
            # A new object for each call: one that is raised twice collects the frames of both tracebacks.
            return NoDataFlowKernelError(str(self.ended))
        if self.left:
            return NoDataFlowKernelError(f"This process has left run {self.run}: parslab.load() finds or starts a run.")
        return NoDataFlowKernelError(f"Run {self.run} is over: call parslab.load() to start another one.")
