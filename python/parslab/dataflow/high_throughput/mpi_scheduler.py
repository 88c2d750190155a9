"""Queues the tasks of an executor in MPI mode and decides which nodes each one gets [core].

A manager owns all nodes of its block.  A task is sent only when its nodes or cores are free and a worker of the manager
has nothing to do, so nothing waits behind another task on a node.

Rules of order:

- Tasks with a priority run before tasks without one; the smallest number runs first.  Among equals the first one that
  was submitted runs first.  A task that is tried again goes in front of its equals.
- The first task that does not fit claims the nodes of a block that will be free first for it; later tasks use only
  other nodes.  It keeps its claim until other nodes miss fewer cores, so no stream of small tasks starves a large one.
  A later task of another size that does not fit may claim nodes of another block.
- Tasks behind it overtake it where they fit beside the claims.

There is one line for each size that tasks ask for.  Where the first task of a line does not fit, no other one of that
line fits.  So the cost of a round grows with the number of sizes, and not with the number of tasks that wait.

Invariants: a task is in one line or in the ``inflight`` of one manager, never both; a task in flight has its nodes; no
core belongs to two tasks; a manager has at most as many tasks as workers.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Generic, NamedTuple

from parslab.dataflow.high_throughput.node_map import NodeMap
from parslab.dataflow.high_throughput.scheduler import SlotT
from parslab.records.mpi import MpiSpec
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from parslab.dataflow.graph.task import NextAttempt, Task
    from parslab.records.mpi import MpiNode, MpiPlacement

__all__ = ["MpiScheduler"]

_LOOKED_AT = 256
"""The most sizes that one round finds no room for; it bounds the cost of a round."""
_ONE_CORE = MpiSpec(1, 1, 1, cores=1)
"""What a task without an MPI part takes: the transfer of a file."""


class _Entry(NamedTuple):
    """A place in a line; the smallest one is first."""

    unwanted: bool
    """Whether the task has no priority: such tasks run last."""
    priority: float
    order: int
    """Rises with each task; below zero for tasks that are tried again."""
    task: Task


class MpiScheduler(Generic[SlotT]):
    """The ready tasks and the managers of one executor in MPI mode; the methods are those of ``Scheduler``.

    Parameters
    ----------
    nodes_of
        Returns the nodes of a manager's block.
    """

    def __init__(self, nodes_of: Callable[[SlotT], Sequence[MpiNode]]) -> None:
        self.slots: dict[str, SlotT] = {}
        self._nodes_of = nodes_of
        self._maps: dict[str, NodeMap] = {}
        self._placements: dict[int, MpiPlacement] = {}
        """The nodes of each task in flight."""
        self._claims: dict[int, tuple[str, frozenset[int]]] = {}
        """The block and the nodes that waiting tasks have claimed in the last round."""
        self._lines: dict[MpiSpec, list[_Entry]] = {}
        """The queued tasks of each size, as heaps; none is empty."""
        self._order = itertools.count()
        # Falling numbers below zero: the task that was put back last is the first one again.
        self._back = itertools.count(-1, -1)

    @property
    def waiting(self) -> int:
        """Return how many tasks are queued; cancelled ones count until the queue meets them."""
        return sum(map(len, self._lines.values()))

    @property
    def wanted(self) -> int:
        """Return how many cores the queued tasks will take."""
        nodes = next(iter(self._maps.values()), None)
        slot = next(iter(self.slots.values()), None)
        return sum(
            sum(entry.task.state is TaskState.ready for entry in line)
            * (1 if nodes is None or slot is None else self._weight(slot, nodes, spec))
            for spec, line in self._lines.items()
        )

    @staticmethod
    def _weight(slot: SlotT, nodes: NodeMap, spec: MpiSpec) -> int:
        # A task also takes a worker: with few workers, blocks are full before their cores are.
        return max(min(nodes.wants(spec), nodes.cores), -(-nodes.cores // slot.workers))

    def placement(self, task: int) -> MpiPlacement | None:
        """Return where a task in flight runs."""
        return self._placements.get(task)

    # ----- tasks arrive

    def put(self, tasks: Iterable[Task]) -> None:
        """Queue tasks that are ready."""
        for task in tasks:
            self._insert(task, next(self._order))

    def put_back(self, tasks: Sequence[Task]) -> None:
        """Queue tasks that a manager gave back in front of their equals."""
        for task in reversed(tasks):
            self._insert(task, next(self._back))

    def put_again(self, tasks: Sequence[NextAttempt], now: float) -> None:
        """Queue tasks for their next attempt in front of their equals."""
        self.put_back([again.task for again in tasks])

    def _insert(self, task: Task, order: int) -> None:
        priority = task.spec.priority if task.spec is not None else None
        entry = _Entry(priority is None, priority or 0.0, order, task)
        heapq.heappush(self._lines.setdefault(spec_of(task), []), entry)

    def drop(self, ids: Collection[int]) -> None:
        """Remove cancelled tasks, because they are about to be queued again."""
        for spec in list(self._lines):
            self._keep(spec, lambda task: task.id not in ids)

    def discard(self, task: Task) -> None:
        """Remove one task from the queue."""
        spec = spec_of(task)
        line = self._lines.get(spec, [])
        if line and line[0].task is task:
            self._drop_first(spec)
        else:
            self._keep(spec, lambda one: one is not task)

    def _keep(self, spec: MpiSpec, wanted: Callable[[Task], bool]) -> None:
        line = [entry for entry in self._lines.pop(spec, []) if wanted(entry.task)]
        if line:
            heapq.heapify(line)
            self._lines[spec] = line

    def _drop_first(self, spec: MpiSpec) -> _Entry | None:
        """Take the first task out of a line; return the next one."""
        line = self._lines[spec]
        heapq.heappop(line)
        if not line:
            del self._lines[spec]
        return line[0] if line else None

    def take_all(self) -> list[Task]:
        """Empty the queue and return its tasks."""
        taken = [entry.task for entry in sorted(itertools.chain(*self._lines.values()))]
        self._lines.clear()
        return taken

    # ----- managers join and leave

    def add(self, slot: SlotT) -> None:
        """Add a manager."""
        self.slots[slot.name] = slot
        self._maps[slot.name] = NodeMap(self._nodes_of(slot))
        slot.size = self._maps[slot.name].cores

    def remove(self, slot: SlotT) -> list[Task]:
        """Remove a manager; returns the tasks it held, in the order in which they were sent."""
        self.slots.pop(slot.name, None)
        self._maps.pop(slot.name, None)
        held = list(slot.inflight.values())
        slot.inflight, slot.load, slot.expected = {}, 0, 0.0
        slot.draining = True
        for task in held:
            task.worker = None
            self._placements.pop(task.id, None)
        return held

    def hold(self, slot: SlotT, held: bool) -> None:
        """Stop or resume giving new tasks to a manager."""
        slot.held = held

    def drain(self, slot: SlotT) -> None:
        """Give this manager no tasks any more."""
        slot.draining = True

    # ----- tasks go out

    def assign(self, now: float) -> list[tuple[SlotT, list[Task]]]:
        """Take tasks from the line for nodes that are free, in the order of the rules above."""
        if not self.slots:
            return []
        given: dict[str, tuple[SlotT, list[Task]]] = {}
        closed: dict[str, frozenset[int]] = {}
        before, self._claims = self._claims, {}
        # Of each line only the first task competes, until it is sent or does not fit.
        first = [line[0] for line in self._lines.values()]
        heapq.heapify(first)
        waiting = 0
        while first and waiting < _LOOKED_AT:
            task = first[0].task
            spec = spec_of(task)
            if task.state is TaskState.ready:  # else it was cancelled while it waited
                slot = self._place(task, spec, closed)
                if slot is None:
                    # What did not fit once in this round does not fit later in it.
                    heapq.heappop(first)
                    waiting += 1
                    self._claim(task, spec, closed, before.get(task.id, ("", frozenset())))
                    continue
                self._send(slot, task, spec)
                given.setdefault(slot.name, (slot, []))[1].append(task)
            follower = self._drop_first(spec)
            if follower is None:
                heapq.heappop(first)
            else:
                heapq.heapreplace(first, follower)
        return list(given.values())

    def _usable(self) -> list[tuple[SlotT, NodeMap]]:
        return [(slot, self._maps[slot.name]) for slot in self.slots.values() if slot.usable]

    def _place(self, task: Task, spec: MpiSpec, closed: dict[str, frozenset[int]]) -> SlotT | None:
        """Give a task nodes of the fullest block where it fits, so that other blocks become idle."""
        able = [(slot, nodes) for slot, nodes in self._usable() if len(slot.inflight) < slot.workers]
        for slot, nodes in sorted(able, key=lambda pair: pair[1].cores - pair[1].busy):
            placement = nodes.take(task.id, spec, closed.get(slot.name, ()))
            if placement is not None:
                self._placements[task.id] = placement
                return slot
        return None

    def _send(self, slot: SlotT, task: Task, spec: MpiSpec) -> None:
        slot.inflight[task.id] = task
        task.worker = slot
        slot.load += self._weight(slot, self._maps[slot.name], spec)
        slot.idle_since = None

    def _claim(
        self, task: Task, spec: MpiSpec, closed: dict[str, frozenset[int]], before: tuple[str, frozenset[int]]
    ) -> None:
        """Close the nodes that become free first for a task, on a block on which no task before it has a claim."""
        block, last = before
        claims = [
            (claim, slot.name)
            for slot, nodes in self._usable()
            if slot.name not in closed and (claim := nodes.claim(spec, last if slot.name == block else ())) is not None
        ]
        if claims:
            claim, name = min(claims, key=lambda pair: (pair[0].missing, pair[1] != block))
            closed[name] = claim.nodes
            self._claims[task.id] = name, claim.nodes

    # ----- tasks that never fit, and tasks that wait

    def unfit(self) -> list[Task]:
        """Return the tasks that ask for more than any block has; empty while no manager is connected."""
        if not self.slots:
            return []
        return [
            entry.task
            for spec, line in self._lines.items()
            if not any(nodes.fits(spec) for nodes in self._maps.values())
            for entry in sorted(line)
            if entry.task.state is TaskState.ready
        ]

    def largest(self) -> tuple[int, int]:
        """Return the nodes of the largest block, and the cores of the largest node."""
        every = [nodes.nodes for nodes in self._maps.values()]
        return max(map(len, every), default=0), max((node.cores for one in every for node in one), default=0)

    def why_waiting(self, task: Task) -> str | None:
        """Say why a queued task waits; None if it is not queued."""
        spec = spec_of(task)
        own = next((entry for entry in self._lines.get(spec, []) if entry.task is task), None)
        if own is None:
            return None
        if not self.slots:
            return "waits for a block: none is connected"
        usable = self._usable()
        if not usable:
            return "waits because all blocks are held or leave"
        every = itertools.chain(*self._lines.values())
        place = sum(entry < own and entry.task.state is TaskState.ready for entry in every)
        before = f" ({place} task{'s' * (place > 1)} before it)" if place else ""
        block, last = self._claims.get(task.id, ("", frozenset()))
        claims = [
            (claim, nodes, slot.name)
            for slot, nodes in usable
            if (claim := nodes.claim(spec, last if slot.name == block else ())) is not None
        ]
        if not claims:
            return f"waits for a block that is large enough{before}"
        claim, nodes, _ = min(claims, key=lambda found: (found[0].missing, found[2] != block))
        what = f"{spec.cores} core{'s' * (spec.cores > 1)} of a node" if spec.cores else _whole(spec.nodes)
        if not claim.missing:
            full = all(len(slot.inflight) >= slot.workers for slot, _ in usable)
            for_whom = "a worker: all run tasks" if full else "tasks before it that have a claim on free nodes"
            return f"waits for {for_whom}{before}"
        where = ", ".join(nodes.names(claim.nodes))
        return f"waits for {what}: the nearest ({where}) still miss {claim.missing} busy cores{before}"

    # ----- messages of managers

    def ended(self, slot: SlotT, task_id: int, took: float, now: float) -> Task | None:
        """Note the outcome of a task; return None if the manager does not hold the task (late or doubled)."""
        slot.last_seen = now
        task = slot.inflight.get(task_id)
        if task is not None:
            self._freed(slot, task, now)
        return task

    def returned(self, slot: SlotT, ids: Iterable[int], now: float) -> list[Task]:
        """Take back tasks that a manager has not begun; the caller queues them (:meth:`put_back`)."""
        slot.last_seen = now
        back = [task for i in ids if (task := slot.inflight.get(i)) is not None]
        for task in back:
            self._freed(slot, task, now)
        return back

    def _freed(self, slot: SlotT, task: Task, now: float) -> None:
        del slot.inflight[task.id]
        task.worker = None
        self._placements.pop(task.id, None)
        slot.load -= self._weight(slot, self._maps[slot.name], spec_of(task))
        self._maps[slot.name].release(task.id)
        if not slot.inflight:
            slot.idle_since = now

    def check(self) -> None:
        """Check the invariants; for tests."""
        queued = [entry.task.id for line in self._lines.values() for entry in line]
        assert len(queued) == len(set(queued))
        for spec, line in self._lines.items():
            assert {spec_of(entry.task) for entry in line} == {spec}
            assert all(line[(place - 1) // 2] < entry for place, entry in enumerate(line) if place)
        flying: set[int] = set()
        for name, slot in self.slots.items():
            nodes = self._maps[name]
            nodes.check()
            assert len(slot.inflight) <= slot.workers, name
            assert not flying & set(slot.inflight), name
            flying |= set(slot.inflight)
            assert slot.load == sum(self._weight(slot, nodes, spec_of(task)) for task in slot.inflight.values()), name
            assert (slot.idle_since is None) == bool(slot.inflight), name
        assert flying == set(self._placements)
        assert flying.isdisjoint(queued)


def spec_of(task: Task) -> MpiSpec:
    """Return the nodes and ranks that a task asks for."""
    return task.spec.mpi or _ONE_CORE if task.spec is not None else _ONE_CORE


def _whole(nodes: int) -> str:
    return "a whole node" if nodes == 1 else f"{nodes} whole nodes"
