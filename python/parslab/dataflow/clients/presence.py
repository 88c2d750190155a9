"""Tracks the attached clients and carries out what ``leases`` decides about the run [shell].

It reports the state of the lease to monitoring, the clients and the connection file, and sets a timer for the end of
the lease.  It also finds clients whose process is gone although their socket is still open: a child that C code forked
holds a copy of the socket.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from parslab.clock import steady_time, to_wall_time
from parslab.dataflow.clients.leases import Leases, LeaveOutcome
from parslab.records.durations import format_duration
from parslab.records.events import ClientAttached, ClientLeft, LeaseMoved
from parslab.records.states import ACTIVE, FINAL
from parslab.wire.messages.client import PriorTasks, SetLinger

if TYPE_CHECKING:
    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.clients.log_service import LogService
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.host import Host
    from parslab.wire.notebooks import NotebookPlace
    from parslab.wire.run_files import RunSettings

__all__ = ["GONE", "Presence"]

log = logging.getLogger(__name__)

GONE = "it has gone"
_HEARTBEAT = 60.0
"""Seconds between two heartbeats in the connection file.

They show hosts that only share a file system with us when a run was last alive.
"""


class Presence:
    """The clients of one run as its lease sees them.

    Parameters
    ----------
    host
        The process that it runs in.
    settings, clients, table
        The settings, the attached clients and the tasks of the run.
    log_service
        Notes in the event log who left, and how long the run stays.
    file
        The run's connection file; None for a run that no other process can find.
    """

    def __init__(
        self,
        host: Host,
        settings: RunSettings,
        *,
        clients: ClientRegistry,
        table: TaskTable,
        log_service: LogService,
        file: ConnectionFile | None = None,
    ) -> None:
        self._host = host
        self._clients = clients
        self._table = table
        self._log_service = log_service
        self._file = file
        self.leases = Leases(settings.linger, settings.notebook, steady_time())
        self._timer: float | None = None
        """The time of the next check of the lease."""
        self._last_heartbeat = steady_time()
        self._usual_linger: float | None = None
        """The linger that the run has apart from a handover; None while there is no handover."""

    # ----- clients attach and leave

    def attached(self, client: ClientConnection, notebook: str, host: str, owner: bool = False) -> PriorTasks | None:
        """A client has introduced itself.

        Returns
        -------
        PriorTasks or None
            The tasks of earlier clients of its notebook; None if there were no such clients.
        """
        now = steady_time()
        prior = self._prior_tasks(notebook) if notebook else None
        client.owner = self.leases.attached(client.number, notebook, owner)
        client.notebook = notebook
        if prior is not None:
            # After the lease of this client is noted, because only then does it count as one of the notebook.
            prior.sharers = tuple(self._clients.connected[n].pid for n in self.leases.sharers(client.number))
        self._host.emit(ClientAttached(now, client.number, client.pid, host, client.owner, notebook))
        self._publish(now)
        return prior

    def notebook_at(self, place: NotebookPlace) -> None:
        """Publish the new path of the run's notebook, by which other processes find the run."""
        if self._file is not None:
            self._file.notebook_at(place)

    def left(self, client: ClientConnection, reason: str) -> None:
        """Carry out that the connection of a client ended."""
        now = steady_time()
        self._host.emit(ClientLeft(now, client.number, reason))
        outcome = self.leases.left(client.number, now)
        if outcome is LeaveOutcome.ends:
            whose = "owner" if client.owner else "last client"
            how = f"its {whose}, process {client.pid}, has left" if reason == GONE else f"its {whose} {reason}"
            self._host.end_run(how)
        elif outcome is LeaveOutcome.released:
            self._release(client.number, now)
        self._publish(now)
        if self.leases.away == now and outcome is not LeaveOutcome.ends:
            log.info(
                "client %d (process %d) has left (%s) and no other client is attached: the run ends in %s unless one "
                "attaches",
                client.number, client.pid, reason, format_duration(self.leases.linger),
            )  # fmt: skip

    def set_linger(self, seconds: float) -> str:
        """Let the run outlive its last client by so many seconds; return a sentence that says so."""
        self.leases.set_linger(seconds)
        self._log_service.set_linger(seconds)
        log.info("the run outlives its last client by %s", format_duration(self.leases.linger))
        self._publish(steady_time())
        if not self.leases.linger:
            return "The run ends when its notebook's kernel does."
        return f"The run stays for {format_duration(self.leases.linger)} after the last notebook or script has left it."

    def stay(self, seconds: float) -> None:
        """Let the run outlive its last client by at least so many seconds, because of a handover; 0: as before.

        The event log does not get this linger: the next DataFlowKernel has the usual one.
        """
        if self._usual_linger is None:
            self._usual_linger = self.leases.linger
        self.leases.set_linger(max(self._usual_linger, seconds))
        if not seconds:
            self._usual_linger = None
        self._publish(steady_time())

    def newest_owner(self) -> int:
        """Return the number of the owner that attached last, or else that left last; -1 if the run had none."""
        owners = [client.number for client in self._clients.connected.values() if client.owner]
        return max(owners or self.leases.absent(self.leases.notebook), default=-1)

    def dead_clients(self) -> list[ClientConnection]:
        """Return the clients whose process is gone (called every few seconds)."""
        clients = self._clients.connected.values()
        return [one for one in clients if one.pid_is_local and one.pid != os.getpid() and not _is_alive(one.pid)]

    def send_heartbeat(self, now: float) -> None:
        """Touch the connection file when it is time (called every few seconds)."""
        if self._file is not None and now >= self._last_heartbeat + _HEARTBEAT:
            self._last_heartbeat = now
            self._file.touch()

    # ----- what follows

    def _publish(self, now: float) -> None:
        """Publish the state of the lease, and set a timer for its end."""
        leases = self.leases
        self._host.emit(LeaseMoved(now, leases.linger, leases.away, leases.ends))
        if self._file is not None:
            clients = self._clients.connected.values()
            self._file.write(
                linger=leases.linger,
                # Wall time, because other processes compare it with their own clocks.
                away=None if leases.away is None else to_wall_time(leases.away),
                ends=None if leases.ends is None else to_wall_time(leases.ends),
                heartbeat_period=_HEARTBEAT,
                clients=leases.count,
                owners=[client.pid for client in clients if client.owner and client.pid_is_local],
            )
        self._clients.send_all(SetLinger(leases.linger))
        self._set_timer()

    def _set_timer(self) -> None:
        due = self.leases.next_deadline()
        # A timer cannot be cancelled; one that is too early finds nothing due and sets the next.
        if due is not None and (self._timer is None or due < self._timer):
            self._timer = due
            self._host.call_at(due, self._check)

    def _check(self) -> None:
        """End the run, or drop the tasks of clients that did not return in time."""
        now = steady_time()
        self._timer = None
        reason = self.leases.end_reason(now)
        if reason:
            self._host.end_run(reason)
            return
        for number in self.leases.expired(now):
            log.info("the tasks of client %d are not kept any longer", number)
            self._release(number, now)
        self._set_timer()

    def _release(self, number: int, now: float) -> None:
        """Drop the tasks of a client that cannot return."""
        self._log_service.client_left(number)
        self._table.client_left(number, now)

    def _prior_tasks(self, notebook: str) -> PriorTasks | None:
        """Count the tasks of earlier clients of this notebook that are gone."""
        absent = set(self.leases.absent(notebook))
        if not absent and notebook != self.leases.notebook:
            return None
        left = self.leases.left_at(notebook)
        prior = PriorTasks(0.0 if left is None else steady_time() - left)
        # A set, because a task with an alias is in the table under two numbers.
        for task in set(self._table.tasks.values()):
            if task.client not in absent or task.released:
                continue
            if task.state in FINAL:
                if task.failure is None:
                    prior.results += 1
                else:
                    prior.failed += 1
            elif task.state in ACTIVE:
                prior.running += 1
            else:
                prior.waiting += 1
        return prior


def _is_alive(pid: int) -> bool:
    try:
        # Signal 0 delivers nothing: the system only checks whether the process exists.
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # The process exists and belongs to another user.
    except PermissionError:
        return True
    return True
