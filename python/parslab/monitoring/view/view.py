"""Keeps the current state of a run, which it builds from events.

[core]  The monitor applies batches of events on the DataFlowKernel's loop.  The feed reads counts, nodes, workers and
notices.  The store gets the rows that changed.  The view hands each event to the part that keeps its object.
Invariants, besides those of the parts:

* the counts over all apps and states add up to the number of tasks, and the unfinished ones are in memory;
* a snapshot, with the later changes applied to it, equals a later snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.monitoring.failures.groups import FailureGroups
from parslab.monitoring.store.batch import Batch
from parslab.monitoring.store.tables import FAILURE_GROUP
from parslab.monitoring.view.blocks import BlockRows
from parslab.monitoring.view.counts import StateCounts
from parslab.monitoring.view.details import Details
from parslab.monitoring.view.graph import GraphView
from parslab.monitoring.view.managers import ManagerRows
from parslab.monitoring.view.notices import Notices
from parslab.monitoring.view.rate import FinishRate
from parslab.monitoring.view.run import RunStatus
from parslab.monitoring.view.scale import ScaleHistory
from parslab.monitoring.view.tasks import TaskRows
from parslab.monitoring.view.workers import WorkerRows
from parslab.records.events import (
    BlockMoved,
    ClientAttached,
    ClientLeft,
    Event,
    ExecutorStopped,
    FailureRecalled,
    LeaseMoved,
    ManagerMoved,
    NodeSampled,
    NoticeRaised,
    OutputWritten,
    OwnJobFound,
    RunEnded,
    RunStarted,
    TaskAdopted,
    TaskFailed,
    TaskMoved,
    TaskPlaced,
    TaskReopened,
    TaskSampled,
    TaskSubmitted,
    WorkerMoved,
)
from parslab.records.panel import GRAPH_LIMIT, Overview, ScalePoint
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["View"]

_READY = TaskState.ready.name


class View:
    """The current state of one run.

    Parameters
    ----------
    graph_limit
        The largest number of nodes in the graph.
    restarts
        How often the DataFlowKernel of this run was restarted.
    """

    def __init__(self, graph_limit: int = GRAPH_LIMIT, restarts: int = 0) -> None:
        self._batch = Batch()
        self.run = RunStatus(self._batch)
        self.counts = StateCounts()
        self.graph = GraphView(graph_limit)
        self.blocks = BlockRows()
        self.managers = ManagerRows(self.blocks)
        self.workers = WorkerRows(self.managers)
        self.failures = FailureGroups()
        self.tasks = TaskRows(
            counts=self.counts,
            graph=self.graph,
            workers=self.workers,
            failures=self.failures,
            batch=self._batch,
        )
        self.scaling = ScaleHistory()
        self.notices = Notices(self._batch, restarts)
        self.changed = False  # whether panels lack a change; the feed sets it to False
        self._details = Details(self._batch)
        self._rate = FinishRate()
        self._dropped = 0
        self._always_visible: frozenset[type] = frozenset()
        """Events that panels show, whatever else happens."""
        self._handlers = self._made_handlers()

    def _made_handlers(self) -> dict[type, Callable[[Any], object]]:
        """Return the function for each type of event, and note the types that panels always show."""
        always_visible: dict[type, Callable[[Any], object]] = {
            RunStarted: self.run.started,
            OwnJobFound: self.run.own_job_found,
            RunEnded: self.run.ended,
            ClientAttached: self.run.client_attached,
            LeaseMoved: self.run.lease_moved,
            ExecutorStopped: self.run.executor_stopped,
            NoticeRaised: self.notices.raised,
            WorkerMoved: self.workers.moved,
            BlockMoved: self._block_moved,
            ManagerMoved: self._manager_moved,
        }
        self._always_visible = frozenset(always_visible)
        return always_visible | {
            TaskSubmitted: self.tasks.submitted,
            TaskMoved: self.tasks.moved,
            TaskAdopted: self.tasks.adopted,
            TaskReopened: self.tasks.reopened,
            TaskFailed: self.tasks.failed,
            FailureRecalled: self.failures.recalled,
            OutputWritten: self._details.output_written,
            TaskSampled: self._details.task_sampled,
            TaskPlaced: self._details.task_placed,
            NodeSampled: self._node_sampled,
            ClientLeft: self._client_left,
        }

    # ----- events in

    def apply(self, events: Iterable[Event], now: float) -> None:
        """Apply a batch of events at ``now``."""
        tasks = self.tasks
        finished_before = tasks.finished
        handlers, always_visible = self._handlers, self._always_visible
        moved, submitted = tasks.moved, tasks.submitted
        for event in events:
            # Nearly all events are of these two types, and two comparisons cost less than the dictionary.
            if type(event) is TaskMoved:
                moved(event)
            elif type(event) is TaskSubmitted:
                submitted(event)
            else:
                handlers[type(event)](event)
                if type(event) in always_visible:
                    self.changed = True
        self.workers.pass_on_finished()
        tasks.settle_failures()
        if tasks.changed:
            self.changed, tasks.changed = True, False
        if tasks.finished != finished_before or tasks.rate_offset:
            self._rate.add(tasks.finished - finished_before + tasks.rate_offset, now)
            tasks.rate_offset = 0
        # A run whose workers are all on this host has no blocks, and so nothing that scales.
        if self.blocks.rows:
            self.scaling.add(now, self.blocks.running, self.managers.workers, self.counts.total(_READY))

    def clock_changed(self, since: float, offset: float) -> None:
        """Report to panels that times from ``since`` on differ by ``offset`` seconds from the wall clock."""
        self.run.clock_changed(since, offset)
        self.changed = True

    def _block_moved(self, event: BlockMoved) -> None:
        outdated = self.blocks.moved(event)
        if outdated is not None:
            self._batch.blocks += self.blocks.forget(outdated)

    def _manager_moved(self, event: ManagerMoved) -> None:
        if self.managers.moved(event):
            self.workers.manager_left(event.manager, event.time, event.reason)
        for name in self.managers.outdated():
            self._batch.managers += self.managers.forget(name)

    def _node_sampled(self, event: NodeSampled) -> None:
        if self.managers.sampled(event):
            self._details.node_sampled(event)
            self.changed = True
        else:
            self._dropped += 1

    def _client_left(self, event: ClientLeft) -> None:
        if self.run.client_left(event):
            self.changed = True
        else:
            self._dropped += 1

    # ----- for panels

    @property
    def dropped(self) -> int:
        """How many events were impossible, and so ignored."""
        return self._dropped + self.tasks.dropped

    @property
    def unfinished(self) -> int:
        """Tasks that have not reached a final state."""
        return self.tasks.total - self.tasks.finished

    @property
    def hidden(self) -> int:
        """Tasks that the graph does not show."""
        return self.tasks.total - len(self.graph.nodes)

    def overview(self, now: float) -> Overview:
        """Return the totals of the run."""
        counts, apps = self.counts.overview()
        scale = None
        if self.blocks.rows:
            scale = ScalePoint(now, self.blocks.running, self.managers.workers, counts.get(_READY, 0))
        return Overview(
            now=now,
            counts=counts,
            apps=apps,
            rate=self._rate.rate(now),
            workers_busy=self.workers.busy(),
            workers_total=self.workers.alive(),
            tasks_total=self.tasks.total,
            clients=self.run.clients,
            scale=scale,
        )

    # ----- for the store

    @property
    def unwritten(self) -> bool:
        """Whether ``take_batch`` would return anything."""
        parts = (self.tasks, self.workers, self.blocks, self.managers, self.failures)
        return any(part.unwritten for part in parts) or bool(self._batch)

    def take_batch(self) -> Batch:
        """Return the rows that changed since the last call, and drop finished tasks from memory."""
        # take_rows() adds to this batch, too, so the content is taken at the end.
        batch = self._batch
        self.tasks.take_rows()
        batch.workers += self.workers.take_unwritten()
        batch.blocks += self.blocks.take_unwritten()
        batch.managers += self.managers.take_unwritten()
        batch.failure_groups += [FAILURE_GROUP.cells(group) for group in self.failures.take_unwritten()]
        return batch.take()
