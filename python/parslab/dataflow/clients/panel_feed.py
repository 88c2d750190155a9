"""Passes events of the run to monitoring, and updates of monitoring to the clients [shell]."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.monitoring.monitor import MANY, Monitor
from parslab.records.panel import LEASE
from parslab.wire.messages.client import PanelUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.host import ExecutorPool, Host
    from parslab.monitoring.view.view import View
    from parslab.records.panel import Command

__all__ = ["PanelFeed"]

_MOST_WAITING = 8 << 20
"""Bytes that wait at most for a Jupyter server that does not read, before it loses its connection."""


class PanelFeed:
    """Passes the events of the run to monitoring, and the updates of the panels to the clients.

    Parameters
    ----------
    host
        The process that it runs in.
    table, clients, pools
        The tasks, the attached clients and the executors of the run.
    """

    def __init__(
        self, host: Host, table: TaskTable, clients: ClientRegistry, pools: Mapping[int, ExecutorPool]
    ) -> None:
        self._host = host
        self._table = table
        self._clients = clients
        self._pools = pools
        # Opened in ``open``: a constructor must not touch files.
        self._monitor: Monitor | None = None
        self._due = float("-inf")
        """Until then there is nothing to do, unless very many events occur or a panel asks for something."""
        # For the benchmark alone, which measures what monitoring costs.
        self._unwatched = os.environ.get("PARSLAB_MONITORING") == "off"

    def open(self, run_dir: str, restarts: int) -> None:
        """Begin to monitor the run, or continue after ``restarts`` restarts of its DataFlowKernel."""
        self._monitor = Monitor(Path(run_dir), post=self._host.call_soon, lives=restarts)

    @property
    def view(self) -> View:
        """The state of the run as panels see it."""
        assert self._monitor is not None
        return self._monitor.view

    def task_counts(self) -> dict[str, int]:
        """Return the number of tasks in each state; empty where nothing is monitored."""
        return self._monitor.view.counts.overview()[0] if self._monitor is not None else {}

    def record_events(self) -> None:
        """Pass what has happened so far to monitoring."""
        effects = self._table.out
        if effects.events and self._monitor is not None:
            events, effects.events = effects.events, []
            if not self._unwatched:
                self._monitor.record(events)

    def request(
        self, text: bytes, client: ClientConnection, reply: Callable[[bytes], None], notebook: int
    ) -> Command | None:
        """Answer a request of a panel; return the command in it that another component has to carry out.

        Parameters
        ----------
        text
            The request, JSON.
        client
            The connection through which it came.
        reply
            Called with the answer, at once or later from another thread.
        notebook
            The client whose cells the request means when it names none.
        """
        assert self._monitor is not None
        client.panel_asked_at = steady_time()
        self._due = float("-inf")
        self._update()
        return self._monitor.request(text, steady_time(), reply, notebook)

    def next_deadline(self, now: float) -> float | None:
        """Do what is due, and return when something is due next."""
        # Most rounds end here. Later events do not make the deadline earlier, because earlier ones wait for it already.
        if now < self._due and len(self._table.out.events) < MANY:
            return self._due
        monitor = self._monitor
        if monitor is None:
            return None
        self.record_events()
        monitor.ended = self._table.ended
        due = monitor.next_deadline(now)
        if due is not None and due <= now:
            self._update()
            self._send(monitor.tick(now))
            due = monitor.next_deadline(now)
        self._due = due if due is not None and monitor.has_events else float("-inf")
        return due

    def close(self) -> None:
        """Store the last events and send the last updates."""
        self.record_events()
        if self._monitor is not None:
            self._send(self._monitor.close(steady_time()))

    def _update(self) -> None:
        # First the events so far, then the states of workers that follow from them.
        self.record_events()
        for pool in self._pools.values():
            pool.report_states()
        self.record_events()

    def _send(self, updates: Iterable[bytes]) -> None:
        # A page that uses the route through the Jupyter server leaves the notebook's kernel silent, and the kernel must
        # not pass on updates that no page reads.
        oldest = steady_time() - LEASE
        listening = [one for one in self._clients.connected.values() if one.panel_asked_at >= oldest]
        for text in updates:
            for client in listening:
                if client.panel and client.stream.congested and client.stream.backlog_size > _MOST_WAITING:
                    # The next read finds the end of the connection.  A Jupyter server that works connects again.
                    with contextlib.suppress(OSError):
                        client.stream.sock.shutdown(socket.SHUT_RDWR)
                    continue
                self._clients.send(client, [PanelUpdate(text)])
