"""Questions and orders of panels, and of users through the handle of a run: who carries out which [shell].

Monitoring answers questions by itself; what changes something comes back from it as a command.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from parslab.dataflow.graph.cancellation import cancel
from parslab.dataflow.graph.explain import explain
from parslab.errors import ConfigurationError, ParslabError
from parslab.monitoring.monitor import Monitor
from parslab.records.panel import (
    BlockActionRequest,
    CheckpointRequest,
    ExplainRequest,
    LingerRequest,
    RetryRequest,
    ScaleRequest,
)
from parslab.remote.pool.pool import WorkerPool
from parslab.wire.messages.client import PanelReply, PanelRequest, PanelUpdate

if TYPE_CHECKING:
    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.kernel import Kernel

__all__ = ["ClientCommands"]


class ClientCommands:
    """What a run does when it is told to."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def asked(self, client: ClientConnection, message: PanelRequest) -> None:
        """A question of the panel protocol, from a panel behind a client or from the client itself."""
        kernel, monitor = self._kernel, self._kernel.monitor

        def answer_of(text: bytes) -> PanelReply | PanelUpdate:
            return PanelReply(message.ask, text) if message.ask else PanelUpdate(text)

        def reply(text: bytes) -> None:
            answer = answer_of(text)
            kernel.loop.post(lambda: kernel.send(client, [answer]) if client.number in kernel.clients else None)

        assert monitor is not None
        kernel.tell_monitor()
        for pool in kernel.pools.values():
            pool.tell_states()
        kernel.tell_monitor()
        command = monitor.request(message.text, time(), reply)
        if isinstance(command, LingerRequest):
            reply(Monitor.command_reply(command.request_id, kernel.attendance.keep(command.seconds)))
        elif isinstance(command, RetryRequest):

            def told(text: bytes) -> None:  # behind what it tells of
                kernel.table.out.replies.append((client.number, answer_of(text), []))

            kernel.mending.order(command, client, bool(message.ask), told)
        elif isinstance(command, (ScaleRequest, BlockActionRequest, ExplainRequest, CheckpointRequest)):
            try:
                reply(Monitor.command_reply(command.request_id, self._done(command)))
            except ParslabError as error:
                reply(Monitor.error_reply(command.request_id, str(error)))
        elif command is not None:
            done = cancel(command, client.number, kernel.table, monitor.view, time())
            reply(Monitor.command_reply(command.request_id, done))

    def _done(self, command: ScaleRequest | BlockActionRequest | ExplainRequest | CheckpointRequest) -> str:
        """Carry out a command; what was done, in a sentence."""
        kernel = self._kernel
        if isinstance(command, ExplainRequest):
            return explain(command.task, kernel.table, kernel.memo, kernel.reasons)
        if isinstance(command, CheckpointRequest):
            return kernel.remembered.checkpoint()
        return self._about_blocks(command)

    def _about_blocks(self, command: ScaleRequest | BlockActionRequest) -> str:
        """Carry out a command about an executor's blocks, one of them, or one manager by its name.

        Raises
        ------
        ConfigurationError
            It names no executor that has blocks.
        """
        controllers = self._kernel.controllers
        if isinstance(command, BlockActionRequest):
            for pool in self._kernel.pools.values():
                if not isinstance(pool, WorkerPool) and command.executor in ("", pool.label):
                    done = pool.command(command.block, command.action)
                    if done:
                        return done
        if not command.executor and len(controllers) == 1:
            (controller,) = controllers.values()
        elif command.executor in controllers:
            controller = controllers[command.executor]
        else:
            if not controllers:
                raise ConfigurationError("No executor of this run has blocks: its workers are those of this host.")
            wrong = f"Executor {command.executor!r} has no blocks" if command.executor else "Name the executor"
            raise ConfigurationError(f"{wrong}: those that have blocks are {', '.join(controllers)}.")
        if isinstance(command, ScaleRequest):
            return str(controller.scale(command.blocks))
        if command.action in ("hold", "release"):
            return str(controller.hold(command.block, command.action == "hold"))
        return str(controller.drain(command.block) if command.action == "drain" else controller.cancel(command.block))
