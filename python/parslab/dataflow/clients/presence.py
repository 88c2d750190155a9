"""Who is attached to the run [shell]: carries out what ``leases`` decides, on the kernel's loop.

Tells monitoring, the clients and the connection file how the lease stands, wakes the loop when something is due, and
looks after clients whose process is gone though their socket is still open (a child that was forked by C code holds
a copy of it).
"""

from __future__ import annotations

import logging
import os
from time import time
from typing import TYPE_CHECKING

from parslab.dataflow.clients.leases import Leases, LeaveOutcome
from parslab.records.events import ClientAttached, ClientLeft, LeaseMoved
from parslab.records.spans import said
from parslab.records.states import ACTIVE, FINAL
from parslab.wire.messages.client import PriorTasks, SetLinger

if TYPE_CHECKING:
    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.kernel import Kernel

__all__ = ["GONE", "Presence"]

log = logging.getLogger(__name__)

GONE = "it has gone"
_BEAT = 60.0
"""Seconds between two signs of life in the connection file, for hosts that only share a file system, and for those who
want to know since when a run is dead."""


class Presence:
    """The clients of one run as its lease sees them.

    Parameters
    ----------
    kernel
        Whose clients they are.
    file
        The run's connection file; None: nobody is told through one.
    """

    def __init__(self, kernel: Kernel, file: ConnectionFile | None = None) -> None:
        self._kernel = kernel
        self._file = file
        self.leases = Leases(kernel.run.get("linger", 0.0), kernel.run.get("notebook", ""), time())
        self._due: float | None = None
        self._beaten = time()

    # ----- coming and going

    def attached(self, client: ClientConnection, notebook: str, host: str, owner: bool = False) -> PriorTasks | None:
        """A client has introduced itself; answers what its notebook has left here, if it has been here before."""
        now = time()
        still = self._still(notebook) if notebook else None
        client.owner = self.leases.attached(client.number, notebook, owner)
        client.notebook = notebook
        if still is not None:
            still.sharers = tuple(self._kernel.clients[n].pid for n in self.leases.sharers(client.number))
        self._kernel.event(ClientAttached(now, client.number, client.pid, host, client.owner, notebook))
        self._moved(now)
        return still

    def left(self, client: ClientConnection, reason: str) -> None:
        """A client's connection is over."""
        now, kernel = time(), self._kernel
        kernel.event(ClientLeft(now, client.number, reason))
        fate = self.leases.left(client.number, now)
        if fate is LeaveOutcome.ends:
            whose = "owner" if client.owner else "last client"
            how = f"its {whose}, process {client.pid}, has left" if reason == GONE else f"its {whose} {reason}"
            kernel.end(how)
        elif fate is LeaveOutcome.let_go:
            kernel.keeper.left(client.number)
            kernel.table.client_left(client.number, now)
        self._moved(now)
        if self.leases.away == now and fate is not LeaveOutcome.ends:
            log.info(
                "client %d (process %d) has left (%s) and nobody is attached: the run ends in %s unless somebody comes",
                client.number, client.pid, reason, said(self.leases.linger),
            )  # fmt: skip

    def keep(self, seconds: float) -> str:
        """Let the run outlive its last client by so many seconds; says what that means."""
        self.leases.keep(seconds)
        self._kernel.keeper.keep(seconds)
        log.info("the run outlives its last client by %s", said(self.leases.linger))
        self._moved(time())
        if not self.leases.linger:
            return "The run ends when its notebook's kernel does."
        return f"The run stays for {said(self.leases.linger)} after the last notebook or script has left it."

    def look_after(self, now: float) -> None:
        """Notice clients whose process is gone (every few seconds)."""
        for client in list(self._kernel.clients.values()):
            if client.leashed and client.pid != os.getpid() and not _alive(client.pid):
                self._kernel.gone(client)
        if self._file is not None and now >= self._beaten + _BEAT:
            self._beaten = now
            self._file.beat()

    # ----- what follows

    def _moved(self, now: float) -> None:
        """Tell everybody how the lease stands, and be woken when it ends."""
        leases, kernel = self.leases, self._kernel
        kernel.event(LeaseMoved(now, leases.linger, leases.away, leases.ends))
        if self._file is not None:
            owners = [client.pid for client in kernel.clients.values() if client.owner and client.leashed]
            here = {"clients": leases.here, "owners": owners}
            self._file.write(linger=leases.linger, away=leases.away, ends=leases.ends, beat=_BEAT, **here)
        kernel.tell_all(SetLinger(leases.linger))
        due = leases.next_deadline()
        if due is not None and (self._due is None or due < self._due):
            self._due = due
            kernel.at(due, self._look)

    def _look(self) -> None:
        now, kernel = time(), self._kernel
        self._due = None
        why = self.leases.over(now)
        if why:
            kernel.end(why)
            return
        for number in self.leases.expired(now):
            log.info("what client %d has called is not kept any longer", number)
            kernel.keeper.left(number)
            kernel.table.client_left(number, now)
        due = self.leases.next_deadline()
        if due is not None:
            self._due = due
            kernel.at(due, self._look)

    def _still(self, notebook: str) -> PriorTasks | None:
        """What clients of this notebook that have gone have left here."""
        kept = set(self.leases.kept(notebook))
        if not kept and notebook != self.leases.notebook:
            return None
        left = self.leases.left_at(notebook)
        still = PriorTasks(0.0 if left is None else time() - left)
        for task in set(self._kernel.table.tasks.values()):
            if task.client not in kept or task.released:
                continue
            if task.state in FINAL:
                if task.failure is None:
                    still.results += 1
                else:
                    still.failed += 1
            elif task.state in ACTIVE:
                still.running += 1
            else:
                still.waiting += 1
        return still


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
