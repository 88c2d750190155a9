"""What a run looks like now, made of its events.

[core]  The monitor feeds it batches of events on the DataFlowKernel's loop; the feed reads counts, nodes, workers and
notices from it, the store gets the rows that changed.  It is hot (four events a task), so every event is one look-up
by type and a few attributes, and several moves of a task between two flushes are one row.

The loop is believed about states; only what cannot be is dropped and counted in ``strays``.  Invariants:

* the counts over all apps and states add up to ``total``, none is negative, and the unfinished ones are the records
  in memory that are not final;
* a task that reached a final state leaves it only when it is reopened, and is counted as finished once;
* a state that was entered has its time, and times of states that a task was taken back from are cleared;
* after ``take_batch`` no finished task is in memory, apart from its node in the graph (<= limit);
* a snapshot followed by the changes taken since equals a later snapshot.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.monitoring.output import PrintedOutput
from parslab.monitoring.store.rows import AGAIN, COLUMNS, SAMPLES, Batch, TaskRecord
from parslab.monitoring.view.blocks import BlockRows
from parslab.monitoring.view.graph import GraphView
from parslab.monitoring.view.managers import ManagerRows
from parslab.monitoring.view.rate import FinishRate
from parslab.monitoring.view.scale import ScaleHistory
from parslab.monitoring.view.seen import SeenNames
from parslab.monitoring.view.workers import WorkerRows
from parslab.records.events import (
    BlockMoved,
    ClientAttached,
    ClientLeft,
    Event,
    ExecutorStopped,
    LeaseMoved,
    ManagerMoved,
    NodeSampled,
    NoticeRaised,
    OutputWritten,
    RunEnded,
    RunStarted,
    TaskAdopted,
    TaskFailed,
    TaskMoved,
    TaskReopened,
    TaskSampled,
    TaskSubmitted,
    WorkerMoved,
)
from parslab.records.panel import GRAPH_LIMIT, ClientRow, Notice, Overview, RunInfo, ScalePoint
from parslab.records.reasons import Reason
from parslab.records.states import FINAL, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["APPS", "NOTICES", "OTHER_APPS", "RANK", "View", "clipped"]

APPS = 200
"""Apps that are counted one by one; later ones are counted together as ``OTHER_APPS``."""

OTHER_APPS = "(other apps)"

NOTICES = 100
"""Notices that are kept for a snapshot."""

TEXT, ERROR, TRACEBACK = 200, 1000, 64 * 1024
"""Longest name or argument list, error line and traceback that are kept, in characters."""

_SIZE = max(TaskState) + 1
NAME: list[str] = [""] * _SIZE
RANK: list[int] = [0] * _SIZE
"""How far a task is, by state: a higher rank follows a lower one, equal ranks exclude each other."""
_TIME: list[str] = [""] * _SIZE
_ORDER = (
    TaskState.pending,
    TaskState.ready,
    TaskState.launched,
    TaskState.running,
    TaskState.fail_retryable,
    TaskState.joining,
)
_FIELDS = ("submitted", "ready", "launched", "started", "retrying", "joining", "ended")
_END = len(_ORDER)
for _state in TaskState:
    NAME[_state] = _state.name
    RANK[_state] = _END if _state in FINAL else _ORDER.index(_state)
    _TIME[_state] = _FIELDS[RANK[_state]]
_LIFE = 1 << 32
"""More notices than a DataFlowKernel process raises."""
_WIDTH = len(COLUMNS)
_DEPENDENCY, _APP_ERROR = Reason.dependency.value, Reason.app_error.value
_anew = attrgetter(*AGAIN, "id")
_RUNNING = RANK[TaskState.running]
_cells = msgspec.structs.astuple


def clipped(text: str, size: int) -> str:
    """Bound a text, with an ellipsis where there was more, and replace what no encoding can carry (lone surrogates).

    Examples
    --------
    >>> clipped("abcdef", 4)
    'abc…'
    """
    if len(text) > size:
        text = text[: size - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class View:
    """The picture of one run.

    Parameters
    ----------
    graph_limit
        Nodes kept for the graph.
    lives
        How many DataFlowKernel processes of this run were lost before.
    """

    def __init__(self, graph_limit: int = GRAPH_LIMIT, lives: int = 0) -> None:
        self.run = RunInfo("", "", 0, "", [], 0.0, "")
        self.graph = GraphView(graph_limit)
        self.blocks = BlockRows()
        self.managers = ManagerRows(self.blocks)
        self.workers = WorkerRows(self.managers)
        self.scaling = ScaleHistory()
        self.notices: deque[Notice] = deque(maxlen=NOTICES)
        self.total = 0
        self.finished = 0
        self.strays = 0
        self.changed = False
        """Something that panels are told has changed; the feed lowers it."""
        self._rows: dict[int, TaskRecord] = {}
        self._dirty: list[TaskRecord] = []
        self._batch = Batch()
        self._groups: dict[str, dict[str, int]] = {}
        self._seen = SeenNames()
        self._done: dict[str, int] = {}
        """Tasks that managers have finished, as far as the batch that is being applied tells."""
        self._rate = FinishRate()
        self._reopened = 0
        """Tasks that were reopened in the batch that is being applied."""
        self._clients: dict[int, ClientAttached] = {}
        self._fresh_notices: deque[Notice] = deque(maxlen=NOTICES)
        self._notice_number = lives * _LIFE
        self._sample_number = 0
        self._run_changed = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            RunStarted: self._run_started,
            RunEnded: self._run_ended,
            ClientAttached: self._client_attached,
            ClientLeft: self._client_left,
            LeaseMoved: self._lease_moved,
            TaskSubmitted: self._task_submitted,
            TaskAdopted: self._task_adopted,
            TaskMoved: self._task_moved,
            TaskReopened: self._task_reopened,
            TaskFailed: self._task_failed,
            OutputWritten: self._output_written,
            WorkerMoved: self._worker_moved,
            BlockMoved: self._block_moved,
            ManagerMoved: self._manager_moved,
            NodeSampled: self._node_sampled,
            TaskSampled: self._task_sampled,
            ExecutorStopped: self._executor_stopped,
            NoticeRaised: self._notice_raised,
        }

    # ----- events in

    def apply(self, events: Iterable[Event], now: float) -> None:
        """Apply a batch of events, heard of at ``now``."""
        before = self.finished
        handlers, moved = self._handlers, self._task_moved
        for event in events:
            if type(event) is TaskMoved:
                moved(event)
            else:
                handlers[type(event)](event)
        if self._done:
            for manager, count in self._done.items():
                self.managers.worked(manager, 0, count)
            self._done.clear()
        if self.finished != before or self._reopened:
            self._rate.add(self.finished - before + self._reopened, now)
            self._reopened = 0
        if self.blocks.rows:
            self.scaling.note(now, self.blocks.running, self.managers.workers, self._count("ready"))

    def _task_submitted(self, event: TaskSubmitted) -> None:
        task = event.task
        if not self._seen.new(task):
            self.strays += 1
            return
        app = event.app
        group = self._groups.get(app)
        if group is None:
            app = clipped(app, TEXT)
            group = self._new_group(app)
        rank = RANK[event.state]
        if event.ready or event.launched or event.ended or event.recalled:
            self._task_lived(event, app, group, rank)
            return
        event.open = False
        # A task is born pending or ready; any other state is a move that follows at once.
        state = "ready" if rank == 1 else "pending"
        group[state] += 1
        graph = self.graph
        node = None if graph.full else graph.add(task, app, state, event.deps)
        time = event.time
        row = TaskRecord(
            task, app, state, event.executor, time, time if rank == 1 else None, None, None, None, None, None,
            "", 0, "",
            clipped(event.shown, TEXT) if event.shown else "", clipped(event.cell, TEXT) if event.cell else "",
            event.client, rank if rank == 1 else 0, group, node,
            True,
        )  # fmt: skip
        self._rows[task] = row
        self._dirty.append(row)
        self.total += 1
        self.changed = True
        if event.deps:
            self._batch.edges += [(task, dep) for dep in event.deps]
        if rank > 1:
            self._task_moved(TaskMoved(time, task, event.state))

    def _task_moved(self, event: TaskMoved) -> None:
        task = event.task
        row = self._rows.get(task)
        if row is None:
            self.strays += 1
            return
        code = event.state
        rank = RANK[code]
        if (rank <= row.rank or event.attempt != row.attempt) and not self._admit(row, event, rank):
            return
        state = NAME[code]
        group = row.group
        group[row.state] -= 1
        group[state] += 1
        row.state = state
        row.rank = rank
        setattr(row, _TIME[code], event.time)
        if event.worker:
            row.worker = event.worker
        if rank == _END:
            self.finished += 1
            if row.worker:
                self._worker_ended(row.worker, task)
        elif rank == _RUNNING and row.worker:
            self.workers.began(row.worker, task)
        if row.node is not None:
            self.graph.move(row.node, state)
        self.changed = True
        if not row.dirty:
            row.dirty = True
            self._dirty.append(row)

    def _admit(self, row: TaskRecord, event: TaskMoved, rank: int) -> bool:
        """Whether a move that is not simply the next one counts; prepares the row for it."""
        if row.rank == _END or (rank == row.rank and event.attempt <= row.attempt):
            self._complete(row, event)
            return False
        if event.attempt < row.attempt and rank < _END:
            self.strays += 1
            return False
        if event.attempt > row.attempt:
            row.attempt, row.error = event.attempt, ""
        if rank <= row.rank:  # given back, or tried again: it has not been in the later states any more
            for field in _FIELDS[max(rank, 1) : _END]:
                setattr(row, field, None)
            row.worker = ""
        return True

    def _complete(self, row: TaskRecord, event: TaskMoved) -> None:
        """Told late or twice: only a time that is missing is still worth something."""
        field = _TIME[event.state]
        if event.attempt == row.attempt and RANK[event.state] < row.rank and getattr(row, field) is None:
            setattr(row, field, event.time)
            row.worker = row.worker or event.worker
            self._mark(row)
        else:
            self.strays += 1

    def _task_lived(self, event: TaskSubmitted, app: str, group: dict[str, int], rank: int) -> None:
        """A task that has moved before anybody heard of it: where it is now, and when it was where."""
        event.open = False
        task, time, worker = event.task, event.time, event.worker
        state = NAME[event.state]
        group[state] += 1
        graph = self.graph
        node = None if graph.full else graph.add(task, app, state, event.deps)
        shown = clipped(event.shown, TEXT) if event.shown else ""
        cell = clipped(event.cell, TEXT) if event.cell else ""
        self.total += 1
        self.changed = True
        if event.deps:
            self._batch.edges += [(task, dep) for dep in event.deps]
        if rank == _END:
            # Nobody will ask for its row here: it goes straight to the store.
            rows = self._batch.recalled if event.recalled else self._batch.tasks
            rows.append((
                task, app, state, event.executor, time, event.ready or None, event.launched or None,
                event.started or None, None, event.joining or None, event.ended, worker, 0, "", shown, cell,
                event.client,
            ))  # fmt: skip
            self.finished += 1
            self._reopened -= event.recalled  # it did not finish just now
            if worker:
                self._worker_ended(worker, task)
            return
        row = TaskRecord(
            task, app, state, event.executor, time, event.ready or None, event.launched or None,
            event.started or None, None, event.joining or None, None, worker, 0, "", shown, cell, event.client, rank,
            group, node, True,
        )  # fmt: skip
        self._rows[task] = row
        self._dirty.append(row)
        if rank == _RUNNING and worker:
            self.workers.began(worker, task)

    def _worker_ended(self, worker: str, task: int) -> None:
        """A task that this worker had is over."""
        if worker in self.workers.rows:
            self.workers.ended(worker, task)
        else:  # often only the manager is known that had the task
            self._done[worker] = self._done.get(worker, 0) + 1

    def _task_adopted(self, event: TaskAdopted) -> None:
        row = self._rows.get(event.task)
        cell = clipped(event.cell, TEXT)
        if row is not None:
            row.cell, row.client = cell, event.client
            self._mark(row)
        else:
            self._batch.adopted.append((cell, event.client, event.task))

    def _task_reopened(self, event: TaskReopened) -> None:
        group = self._groups.get(event.app) or self._new_group(clipped(event.app, TEXT))
        was, state, rank = NAME[event.was], NAME[event.state], RANK[event.state]
        if not group[was]:
            self.strays += 1
            return
        group[was] -= 1
        group[state] += 1
        self.finished -= 1
        self._reopened += 1
        row = self._rows.get(event.task)
        if row is None:
            node = self.graph.nodes.get(event.task)
            row = self._rows[event.task] = TaskRecord(
                event.task, event.app, state, event.executor, 0.0, None, None, None, None, None, None,
                "", 0, "", "", "", event.client, rank, group, node, False, True,
            )  # fmt: skip
        row.state, row.rank, row.attempt, row.worker, row.error = state, rank, event.attempt, "", ""
        for field in _FIELDS[1:]:
            setattr(row, field, None)
        if rank:
            setattr(row, _TIME[event.state], event.time)
        if row.node is not None:
            self.graph.move(row.node, state)
        self.changed = True
        self._mark(row)

    def _task_failed(self, event: TaskFailed) -> None:
        row = self._rows.get(event.task)
        if row is None:
            self.strays += 1
            return
        if event.attempt >= row.attempt:
            row.error = clipped(event.error, ERROR)
        self._mark(row)
        if event.reason != _DEPENDENCY:  # then there was no attempt
            self._attempt_failed(event, row)
        traceback = event.traceback
        if len(traceback) > TRACEBACK:  # its end tells most
            traceback = "…" + traceback[1 - TRACEBACK :]
        error, traceback = clipped(event.error, TRACEBACK), clipped(traceback, TRACEBACK)
        self._batch.failures.append((event.task, event.attempt, error, traceback))

    def _attempt_failed(self, event: TaskFailed, row: TaskRecord) -> None:
        here = event.attempt == row.attempt
        self._batch.attempts[event.task, event.attempt] = (
            event.task, event.attempt, event.started or (row.started if here else None), event.time,
            event.worker or (row.worker if here else ""), event.reason or _APP_ERROR, clipped(event.error, ERROR),
        )  # fmt: skip

    def _output_written(self, event: OutputWritten) -> None:
        key = (event.task, event.stream)
        printed = self._batch.printed.get(key)
        if printed is None:
            printed = self._batch.printed[key] = PrintedOutput()
        text = event.text.replace("\0", "\u2400")  # SQLite would take a NUL for the end
        printed.add(text if text.isascii() else text.encode("utf-8", "replace").decode())

    def _worker_moved(self, event: WorkerMoved) -> None:
        self.workers.moved(event)
        self.changed = True

    def _block_moved(self, event: BlockMoved) -> None:
        forgotten = self.blocks.moved(event)
        if forgotten is not None:
            self._batch.blocks += self.blocks.forget(forgotten)
        self.changed = True

    def _manager_moved(self, event: ManagerMoved) -> None:
        if self.managers.moved(event):
            self.workers.deserted(event.manager, event.time, event.reason)
        for name in self.managers.outdated():
            self._batch.managers += self.managers.forget(name)
        self.changed = True

    def _node_sampled(self, event: NodeSampled) -> None:
        if not self.managers.sampled(event):
            self.strays += 1
            return
        slot = self._sample_number % SAMPLES
        self._sample_number += 1
        self._batch.samples.append((slot, event.manager, event.time, event.cpu, event.memory, event.load))
        self.changed = True

    def _task_sampled(self, event: TaskSampled) -> None:
        # Nothing for the panels: whoever looks at the task asks for it.
        self._batch.usage[event.task] = (
            event.task, event.attempt, event.time, event.cpu, event.memory, event.read, event.written,
        )  # fmt: skip

    def _notice_raised(self, event: NoticeRaised) -> None:
        notice = Notice(event.time, event.level, clipped(event.text, ERROR))
        self.notices.append(notice)
        self._fresh_notices.append(notice)
        self._notice_number += 1
        self._batch.notices.append((self._notice_number, notice.time, notice.level, notice.text))
        self.changed = True

    def _client_attached(self, event: ClientAttached) -> None:
        self._clients[event.client] = event
        self._clients_moved()
        self._batch.clients.append((event.client, event.pid, event.host, event.owner, event.time, None, ""))
        self.changed = True

    def _client_left(self, event: ClientLeft) -> None:
        client = self._clients.pop(event.client, None)
        if client is None:
            self.strays += 1
            return
        cells = (
            client.client,
            client.pid,
            client.host,
            client.owner,
            client.time,
            event.time,
            clipped(event.reason, ERROR),
        )
        self._batch.clients.append(cells)
        self._clients_moved()
        self.changed = True

    def _clients_moved(self) -> None:
        rows = [ClientRow(c.client, c.pid, c.host, c.owner, c.notebook, c.time) for c in self._clients.values()]
        self.run = msgspec.structs.replace(self.run, clients=rows)
        self._run_changed = True

    def _lease_moved(self, event: LeaseMoved) -> None:
        self.run = msgspec.structs.replace(self.run, linger=event.linger, away=event.away, ends=event.ends)
        self._run_changed = self.changed = True

    def _executor_stopped(self, event: ExecutorStopped) -> None:
        stopped = {**self.run.stopped, event.executor: clipped(event.reason, ERROR)}
        self.run = msgspec.structs.replace(self.run, stopped=stopped)
        self._run_changed = self.changed = True

    def _run_started(self, event: RunStarted) -> None:
        self.run = msgspec.structs.replace(
            self.run,
            run=event.run,
            host=event.host,
            pid=event.pid,
            run_dir=event.run_dir,
            executors=list(event.executors),
            started=event.time,
            version=event.version,
            notebook=event.notebook,
        )
        self._run_moved()

    def _run_ended(self, event: RunEnded) -> None:
        self.run = msgspec.structs.replace(self.run, ended=event.time, reason=clipped(event.reason, ERROR))
        self._run_moved()

    def _run_moved(self) -> None:
        run = self.run
        executors = msgspec.json.encode(run.executors).decode()
        place = (run.run, run.host, run.pid, run.run_dir, executors)
        self._batch.run = [(*place, run.started, run.version, run.ended, run.reason)]
        self._run_changed = self.changed = True

    def _mark(self, row: TaskRecord) -> None:
        if not row.dirty:
            row.dirty = True
            self._dirty.append(row)

    def _new_group(self, app: str) -> dict[str, int]:
        if len(self._groups) >= APPS:
            app = OTHER_APPS
        return self._groups.setdefault(app, {state.name: 0 for state in TaskState})

    # ----- the picture out

    @property
    def unfinished(self) -> int:
        """Tasks that have not reached a final state."""
        return self.total - self.finished

    def called_by(self, client: int, cell: str) -> list[int]:
        """The unfinished tasks that this cell of this client has called."""
        return [row.id for row in self._rows.values() if row.cell == cell and row.client == client and row.rank < _END]

    @property
    def hidden(self) -> int:
        """Tasks that are not among the nodes."""
        return self.total - len(self.graph.nodes)

    def overview(self, now: float) -> Overview:
        """Totals."""
        counts: dict[str, int] = {}
        apps: dict[str, dict[str, int]] = {}
        for app, group in self._groups.items():
            apps[app] = by_state = {state: count for state, count in group.items() if count}
            for state, count in by_state.items():
                counts[state] = counts.get(state, 0) + count
        busy, alive = self.workers.busy(), self.workers.alive()
        scale = None
        if self.blocks.rows:
            scale = ScalePoint(now, self.blocks.running, self.managers.workers, counts.get("ready", 0))
        return Overview(now, counts, apps, self._rate.rate(now), busy, alive, self.total, len(self._clients), scale)

    def _count(self, state: str) -> int:
        return sum(group[state] for group in self._groups.values())

    def take_notices(self) -> list[Notice]:
        """Notices since the last call."""
        notices = list(self._fresh_notices)
        self._fresh_notices.clear()
        return notices

    def take_run(self) -> RunInfo | None:
        """The run, if it changed since the last call."""
        changed, self._run_changed = self._run_changed, False
        return self.run if changed else None

    # ----- rows out

    @property
    def unwritten(self) -> bool:
        """Whether ``take_batch`` would answer anything."""
        told = self.workers.unwritten or self.blocks.unwritten or self.managers.unwritten
        return bool(self._dirty or told or self._batch)

    def take_batch(self) -> Batch:
        """What changed since the last call; finished tasks leave memory."""
        batch, self._batch = self._batch, Batch()
        dirty, self._dirty = self._dirty, []
        batch.tasks += [_cells(row)[:_WIDTH] for row in dirty if not row.reopened]
        batch.again = [_anew(row) for row in dirty if row.reopened]
        for row in dirty:
            if row.rank == _END:
                del self._rows[row.id]
            else:
                row.dirty = False
        batch.workers = self.workers.take_unwritten()
        batch.blocks += self.blocks.take_unwritten()
        batch.managers += self.managers.take_unwritten()
        return batch
