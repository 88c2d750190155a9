"""Keeps the state of the run itself: its process, its clients, its lease and its stopped executors.

[core]  The view owns the one object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from parslab.monitoring.store.tables import StoredClient
from parslab.monitoring.view.text import ERROR, clipped
from parslab.records.panel import ClientRow, ClockChange, RunInfo

if TYPE_CHECKING:
    from parslab.monitoring.store.batch import Batch
    from parslab.records.events import (
        ClientAttached,
        ClientLeft,
        ExecutorStopped,
        LeaseMoved,
        OwnJobFound,
        RunEnded,
        RunStarted,
    )

__all__ = ["RunStatus"]

_CLOCK_CHANGES = 100
"""Changes of the wall clock that are kept."""


class RunStatus:
    """The state of the run, for panels and store.

    Parameters
    ----------
    batch
        The batch that receives rows for the store.
    """

    __slots__ = ("_batch", "_changed", "_clients", "info")

    def __init__(self, batch: Batch) -> None:
        self.info = RunInfo(run="", host="", pid=0, run_dir="", executors=[], started=0.0, version="")
        self._batch = batch
        self._clients: dict[int, ClientAttached] = {}
        self._changed = False

    @property
    def clients(self) -> int:
        """How many clients are attached."""
        return len(self._clients)

    def take_changed(self) -> RunInfo | None:
        """Return the run, if it changed since the last call."""
        changed, self._changed = self._changed, False
        return self.info if changed else None

    def started(self, event: RunStarted) -> None:
        """The DataFlowKernel process has started."""
        self._change(
            run=event.run,
            host=event.host,
            pid=event.pid,
            run_dir=event.run_dir,
            executors=list(event.executors),
            started=event.time,
            version=event.version,
            notebook=event.notebook,
        )
        self._batch.run = [self.info]

    def own_job_found(self, event: OwnJobFound) -> None:
        """The run's host belongs to a batch job, which ends."""
        self._change(job=event.job, job_ends=event.ends)

    def ended(self, event: RunEnded) -> None:
        """The DataFlowKernel process ends."""
        self._change(ended=event.time, reason=clipped(event.reason, ERROR))
        self._batch.run = [self.info]

    def client_attached(self, event: ClientAttached) -> None:
        """A client has attached."""
        self._clients[event.client] = event
        self._change(clients=self._client_rows())
        self._batch.clients.append(_stored(event))

    def client_left(self, event: ClientLeft) -> bool:
        """A client has left; return False if it was not attached."""
        client = self._clients.pop(event.client, None)
        if client is None:
            return False
        self._change(clients=self._client_rows())
        left = msgspec.structs.replace(_stored(client), left_at=event.time, reason=clipped(event.reason, ERROR))
        self._batch.clients.append(left)
        return True

    def lease_moved(self, event: LeaseMoved) -> None:
        """The time at which the run ends without a client has changed."""
        self._change(linger=event.linger, away=event.away, ends=event.ends)

    def executor_stopped(self, event: ExecutorStopped) -> None:
        """An executor accepts no more tasks."""
        self._change(stopped={**self.info.stopped, event.executor: clipped(event.reason, ERROR)})

    def clock_changed(self, since: float, offset: float) -> None:
        """The wall clock was set, or the machine has slept."""
        # Bounded, because a laptop may sleep and wake for weeks.  The oldest changes matter least.
        self._change(clock=[*self.info.clock, ClockChange(since, offset)][-_CLOCK_CHANGES:])

    def _change(self, **fields: object) -> None:
        # A new object each time, because snapshots and batches still hold the old one.
        self.info = msgspec.structs.replace(self.info, **fields)
        self._changed = True

    def _client_rows(self) -> list[ClientRow]:
        return [
            ClientRow(
                client=client.client,
                pid=client.pid,
                host=client.host,
                owner=client.owner,
                notebook=client.notebook,
                since=client.time,
            )
            for client in self._clients.values()
        ]


def _stored(client: ClientAttached) -> StoredClient:
    return StoredClient(
        client=client.client, pid=client.pid, host=client.host, owner=client.owner, attached=client.time
    )
