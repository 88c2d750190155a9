"""Decides which snapshots and numbered deltas the panels of a run receive, and when.

[core]  The monitor calls the feed on the DataFlowKernel's loop; time is an argument.  Every panel receives the same
delta, which holds the changes since the delta before.  The feed returns requests that need the store or the loop.
Invariants:

* the numbers of deltas count up by one;
* when changes were dropped because no panel had a lease, the feed leaves out a number: a panel that was silent for
  longer than its lease then requests a new snapshot;
* a snapshot has the number of the last delta, and the other panels have received all changes before it;
* the feed sends nothing more than ``LEASE`` seconds after the last message of a panel;
* it sends at most one delta in ``INTERVAL`` seconds, and at most ``1 / ROW`` rows a second;
* it sends nothing while nothing changes, after a last delta whose rate is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.panel import LEASE, Delta, Heartbeat, Snapshot, SnapshotRequest

if TYPE_CHECKING:
    from parslab.monitoring.view.view import View
    from parslab.records.panel import (
        BlockOutputRequest,
        CellCountsRequest,
        Command,
        Request,
        TaskDetailRequest,
        TaskPageRequest,
        TimelineRequest,
    )

__all__ = ["BEAT", "INTERVAL", "ROW", "Feed"]

INTERVAL = 0.1
"""Seconds between two deltas, at least."""

ROW = 0.0005
"""Seconds of pause for each worker, manager or block in the delta before: deltas with thousands of rows are rare."""

BEAT = 1.0
"""Seconds between two deltas while tasks run but nothing else changes, because run times and the rate still change."""


class Feed:
    """The stream of one run to all its panels.

    Parameters
    ----------
    view
        The state that panels receive.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._seq = 0
        self._heard: float | None = None
        self._sent = float("-inf")
        self._pause = INTERVAL
        self._rate = 0.0
        self._waiting: list[Delta] = []

    def ask(
        self, message: Request, now: float
    ) -> (
        Snapshot
        | TaskPageRequest
        | CellCountsRequest
        | TaskDetailRequest
        | TimelineRequest
        | BlockOutputRequest
        | Command
        | None
    ):
        """Reply to a panel, or return the request if files, the database or the loop must answer it."""
        if isinstance(message, SnapshotRequest):
            return self._snapshot(message, now)
        # A look-up alone starts no stream.  Scripts look things up too, and a Jupyter server would keep in its memory
        # the deltas that no page reads.
        if isinstance(message, Heartbeat) or self.listened(now):
            self._heard = now
        return None if isinstance(message, Heartbeat) else message

    def listened(self, now: float) -> bool:
        """Return whether a panel has sent something within the lease."""
        return self._heard is not None and now - self._heard <= LEASE

    def tick(self, now: float) -> list[Delta]:
        """Deltas that are due, oldest first."""
        due = self.next_deadline(now)
        if due is None or due > now:
            return []
        deltas, self._waiting = self._waiting, []
        if not deltas and self.listened(now):
            deltas.append(self._delta(now))
        return deltas

    def last(self, now: float) -> list[Delta]:
        """Deltas to send before the run is gone, due or not."""
        deltas, self._waiting = self._waiting, []
        if self.listened(now) and self._view.changed:
            deltas.append(self._delta(now))
        return deltas

    def next_deadline(self, now: float) -> float | None:
        """Return when ``tick`` has something to send, if nothing happens before."""
        if self._waiting:
            return now
        if not self.listened(now):
            return None
        if self._view.changed:
            return self._sent + self._pause
        # After the last task the rate falls for some seconds.  Panels would show the last value for ever without this.
        if self._view.unfinished or self._rate or self._view.workers.busy():
            return self._sent + BEAT
        return None

    def _snapshot(self, message: SnapshotRequest, now: float) -> Snapshot:
        if not message.subscribe:
            return self._picture(message, now)
        # The snapshot contains changes that the other panels have not received.  They get these changes as a delta, so
        # that the number of the snapshot means the same state for every panel.
        if self._view.changed:
            delta = self._delta(now)
            if self._heard is not None:  # a panel whose lease has ended may still listen
                self._waiting.append(delta)
        self._heard = self._sent = now
        snapshot = self._picture(message, now)
        self._rate = snapshot.overview.rate
        return snapshot

    def _picture(self, message: SnapshotRequest, now: float) -> Snapshot:
        view = self._view
        return Snapshot(
            seq=self._seq,
            run=view.run.info,
            overview=view.overview(now),
            nodes=view.graph.all_nodes(),
            hidden=view.hidden,
            workers=view.workers.all_rows(),
            notices=list(view.notices.latest),
            request_id=message.request_id,
            blocks=view.blocks.all_rows(),
            managers=view.managers.all_rows(),
            scaling=view.scaling.points,
            failures=view.failures.all_rows(),
        )

    def _delta(self, now: float) -> Delta:
        view = self._view
        view.changed = False
        self._seq += 1
        self._sent = now
        nodes, changes = view.graph.take()
        overview = view.overview(now)
        self._rate = overview.rate
        workers, managers = view.workers.take_changed(), view.managers.take_changed()
        blocks = view.blocks.take_changed()
        self._pause = max(INTERVAL, ROW * (len(workers) + len(managers) + len(blocks)))
        return Delta(
            seq=self._seq,
            overview=overview,
            nodes=nodes,
            changes=changes,
            hidden=view.hidden,
            workers=workers,
            notices=view.notices.take_unsent(),
            run=view.run.take_changed(),
            blocks=blocks,
            managers=managers,
            failures=view.failures.take_changed(),
        )
