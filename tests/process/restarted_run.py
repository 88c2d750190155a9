"""A run whose DataFlowKernel process is killed and started again on the same folder, by hand.

Nothing of its tasks comes back so, but its blocks do.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.cleanup.run_lock import RunLock
from parslab.client.handle.dfk import DataFlowKernel
from parslab.client.handle.run_connection import RunConnection
from parslab.client.process.launch import StartedRun, launch, start
from parslab.client.process.run_settings import new_settings
from parslab.version import version
from parslab.wire.notebooks import NotebookPlace
from tests.process.sandbox import is_gone, until

if TYPE_CHECKING:
    from parslab import Config

__all__ = ["RestartedRun"]


class _LeftAsItIs(StartedRun):
    """Nobody cleans up what it leaves: another process is to take its place."""

    def clean_up(self, kill: bool = True) -> None:
        self.popen.wait()


class RestartedRun:
    """The run; ``dfk`` is the handle of its present life.

    Parameters
    ----------
    config
        As for ``parslab.load``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._started = start(new_settings(config, version(), "", (), NotebookPlace()))
        self.settings = self._started.settings
        self.run_dir = self._started.run_dir
        self.dfk = self._joined(self._started)

    def _joined(self, started: StartedRun) -> DataFlowKernel:
        self.peer = _LeftAsItIs(started.settings, started.popen, started.sock)
        connection = RunConnection(
            run=started.run, run_dir=started.run_dir, pid=started.pid, sock=started.sock, process=self.peer
        )
        return DataFlowKernel.opened(self.config, connection)

    def kill(self) -> None:
        """The process is killed; what it did stays as it is."""
        os.kill(self.dfk.pid, signal.SIGKILL)
        until(lambda: self.dfk.state.ended is not None, what="the handle knows")
        self.dfk.cleanup()
        until(is_gone(self.dfk.pid))

    def revive(self) -> None:
        """Another process takes its place."""
        self.settings.restarts += 1
        Path(self.settings.sockets).mkdir(exist_ok=True, mode=0o700)
        with RunLock.acquire(self.run_dir) as lock:
            self._started = launch(self.settings, lock)
        self.dfk = self._joined(self._started)

    def bury(self) -> None:
        """Nobody takes its place."""
        self._started.clean_up()

    def end(self) -> None:
        """The run ends, or is removed if its DataFlowKernel was killed."""
        self.dfk.cleanup()
        self._started.clean_up()
