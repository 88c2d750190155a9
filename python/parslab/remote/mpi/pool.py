"""The workers of a pool as rank 0 sees them [shell]: the other ranks, each with a manager and a worker of its own.

``WideQueue`` decides which rank gets which task.  The managers of the ranks start, watch, stop and replace their
workers, so a task that dies takes only its worker with it.  A rank that is lost is another matter: MPI cannot go on
without it.  So its pool ends, says which rank it was, and the DataFlowKernel gives the tasks to other pools.
"""

from __future__ import annotations

import logging
from time import sleep
from typing import TYPE_CHECKING

from parslab.records.events import WorkerMoved
from parslab.remote.mpi.polling import PollPause
from parslab.remote.pool.pool import PoolWorker, WorkerPool
from parslab.remote.pool.wide_queue import WideQueue
from parslab.wire.heartbeats import SilenceCheck
from parslab.wire.messages.base import Refused
from parslab.wire.messages.manager import (
    LinkHeartbeat,
    ManagerAccepted,
    ManagerBroken,
    ManagerHello,
    ManagerLeft,
    NodeSample,
    TaskSample,
    WorkerStateChanged,
)
from parslab.wire.messages.worker import InterruptTask, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.remote.manager.node_tasks import NodeTasks, TaskOnNode
    from parslab.remote.mpi.world import World
    from parslab.remote.pool.pool import PoolHost
    from parslab.remote.pool.processes import WorkerRun
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.messages.manager import ManagerMessage
    from parslab.wire.messages.ranks import RankSetup
    from parslab.wire.stream import Batch, Buffer

__all__ = ["HEARTBEAT", "SILENCE", "RankPool"]

log = logging.getLogger("parslab.manager")

HEARTBEAT, SILENCE = 1.5, 6.0
"""Seconds between two heartbeats of ranks, and seconds of silence after which a rank counts as lost."""
_START = 60.0
"""Seconds within which all ranks must have said hello."""
_GOODBYE = 5.0
"""Seconds that the ranks may take to end their workers; without a lost one, half a second is usual."""


