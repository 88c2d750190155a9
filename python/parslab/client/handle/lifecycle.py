"""How a process holds on to a run: from the welcome to the end, over losses of the DataFlowKernel process between them.

:class:`Lifecycle` knows nothing of tasks: what these need when a run is met, found again or over is up to the class
that is built on it (``client.dfk``).  Losses are noticed in the link's thread, the end is called for by any.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from abc import ABC, abstractmethod
from time import time
from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError, DataFlowKernelLost, NoDataFlowKernelError, ParslabError
from parslab.wire.messages.client import BatchesAcknowledged, ReleaseTasks, ShutDownRun

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path as FilePath

    from parslab.client.process.launch import KernelProcess
    from parslab.client.process.restart import KernelRestart
    from parslab.client.transport.link import KernelLink
    from parslab.config import Config
    from parslab.wire.messages.base import Refused

__all__ = ["Lifecycle"]

log = logging.getLogger(__name__)

_HANDSHAKE = 30.0
_DRAIN = 2.0
"""Seconds for calls that have been made to be sent, when this process leaves its run."""


class Lifecycle(ABC):
    """The bond between this process and a run; :class:`~parslab.client.handle.dfk.DataFlowKernel` documents it."""

    _link: KernelLink
    """Made by :meth:`_make_parts`."""

    def __init__(
        self, config: Config | None, run: str, run_dir: FilePath, pid: int, started: KernelProcess | None
    ) -> None:
        self.config = config
        self.run = run
        self.run_dir = run_dir
        self.pid = pid
        self.labels: tuple[str, ...] = ()
        self.linger = 0.0
        self.on_end: list[Callable[[str], None]] = []
        self._started = started
        self._process = os.getpid()
        self._ended: ParslabError | None = None
        self._closing = False
        self._gone = False
        """Whether this process has left the run without ending it."""
        self._process_left = False
        """Whether this is a forked child's copy."""
        self._welcomed = threading.Event()
        self._refused = ""
        self._lost_how = ""
        self._number = -1
        """Ours as a client of the run."""
        self._there: int | None = None
        """How many of our batches another DataFlowKernel has; None while it has not said so."""
        self._revival: KernelRestart | None = None

    # ----- what is built on it

    @abstractmethod
    def _make_parts(self, sock: Any, threads: Mapping[str, int]) -> None:
        """Make the link, and all that will use it."""

    @abstractmethod
    def _close_parts(self) -> None:
        """End what has a thread."""

    @abstractmethod
    def _resume(self, there: int) -> None:
        """Another DataFlowKernel knows us, and has so many of our batches."""

    @abstractmethod
    def _nothing_comes(self) -> None:
        """The run is over for us (``_ended`` says how): whoever waits is told."""

    # ----- the beginning

    def _open(self, sock: Any, threads: Mapping[str, int], first: Any = None) -> None:
        """Start talking; returns when the DataFlowKernel has said welcome, else leaves nothing open."""
        try:
            self._make_parts(sock, threads)
            self._greet(first)
        except BaseException:  # it may be an interrupt: nobody will have the handle
            self._closing = True
            if hasattr(self, "_link"):
                self._link.close()
            sock.close()
            if self._started is not None:
                self._started.bury()
            raise

    def _greet(self, first: Any) -> None:
        """Introduce ourselves, where that is for us to do, and wait for the welcome."""
        self._link.start()
        if first is not None:
            self._link.send(first)
        if not self._welcomed.wait(_HANDSHAKE) or not self.labels:
            if self._refused:
                raise ConfigurationError(f"The DataFlowKernel of run {self.run} cannot be used: {self._refused}")
            reason = self._lost_how or f"it did not answer within {_HANDSHAKE:.0f} s"
            tail = self._started.log_tail() if self._started else ""
            log_file = f" Its log is {self._started.log}: {tail}" if self._started else ""
            raise ConfigurationError(f"The DataFlowKernel of run {self.run} cannot be used: {reason}.{log_file}")

    def _refuse(self, message: Refused) -> None:
        self._refused = message.reason
        self._welcomed.set()

    # ----- losses

    def _lost_error(self) -> ParslabError:
        return self._ended or DataFlowKernelLost(self.run, "is gone", str(self.run_dir / "dfk.log"))

    def _mend(self, how: str) -> bool:
        """The connection is over: have the DataFlowKernel started again where it was killed (link's thread)."""
        if not self._welcomed.is_set() or self._revival is None:
            return False
        while not (self._closing or self._refused or self._process_left) and self._link.lasting:
            lost = time()
            how = self._started.how_it_ended() if self._started is not None else "was killed"
            if "was killed" not in how or not self._revival.possible():
                return False
            if not self._revival.again(lost):
                self._lost_how = f"{how}, for the third time within a minute"
                return False
            self._link.let_go()
            back = self._revival.come_back(self._number, how, lost, self._started is not None)
            if back is None:
                return False
            sock, started = back
            if started is not None and self._started is not None:
                self._started, self.pid = started, started.pid
            self._there = None
            try:
                if self._link.turn_over(sock, lambda: self._there is not None, _HANDSHAKE):
                    self._resume(self._there or 0)
                    return True
            except EOFError:
                continue
        return False

    def _acked(self, message: BatchesAcknowledged) -> None:
        """So many batches are in the run's record."""
        if self._there is None:
            self._there = message.batches
        else:
            self._link.acked(message.batches)

    def _lost(self, how: str) -> None:
        """The connection is over (link's thread)."""
        closing = self._closing
        if closing:
            how = "left by this process" if self._gone else "shut down"
            self._ended = NoDataFlowKernelError(f"run {self.run} was {how}")
        else:
            if self._refused:
                how = f"has ended: {self._refused}"
            elif self._lost_how:
                how = self._lost_how
            elif self._started is not None:
                how = self._started.how_it_ended()
            self._ended = DataFlowKernelLost(self.run, how, str(self.run_dir / "dfk.log"))
            self._lost_how = f"its process {how}"
        self._welcomed.set()
        self._nothing_comes()
        if self._started is not None and not closing:
            self._started.bury()
        for call in self.on_end:
            try:
                call(str(self._ended))
            except Exception:
                log.exception("telling the end of run %s failed", self.run)

    # ----- the end

    def _over(self) -> NoDataFlowKernelError:
        if self._process_left:
            return NoDataFlowKernelError(
                f"This process was forked from the one that loaded run {self.run}, which keeps it: "
                "call parslab.load() here to start a run of its own."
            )
        if isinstance(self._ended, DataFlowKernelLost):
            return NoDataFlowKernelError(str(self._ended))
        if self._gone:
            return NoDataFlowKernelError(f"This process has left run {self.run}: parslab.load() finds or starts a run.")
        return NoDataFlowKernelError(f"Run {self.run} is over: call parslab.load() to start another one.")

    def _forked(self) -> None:
        """This is a forked child: leave the run to its parent."""
        self._process_left = True
        self._ended = self._over()
        self._link.abandon()

    def cleanup(self) -> None:
        """End the run: unfinished tasks are not waited for, workers and process go (Parsl: ``cleanup``).

        Twice is safe (Parsl raises an error).  Only the owner of a run ends it; a guest leaves it.
        """
        if os.getpid() != self._process:
            self._link.abandon()
            return
        if self._closing:
            return
        self._closing = True
        try:
            if self._ended is None:
                if self._started is not None:
                    self._link.send(ShutDownRun("it was shut down by its owner"))
                    with contextlib.suppress(Exception):
                        self._started.wait(5.0)
                else:
                    self._link.send(ReleaseTasks([]))
        finally:  # also when interrupted
            self._link.close()
            self._close_parts()
            if self._started is not None:
                self._started.bury()

    def leave(self) -> None:
        """Leave the run as it is: it goes on, and stays for ``linger`` seconds after the last one has left it.

        What was called here goes on without us; the next kernel of the notebook finds it with ``parslab.load()``.
        """
        if self._closing or os.getpid() != self._process:
            return
        self._closing = self._gone = True
        try:
            with contextlib.suppress(OSError):
                self._link.drain(_DRAIN)
        finally:
            self._link.close()
            self._close_parts()

    def _at_exit(self) -> None:
        """The interpreter ends: what a notebook's kernel leaves stays for the next one, a script's run ends."""
        if self.linger > 0:
            self.leave()
        else:
            self.cleanup()
