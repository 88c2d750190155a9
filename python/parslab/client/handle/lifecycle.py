"""The connection between this process and a run, from the welcome to the end, over losses of the DataFlowKernel.

The link's thread notices losses and reconnects.  Any thread may end or leave the run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Protocol

from parslab.client.waiting import BoundedWait
from parslab.clock import steady_time
from parslab.errors import ConfigurationError, DataFlowKernelLost, NoDataFlowKernelError
from parslab.wire.messages.client import BatchesAcknowledged, ReleaseTasks, ShutDownRun

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from parslab.client.process.launch import KernelProcess
    from parslab.client.process.restart import KernelRestart
    from parslab.client.run_state import RunState
    from parslab.client.transport.link import KernelLink
    from parslab.wire.messages.base import Refused
    from parslab.wire.messages.client import ClientHello
    from parslab.wire.stream import Batch

__all__ = ["Lifecycle", "RunComponents"]

log = logging.getLogger(__name__)

_HANDSHAKE = 30.0
"""Seconds that a DataFlowKernel may take to start and say welcome."""
_DRAIN = 2.0
"""Seconds to send the calls that were made, when this process leaves its run."""
_SHUTDOWN = 5.0
"""Seconds that a DataFlowKernel may take to end in order."""


class RunComponents(Protocol):
    """The components of a handle, as its lifecycle drives them."""

    def handle(self, batch: Batch) -> None:
        """Handle messages of the DataFlowKernel (link's thread)."""

    def resume(self, batches: int) -> None:
        """Put a new DataFlowKernel in the picture, which has so many batches of this client (link's thread)."""

    def run_over(self) -> None:
        """Settle what waits, because no message will arrive any more (link's thread)."""

    def close(self) -> None:
        """End all threads."""


class Lifecycle:
    """Opens a run, reconnects to it, and ends or leaves it.

    Parameters
    ----------
    state
        The state of the run, which this object changes.
    link
        The connection to the DataFlowKernel.
    process
        The DataFlowKernel process of a run that this process owns; None for a guest.
    restart
        Starts a lost DataFlowKernel again; None when the run cannot go on after a loss.
    components
        What this object drives.

    Attributes
    ----------
    on_end
        Called with a sentence when the run is over for this process.
    """

    def __init__(
        self,
        state: RunState,
        link: KernelLink,
        process: KernelProcess | None,
        restart: KernelRestart | None,
        components: RunComponents,
    ) -> None:
        self._state = state
        self._link = link
        self.process = process
        self._restart = restart
        self._components = components
        self.on_end: list[Callable[[str], None]] = []
        self._started_here = False
        self._client = -1
        """The number of this client in the run; -1 before the welcome."""
        self._answered = threading.Event()
        """Set when the DataFlowKernel has welcomed or refused this client, or was lost."""
        self._refused = ""
        self._lost_how = ""
        self._batches_there: int | None = None
        """How many of our batches a new DataFlowKernel has; None until it says so."""

    # ----- the beginning

    def open(self, hello: ClientHello | None) -> None:
        """Start the link and wait for the welcome; closes everything when there is none.

        Parameters
        ----------
        hello
            Introduces a guest; None for the process that has started the run.
        """
        self._started_here = hello is None
        try:
            self._link.start(self._components.handle, self._lost, self._reconnect if self._restart else None)
            if hello is not None:
                self._link.send(hello)
            self._await_welcome()
        except BaseException:  # also an interrupt: nobody will have the handle
            self._state.closing = True
            self._link.close()
            self._components.close()
            if self.process is not None and self._started_here:  # a run that was found goes on without us
                self.process.clean_up()
            raise

    def _await_welcome(self) -> None:
        state = self._state
        wait = BoundedWait(f"the DataFlowKernel of run {state.run}; its log is {state.log_path}", _HANDSHAKE)
        while not self._answered.is_set() and (seconds := wait.step(_HANDSHAKE)):
            self._answered.wait(seconds)
        if self._client >= 0:
            return
        if self._refused:
            raise ConfigurationError(f"The DataFlowKernel of run {self._state.run} cannot be used: {self._refused}")
        reason = self._lost_how or f"it did not answer within {_HANDSHAKE:.0f} s"
        log_file = f" Its log is {self.process.log}: {self.process.log_tail()}" if self.process else ""
        raise ConfigurationError(f"The DataFlowKernel of run {self._state.run} cannot be used: {reason}.{log_file}")

    @property
    def welcomed(self) -> bool:
        """Whether the DataFlowKernel has welcomed this client before."""
        return self._client >= 0

    def welcome(self, client: int) -> None:
        """Take the number that the DataFlowKernel has given to this client (link's thread)."""
        self._client, self._batches_there = client, 0
        self._answered.set()

    def refused(self, message: Refused) -> None:
        """The DataFlowKernel does not take this client (link's thread)."""
        self._refused = message.reason
        self._answered.set()

    def batches_acknowledged(self, message: BatchesAcknowledged) -> None:
        """So many batches of this client are in the event log (link's thread)."""
        if self._batches_there is None:
            self._batches_there = message.batches
        else:
            self._link.acked(message.batches)

    # ----- losses (link's thread)

    def _reconnect(self, how: str) -> bool:
        """The connection is over: start the DataFlowKernel again if it was killed; False when the run is over."""
        if not self.welcomed:
            return False
        while not (self._state.closing or self._refused or self._state.forked) and self._link.keeps_batches:
            found = self._next_connection()
            if found is None:
                return False
            self._batches_there = None
            try:
                if self._link.switch_to(found, lambda: self._batches_there is not None, _HANDSHAKE):
                    self._components.resume(self._batches_there or 0)
                    return True
            except EOFError:
                continue  # this one was lost, too
        return False

    def _next_connection(self) -> socket.socket | None:
        """A connection to the next DataFlowKernel of the run; None when there will be none."""
        lost, process, restart = steady_time(), self.process, self._restart
        how = process.how_it_ended() if process is not None else "was killed"
        if restart is None or "was killed" not in how or not restart.possible():
            return None
        if not restart.again(lost):
            self._lost_how = f"{how}, for the third time within a minute"
            return None
        self._link.disconnect()
        back = restart.come_back(self._client, how, lost, process is not None)
        if back is None:
            return None
        sock, started = back
        if started is not None and process is not None:
            self.process, self._state.pid = started, started.pid
        return sock

    def _lost(self, how: str) -> None:
        """The connection is over for good."""
        state = self._state
        closing = state.closing
        if closing:
            how = "left by this process" if state.left else "shut down"
            state.ended = NoDataFlowKernelError(f"run {state.run} was {how}")
        else:
            if self._refused:
                how = f"has ended: {self._refused}"
            elif self._lost_how:
                how = self._lost_how
            elif self.process is not None:
                how = self.process.how_it_ended()
            state.ended = DataFlowKernelLost(state.run, how, state.log_path)
            self._lost_how = f"its process {how}"
        self._answered.set()
        self._components.run_over()
        if self.process is not None and not closing:
            # A DataFlowKernel that has only dropped this client still serves the others, unless it is our child.
            self.process.clean_up(kill=self._started_here)
        for call in self.on_end:
            try:
                call(str(state.ended))
            except Exception:
                log.exception("a callback for the end of run %s failed", state.run)

    # ----- the end (any thread)

    def forked(self) -> None:
        """This is a forked child: close its copies of our descriptors without a word, the run belongs to the parent."""
        self._state.forked = True
        self._state.ended = self._state.over_error()
        self._link.abandon()

    def cleanup(self) -> None:
        """End the run, or leave it as a guest; see ``DataFlowKernel.cleanup``."""
        state = self._state
        if os.getpid() != state.process:
            self._link.abandon()
            return
        if state.closing:
            return
        state.closing = True
        try:
            if state.ended is None:
                if self.process is not None:
                    self._link.send(ShutDownRun("it was shut down by its owner"))
                    with contextlib.suppress(Exception):
                        self.process.wait(_SHUTDOWN)
                else:
                    self._link.send(ReleaseTasks([]))
        finally:  # also when interrupted
            self._link.close()
            self._components.close()
            if self.process is not None:
                self.process.clean_up()

    def leave(self) -> None:
        """Leave the run as it is; see ``DataFlowKernel.leave``."""
        state = self._state
        if state.closing or os.getpid() != state.process:
            return
        state.closing = state.left = True
        try:
            with contextlib.suppress(OSError):
                self._link.drain(_DRAIN)
        finally:
            self._link.close()
            self._components.close()

    def at_exit(self) -> None:
        """The interpreter ends: leave the run to the next kernel of the notebook, or end the run of a script."""
        if self._state.linger > 0:
            self.leave()
        else:
            self.cleanup()