class _RankEnd:
    """Our end of the connection to one rank."""

    congested = False
    """Never: MPI takes every message."""

    def __init__(self, world: World, rank: int) -> None:
        self._world = world
        self._rank = rank

    def fileno(self) -> int:
        """Return no descriptor: MPI has none."""
        return -1

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never waits."""
        self._world.send(self._rank, messages, frames)

    def receive(self) -> list[Batch]:
        """Return nothing: the pool reads the messages of all ranks together."""
        return []

    def flush(self) -> bool:
        """Return that nothing waits here."""
        return True


class RankPool(WorkerPool["TaskOnNode"]):
    """All ranks but rank 0.

    Parameters
    ----------
    hello
        The message that describes the manager of the pool.
    world
        The ranks.
    setup
        What the other ranks have to know.
    run, host, tasks, on_broken
        As in :class:`~parslab.remote.pool.pool.WorkerPool`.
    pass_on
        Called with messages that a rank has for the DataFlowKernel.
    clock
        Returns the time.

    Attributes
    ----------
    all_left
        Whether every rank has ended its worker and said so.
    """

    def __init__(
        self,
        hello: ManagerHello,
        world: World,
        setup: RankSetup,
        *,
        run: WorkerRun,
        host: PoolHost,
        tasks: NodeTasks,
        on_broken: Callable[[WorkerPool[TaskOnNode]], None],
        pass_on: Callable[[ManagerMessage], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            hello.executor, "", hello.manager, plans=(), run=run, host=host, tasks=tasks, on_broken=on_broken
        )
        self.all_left = False
        self._wide: WideQueue[TaskOnNode] = WideQueue(tasks.demands)
        self.queue = self._wide
        self._world = world
        self._setup = setup
        self._on_node = tasks
        self._pass_on = pass_on
        self._clock = clock
        now = clock()
        self._pause = PollPause(now)
        self._silence = SilenceCheck(HEARTBEAT, SILENCE, now)
        self._next_beat = now
        self._begun = now
        self._ranks: dict[int, PoolWorker[TaskOnNode]] = {}
        self._heard: dict[int, float] = {}
        self._left: set[int] = set()

    # ----- begin and end

    def start(self) -> None:
        """Tell every rank which run it serves."""
        self._begun = now = self._clock()
        for rank in range(1, self._world.size):
            end = _RankEnd(self._world, rank)
            peer: PoolWorker[TaskOnNode] = PoolWorker(
                f"{self._setup.manager}-{rank}", now, data=end, control=end, rank=rank - 1
            )
            self._ranks[rank] = peer
            self.peers.append(peer)
            self.queue.add(peer)
            end.send([self._setup])

    def close(self, deadline: float | None = None) -> None:
        """Have every rank end its worker, and wait for that, for some seconds at most."""
        self._closing = True
        self._software.close()
        for rank in self._ranks.keys() - self._left:
            self._world.send(rank, [Refused("its pool ends")])
        # A pool that has lost a rank is ended by force anyway.
        until = min(self._clock() + (1.0 if self.broken else _GOODBYE), deadline or float("inf"))
        while not self.broken and len(self._left) < len(self._ranks) and self._clock() < until:
            if not self._read(self._clock()):
                sleep(0.002)
        self._world.flush(max(0.0, until - self._clock()))
        self.all_left = len(self._left) == len(self._ranks)
        for peer in self.peers:
            self.queue.remove(peer)
        self.peers.clear()

    def reap(self) -> None:
        """Do nothing: no worker is a child of this process."""

    def report_states(self) -> None:
        """Do nothing: the ranks report the states of their workers."""

    # ----- tasks go out

    def _limit(self, task: TaskOnNode, peer: PoolWorker[TaskOnNode], now: float) -> None:
        """Do nothing: the manager of the rank stops a task that runs too long."""

    def stop_task(self, task: TaskOnNode, now: float) -> None:
        """Have the rank stop a cancelled task."""
        peer = task.worker
        assert isinstance(peer, PoolWorker)
        peer.data.send([InterruptTask(task.id)])

    # ----- messages of the ranks

    def next_deadline(self) -> float | None:
        """Return when to look for messages, or to send heartbeats."""
        return min(self._pause.due, self._next_beat)

    def probe_silent(self, now: float) -> None:
        """Read what the ranks have sent, and find those that were silent for too long."""
        found = self._read(now)
        under_way = self._world.progress()
        # Ranks that have work answer soon.
        self._pause.looked(found or under_way, now)
        if now >= self._next_beat and not self.broken:
            self._beat(now)

    def _read(self, now: float) -> bool:
        arrived = self._world.receive()
        for rank, (messages, frames) in arrived:
            self._heard[rank] = now
            peer = self._ranks.get(rank)
            if peer is None:
                continue
            self.received(peer, [(messages, frames)])
            for message in messages:
                self._other(rank, peer, message, now)
        return bool(arrived)

    def _other(self, rank: int, peer: PoolWorker[TaskOnNode], message: WireMessage, now: float) -> None:
        match message:
            case Outcome():
                # By our clock: that of another host may differ.
                self._on_node.progress = now
            case TaskSample():
                self._pass_on(message)
            case NodeSample() if rank == 1:  # of the ranks of our own host one is enough
                self._pass_on(message)
            case WorkerStateChanged(worker=worker, state=state, pid=pid, reason=reason):
                self._host.emit(WorkerMoved(now, worker, self.label, state, peer.host, pid, reason))
            case ManagerHello():
                self._joined(peer, message)
            case ManagerLeft(reason=reason) | ManagerBroken(reason=reason):
                self._left.add(rank)
                if not self._closing:
                    self._lose(rank, f"has left: {reason}")

    def _joined(self, peer: PoolWorker[TaskOnNode], hello: ManagerHello) -> None:
        if hello.package != self._run.package:
            self._lose(peer.rank + 1, f"has parslab {hello.package}, this run {self._run.package}")
            return
        peer.host, peer.pid = hello.host, hello.pid
        peer.usable = peer.greeted = True
        self._wide.settle(peer)
        peer.data.send([ManagerAccepted()])

    def _beat(self, now: float) -> None:
        """Send every rank a heartbeat, and end the pool if one was silent for too long."""
        self._next_beat = self._silence.begin(now)
        for rank, peer in self._ranks.items():
            heard = self._heard.get(rank)
            if heard is None:
                if now - self._begun > _START:
                    self._lose(rank, f"has not started within {_START:.0f} s")
                    return
            elif self._silence.is_lost(heard, now):
                self._lose(rank, f"was silent for {now - heard:.0f} s")
                return
            peer.data.send([LinkHeartbeat()])

    def _lose(self, rank: int, why: str) -> None:
        """End the pool because of one of its ranks."""
        if self.broken:
            return
        peer = self._ranks[rank]
        where = f" (host {peer.host}, process {peer.pid})" if peer.host else ""
        self._break(f"rank {rank} of its MPI job{where} {why}, and an MPI job cannot go on without one of its ranks")
