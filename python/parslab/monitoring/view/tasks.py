"""Keeps the tasks of a run that are not finished, or that the store does not have yet.

[core]  The view owns the rows.  This code is hot, with up to four events per task.  So each event costs a look-up and a
few attributes, and all moves of a task between two flushes become one row.  Events arrive in the order of the
DataFlowKernel's loop, and this module trusts their states.  It ignores only impossible events, and counts them in
``dropped``.  Invariants:

* a task that reached a final state leaves it only when it is reopened, and counts as finished once;
* each state that a task entered has its time, and states that it was taken back from have none;
* after ``take_rows`` no finished task is in memory.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from parslab.monitoring.failures.groups import LastAttempt
from parslab.monitoring.failures.patterns import pattern_of
from parslab.monitoring.store.tables import REOPENED, TASK, StoredAttempt, StoredFailure, StoredTask
from parslab.monitoring.view.seen import SeenTasks
from parslab.monitoring.view.text import ERROR, TEXT, TRACEBACK, clipped
from parslab.records.events import TaskMoved
from parslab.records.reasons import Reason
from parslab.records.states import EXECUTING, RANK, TASK_STATES, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.monitoring.failures.groups import FailureGroups
    from parslab.monitoring.store.batch import Batch
    from parslab.monitoring.view.counts import StateCounts
    from parslab.monitoring.view.graph import GraphView
    from parslab.monitoring.view.workers import WorkerRows
    from parslab.records.events import TaskAdopted, TaskFailed, TaskReopened, TaskSubmitted
    from parslab.records.panel import GraphNode

__all__ = ["LiveTask", "TaskRows"]

# Lists that the number of a state indexes, because an index into a list is faster than a look-up in a dictionary.
_NAME = [""] * (max(TaskState) + 1)
_RANK = [0] * len(_NAME)
_COLUMN = [""] * len(_NAME)
for _state, _info in TASK_STATES.items():
    _NAME[_state] = _state.name
    _RANK[_state] = RANK[_state]
    _COLUMN[_state] = _info.column
_COLUMNS = tuple(dict.fromkeys(info.column for info in TASK_STATES.values()))
"""Columns with the times of states, by rank."""
_READY, _END = RANK[TaskState.ready], max(RANK.values())
_EXECUTING = frozenset(RANK[state] for state in EXECUTING)
_PENDING_NAME, _READY_NAME = TaskState.pending.name, TaskState.ready.name
_DEPENDENCY, _APP_ERROR = Reason.dependency.value, Reason.app_error.value


class LiveTask(StoredTask, kw_only=True, gc=False):
    """A task in memory: the fields that the store keeps, and those that its events need.

    The fields of ``StoredTask`` come first, so a row for the store is a slice of this struct.
    """

    rank: int
    """``RANK`` of the state, which rises as the task progresses."""
    counts: dict[str, int]
    """The counts of its app by state, kept here to save a look-up per event."""
    node: GraphNode | None
    """Its node, or None if the graph does not show the task."""
    changed: bool = True
    """Whether the row changed since the store got it, and so is in the list of changed rows."""
    incomplete: bool = False
    """Whether the task had left memory and was reopened, so that only its columns ``REOPENED`` have true values."""


_cells = msgspec.structs.astuple
_WIDTH = len(TASK.columns)
_reopened_cells: Callable[[LiveTask], tuple[object, ...]] = attrgetter(*REOPENED, "id")


class TaskRows:
    """Rows by id of the task.

    Parameters
    ----------
    counts, graph, workers
        The parts of the view that each move of a task updates.
    failures
        The part of the view that failed attempts update.
    batch
        The batch that receives rows for the store.
    """

    __slots__ = (
        "_batch",
        "_changed_rows",
        "_counts",
        "_failures",
        "_graph",
        "_rows",
        "_seen",
        "_workers",
        "changed",
        "dropped",
        "finished",
        "rate_offset",
        "total",
    )

    def __init__(
        self,
        *,
        counts: StateCounts,
        graph: GraphView,
        workers: WorkerRows,
        failures: FailureGroups,
        batch: Batch,
    ) -> None:
        self.total = 0
        self.finished = 0
        self.rate_offset = 0
        """Correction of the rate: reopened tasks lower ``finished``, and recovered ones did not finish just now."""
        self.dropped = 0
        """How many events were impossible, and so ignored."""
        self.changed = False
        """Whether panels lack a change; the view sets it to False."""
        self._counts = counts
        self._graph = graph
        self._failures = failures
        self._workers = workers
        self._batch = batch
        self._seen = SeenTasks()
        self._rows: dict[int, LiveTask] = {}
        self._changed_rows: list[LiveTask] = []

    @property
    def unwritten(self) -> bool:
        """Whether the store lacks the present values of a row."""
        return bool(self._changed_rows)

    @property
    def in_memory(self) -> list[int]:
        """Ids of the tasks that are in memory."""
        return list(self._rows)

    def called_by(self, client: int, cell: str) -> list[int]:
        """Return ids of the unfinished tasks that this cell of this client has called."""
        return [row.id for row in self._rows.values() if row.cell == cell and row.client == client and row.rank < _END]

    def take_rows(self) -> None:
        """Put the rows that changed into the batch; finished tasks leave memory."""
        changed, self._changed_rows = self._changed_rows, []
        batch = self._batch
        batch.tasks += [_cells(row)[:_WIDTH] for row in changed if not row.incomplete]
        batch.reopened += [_reopened_cells(row) for row in changed if row.incomplete]
        for row in changed:
            # Only the store keeps finished tasks, so that memory does not grow with the length of a run.
            if row.rank == _END:
                del self._rows[row.id]
            else:
                row.changed = False

    # ----- events

    def submitted(self, event: TaskSubmitted) -> None:
        """A task entered the graph; the event also holds the moves that happened before this read."""
        if not self._seen.add(event.task):
            self.dropped += 1
            return
        event.open = False  # from now on the DataFlowKernel sends an event for each move
        app = event.app
        counts = self._counts.by_app.get(app) or self._counts.add(app := clipped(app, TEXT))
        rank = _RANK[event.state]
        has_moved = event.ready or event.launched or event.ended or event.recalled
        # A task starts pending or ready.  Without times, any other state is a move that follows at once.
        state = _NAME[event.state] if has_moved else _READY_NAME if rank == _READY else _PENDING_NAME
        counts[state] += 1
        graph = self._graph
        node = None if graph.full else graph.add(event.task, app, state, event.deps)
        self.total += 1
        self.changed = True
        if event.deps:
            self._batch.edges += [(event.task, dep) for dep in event.deps]
        if has_moved and rank == _END:
            return self._add_finished(event, app, state)
        # Times are set later: a call with more than 15 keywords makes a dictionary, which costs more than this struct.
        row = LiveTask(
            id=event.task,
            app=app,
            state=state,
            executor=event.executor,
            submitted=event.time,
            shown=clipped(event.shown, TEXT) if event.shown else "",
            cell=clipped(event.cell, TEXT) if event.cell else "",
            client=event.client,
            rank=rank if has_moved or rank == _READY else 0,
            counts=counts,
            node=node,
        )
        if has_moved:
            row.ready, row.launched = event.ready or None, event.launched or None
            row.started, row.joining, row.worker = event.started or None, event.joining or None, event.worker
        elif rank == _READY:
            row.ready = event.time
        self._add(row, event)

    def _add(self, row: LiveTask, event: TaskSubmitted) -> None:
        """Keep a row, and apply the move that its event implies."""
        self._rows[row.id] = row
        self._changed_rows.append(row)
        if row.rank in _EXECUTING and row.worker:
            self._workers.began(row.worker, row.id)
        elif _RANK[event.state] > row.rank:
            self.moved(TaskMoved(event.time, event.task, event.state))

    def _add_finished(self, event: TaskSubmitted, app: str, state: str) -> None:
        """Give the store a task that finished before this first read, without a row in memory."""
        row = StoredTask(
            id=event.task,
            app=app,
            state=state,
            executor=event.executor,
            submitted=event.time,
            ready=event.ready or None,
            launched=event.launched or None,
            started=event.started or None,
            joining=event.joining or None,
            ended=event.ended,
            worker=event.worker,
            shown=clipped(event.shown, TEXT) if event.shown else "",
            cell=clipped(event.cell, TEXT) if event.cell else "",
            client=event.client,
        )
        self.finished += 1
        if event.recalled:
            self.rate_offset -= 1  # it did not finish just now
            self._batch.recovered.append(_cells(row))
        else:
            self._batch.tasks.append(_cells(row))
        if event.worker:
            self._workers.ended(event.worker, event.task)

    def moved(self, event: TaskMoved) -> None:
        """A task entered a state."""
        row = self._rows.get(event.task)
        if row is None:
            self.dropped += 1
            return
        code = event.state
        rank = _RANK[code]
        if (rank <= row.rank or event.attempt != row.attempt) and not self._accept(row, event, rank):
            return
        state = _NAME[code]
        counts = row.counts
        counts[row.state] -= 1
        counts[state] += 1
        row.state = state
        row.rank = rank
        setattr(row, _COLUMN[code], event.time)
        if event.worker:
            row.worker = event.worker
        if rank == _END:
            self.finished += 1
            if row.worker:
                self._workers.ended(row.worker, event.task)
        elif rank in _EXECUTING and row.worker:
            self._workers.began(row.worker, event.task)
        if row.node is not None:
            self._graph.move(row.node, state)
        self.changed = True
        if not row.changed:
            row.changed = True
            self._changed_rows.append(row)

    def _accept(self, row: LiveTask, event: TaskMoved, rank: int) -> bool:
        """Return whether a move that is not the usual next one counts, and prepare the row for it."""
        if row.rank == _END or (rank == row.rank and event.attempt <= row.attempt):
            self._add_time(row, event)
            return False
        if event.attempt < row.attempt and rank < _END:
            self.dropped += 1
            return False
        if event.attempt > row.attempt:
            row.attempt, row.error = event.attempt, ""
        if rank <= row.rank:
            # A worker gave the task back, or the task is retried, so the times of later states are no longer true.
            for column in _COLUMNS[max(rank, 1) : _END]:
                setattr(row, column, None)
            row.worker = ""
        return True

    def _add_time(self, row: LiveTask, event: TaskMoved) -> None:
        """Set the time of a late event if the row has no time for its state; else count the event as impossible."""
        column = _COLUMN[event.state]
        if event.attempt == row.attempt and _RANK[event.state] < row.rank and getattr(row, column) is None:
            setattr(row, column, event.time)
            row.worker = row.worker or event.worker
            self._mark(row)
        else:
            self.dropped += 1

    def adopted(self, event: TaskAdopted) -> None:
        """A call of the next notebook kernel has adopted a task."""
        row = self._rows.get(event.task)
        cell = clipped(event.cell, TEXT)
        # A finished task may have left memory.  Then only the store has its row.
        if row is not None:
            row.cell, row.client = cell, event.client
            self._mark(row)
        else:
            self._batch.adopted.append((cell, event.client, event.task))

    def reopened(self, event: TaskReopened) -> None:
        """A task that had finished without a result is run again."""
        self._failures.reopened(event.task)
        counts = self._counts.of(event.app)
        was, state, rank = _NAME[event.was], _NAME[event.state], _RANK[event.state]
        if not counts[was]:
            self.dropped += 1
            return
        counts[was] -= 1
        counts[state] += 1
        self.finished -= 1
        self.rate_offset += 1
        row = self._rows.get(event.task)
        if row is None:
            row = self._rows[event.task] = LiveTask(
                id=event.task,
                app=event.app,
                state=state,
                executor=event.executor,
                submitted=0.0,
                client=event.client,
                rank=rank,
                counts=counts,
                node=self._graph.nodes.get(event.task),
                changed=False,
                incomplete=True,
            )
        row.state, row.rank, row.attempt, row.worker, row.error = state, rank, event.attempt, "", ""
        for column in _COLUMNS[1:]:  # all but the time of its call, which stays true
            setattr(row, column, None)
        if rank:
            setattr(row, _COLUMN[event.state], event.time)
        if row.node is not None:
            self._graph.move(row.node, state)
        self.changed = True
        self._mark(row)

    def failed(self, event: TaskFailed) -> None:
        """An attempt of a task failed, or the task cannot run."""
        row = self._rows.get(event.task)
        if row is None:
            self.dropped += 1
            return
        error = clipped(event.error, ERROR)
        is_latest = event.attempt == row.attempt
        if event.attempt >= row.attempt:
            row.error = error
        self._mark(row)
        worker = event.worker or (row.worker if is_latest else "")
        attempt = LastAttempt(event.time, event.attempt, error, row.app, row.executor, worker)
        self._failures.attempt_failed(event.task, attempt)
        if event.reason != _DEPENDENCY:  # a task with a failed dependency was never attempted
            self._batch.attempts[event.task, event.attempt] = StoredAttempt(
                task=event.task,
                attempt=event.attempt,
                started=event.started or (row.started if is_latest else None),
                ended=event.time,
                worker=worker,
                reason=event.reason or _APP_ERROR,
                error=error,
            )
        traceback = event.traceback
        if len(traceback) > TRACEBACK:  # the end of a traceback names the error
            traceback = "…" + traceback[1 - TRACEBACK :]
        self._batch.failures.append(
            StoredFailure(
                task=event.task,
                attempt=event.attempt,
                error=clipped(event.error, TRACEBACK),
                traceback=clipped(traceback, TRACEBACK),
                failure_group=pattern_of(error).group,
            )
        )

    def settle_failures(self) -> None:
        """Count the tasks whose last attempt has failed; call this after each batch of events."""
        if self._failures.unsettled:
            self._failures.settle(self._state_and_attempt, self._workers.host_of)

    def _state_and_attempt(self, task: int) -> tuple[str, int] | None:
        row = self._rows.get(task)
        return None if row is None else (row.state, row.attempt)

    def _mark(self, row: LiveTask) -> None:
        if not row.changed:
            row.changed = True
            self._changed_rows.append(row)
