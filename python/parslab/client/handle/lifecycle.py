"""``Lifecycle`` opens the connection to a run, restores it after losses of the DataFlowKernel, and closes it.

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
"""Seconds that a DataFlowKernel may take to start and send its welcome; imports from a network disk take long."""
_DRAIN = 2.0
"""Seconds to send the remaining calls when this process leaves its run; the user waits for the kernel to end."""
_SHUTDOWN = 5.0
"""Seconds that a DataFlowKernel may take to end its workers and itself."""


class RunComponents(Protocol):
    """The methods of a handle that its lifecycle calls."""

    def handle(self, batch: Batch) -> None:
        """Handle messages of the DataFlowKernel (link's thread)."""

    def take_unhandled(self) -> list[Batch]:
        """Return the messages that ``handle`` has not handled yet, for another thread (link's thread)."""

    def resume(self, batches: int) -> None:
        """Send the state of this client to a new DataFlowKernel, which has so many of its batches (link's thread)."""

    def run_over(self) -> None:
        """Settle all futures and requests, because no message will arrive any more (link's thread)."""

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
        Starts a lost DataFlowKernel again; None when a loss ends the run.
    components
        The handle's other components.

    Attributes
    ----------
    on_end
        Functions that get a sentence when the run is over for this process.
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
        """How many batches of this client a new DataFlowKernel has; None until its message arrives."""

    # ----- the beginning

    def open(self, hello: ClientHello | None) -> None:
        """Start the link and wait for the welcome; after an error close all that was opened.

        Parameters
        ----------
        hello
            The message that introduces a client; None for the process that has started the run.
        """
        self._started_here = hello is None
        try:
            self._link.start(
                self._components.handle,
                self._lost,
                self._reconnect if self._restart else None,
                take_unhandled=self._components.take_unhandled,
            )
            if hello is not None:
                self._link.send(hello)
            self._await_welcome()
        except BaseException:  # also an interrupt: the caller will get no handle to close
            self._state.closing = True
            self._link.close()
            self._components.close()
            if self.process is not None and self._started_here:  # other clients may use a run that another one started
                self.process.clean_up()
            raise

    def _await_welcome(self) -> None:
        state = self._state
        wait = BoundedWait(f"the DataFlowKernel of run {state.run}; its log is {state.log_path}", _HANDSHAKE)
        # In steps, because wait.step() prints after some seconds what load() waits for.
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
        """Store the number that the DataFlowKernel has given to this client (link's thread)."""
        self._client, self._batches_there = client, 0
        self._answered.set()

    def refused(self, message: Refused) -> None:
        """Store why the DataFlowKernel refuses this client (link's thread)."""
        self._refused = message.reason
        self._answered.set()

    def batches_acknowledged(self, message: BatchesAcknowledged) -> None:
        """Take the number of batches of this client in the event log (link's thread)."""
        if self._batches_there is None:
            # The first message of a new DataFlowKernel: it says which batches the link must send again.
            self._batches_there = message.batches
        else:
            self._link.acked(message.batches)

    # ----- losses (link's thread)

    def _reconnect(self, how: str) -> bool:
        """Connect to the next DataFlowKernel of the run, started here if need be; return False when the run is over."""
        if not self.welcomed:
            return False  # load() is still waiting, and reports the error itself
        while not (self._state.closing or self._refused or self._state.forked) and self._link.keeps_batches:
            found = self._next_connection()
            if found is None:
                return False
            self._batches_there = None
            try:
                if self._link.switch_to(found, lambda: self._batches_there is not None, _HANDSHAKE):
                    if self._restart is not None:
                        self._restart.connected()
                    self._components.resume(self._batches_there or 0)
                    return True
            except EOFError:
                continue  # the new connection is lost, too
        return False

    def _next_connection(self) -> socket.socket | None:
        """Return a connection to the next DataFlowKernel of the run; None when the run is given up."""
        lost, process, restart = steady_time(), self.process, self._restart
        how = process.how_it_ended() if process is not None else "was killed"
        # A DataFlowKernel that exits by itself has ended the run, or has a fault that would occur again.
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
        """End the run for this process, because the link has given up."""
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
        # After state.ended is set. A thread that adds a future now checks the state afterwards, so each future is
        # failed by that thread or by this one.
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
        """Close the descriptors in a forked child without a message, because the run belongs to the parent."""
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
        state.closing = (
            True  # before the message: the link's thread must not take the end for a loss and restart the run
        )
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
        """Leave a run that may outlive this process, or end the run of a script, because the interpreter ends."""
        if self._state.linger > 0:
            self.leave()
        else:
            self.cleanup()
