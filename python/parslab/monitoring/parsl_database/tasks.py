"""Makes the rows of our tables from those of Parsl's tables ``task``, ``try``, ``status`` and ``resource``.  [core]

All four come sorted by task, so a task is put together from a few rows at a time, and memory does not grow with the
run.  What Parsl does not write stays empty: the worker of a task, for example, of which only the host is known.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, TypeAlias, cast

from parslab.monitoring.failures.patterns import pattern_of
from parslab.monitoring.store.tables import TASK, StoredAttempt, StoredFailure, StoredTask, StoredUsage
from parslab.monitoring.view.text import ERROR
from parslab.records.panel import CLIENT_SHIFT
from parslab.records.reasons import Reason
from parslab.records.states import FINAL, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.monitoring.parsl_database.cells import Cells
    from parslab.monitoring.parsl_database.database import Cell, ParslDatabase, Row
    from parslab.monitoring.store.batch import Batch

__all__ = ["ParslTasks"]

_TASK = (
    "task_id",
    "task_func_name",
    "task_depends",
    "task_inputs",
    "task_time_invoked",
    "task_time_submitted",
    "task_time_returned",
    "task_executor",
    "hostname",
    "task_fail_count",
)
_TRY = (
    "task_id",
    "try_id",
    "block_id",
    "hostname",
    "task_executor",
    "task_try_time_launched",
    "task_try_time_running",
    "task_try_time_returned",
    "task_fail_history",
)
_STATUS = ("task_id", "task_status_name", "timestamp")

_STATES = {state.name: state for state in TaskState} | {"running_ended": TaskState.running}
_FINAL_NAMES = frozenset(state.name for state in FINAL)

_REASONS = (
    ("ManagerLost", Reason.node_lost),
    ("WorkerLost", Reason.worker_lost),
    ("AppTimeout", Reason.walltime),
    ("MemoryError", Reason.out_of_memory),
    ("DependencyError", Reason.dependency),
    ("JoinError", Reason.dependency),
    ("SerializationError", Reason.serialization),
)
"""Beginnings of errors in Parsl's history of failures, and what they mean; every other one is an error of the app."""

_MOST_IDS = 20_000_000
"""Tasks whose ends are kept, so that later tasks know when their inputs were there: 8 bytes each."""

_Times: TypeAlias = "dict[str, float]"


class ParslTasks:
    """The tasks of one run of Parsl.

    Parameters
    ----------
    database
        The open database.
    run_id
        Parsl's name of the run.
    cells
        Reads cells.
    began
        When the run began, for tasks without a time.
    managers
        The name of the manager on a host of a block.
    """

    def __init__(
        self,
        database: ParslDatabase,
        run_id: str,
        cells: Cells,
        *,
        began: float,
        managers: dict[tuple[str, str], str],
    ) -> None:
        self.count = 0
        self.executors: dict[str, None] = {}
        self.hosts: dict[str, None] = {}
        """Hosts of tasks that no manager of the database covers."""
        self._cells = cells
        self._began = began
        self._managers = managers
        self._tasks = database.rows("task", _TASK, run_id, ("task_id",))
        self._tries = _ByTask(database.rows("try", _TRY, run_id, ("task_id", "try_id")))
        self._statuses = _ByTask(database.rows("status", _STATUS, run_id, ("task_id", "timestamp")))
        self._usage = _ByTask(database.usage(run_id))
        self._inputs = _ByTask(database.files(run_id, "input"))
        self._outputs = _ByTask(database.files(run_id, "output"))
        self._ends = array("d")

    def add(self, batch: Batch, limit: int) -> bool:
        """Add the next tasks to a batch, at most ``limit``; return False if there are no more."""
        for row in self._tasks:
            id = row[0]
            if not isinstance(id, int) or not 0 <= id < 1 << CLIENT_SHIFT:
                self._cells.unreadable += 1
                continue
            self._add(batch, id, row)
            self.count += 1
            limit -= 1
            if not limit:
                return True
        return False

    def _add(self, batch: Batch, id: int, row: Row) -> None:
        cells = self._cells
        tries = self._tries.take(id)
        state, times = self._states(self._statuses.take(id))
        last = tries[-1] if tries else (None,) * len(_TRY)
        submitted = cells.time(row[4]) or cells.time(row[5]) or times.get("pending") or self._began
        ended = cells.time(row[6]) or next((times[name] for name in times if name in _FINAL_NAMES), None)
        deps = cells.numbers(row[2])
        batch.edges += [(id, dep) for dep in dict.fromkeys(deps) if dep != id and 0 <= dep < 1 << CLIENT_SHIFT]
        task = StoredTask(
            id=id,
            app=cells.text(row[1]) or "?",
            state=(state or _guessed(ended, cells.number(row[9]))).name,
            executor=cells.text(last[4]) or cells.text(row[7]),
            submitted=submitted,
            ready=self._ready(submitted, deps),
            launched=cells.time(last[5]) or times.get("launched"),
            started=cells.time(last[6]) or times.get("running"),
            joining=times.get("joining"),
            worker=self._worker(last[2], last[3] or row[8]),
            attempt=max(cells.number(last[1]), 0),
            shown=self._arguments(id, row[3]),
        )
        if TaskState[task.state] in FINAL:
            task.ended = ended or task.started or submitted
            if task.state == TaskState.memo_done.name:
                task.launched = task.started = None
            self._end_at(id, task.ended)
        self.executors[task.executor] = None
        self._add_attempts(batch, task, tries)
        self._add_usage(batch, task)
        batch.tasks.append(TASK.cells(task))

    def _states(self, rows: list[Row]) -> tuple[TaskState | None, _Times]:
        """Return the state of a task, and when it last entered each one."""
        times: _Times = {}
        state = final = None
        for _, name, timestamp in rows:
            found = _STATES.get(str(name))
            if found is None:
                continue  # a state that only another version of Parsl knows
            if found in FINAL:
                final = found
            if name != "running_ended":
                state = found
            time = self._cells.time(timestamp)
            if time is not None and name != "running_ended":
                times[found.name] = max(time, times.get(found.name, time))
        # Monitoring messages of workers may come after the end of a task.
        return final or state, times

    def _ready(self, submitted: float, deps: list[int]) -> float | None:
        """Return when the inputs of a task were there, which Parsl does not write; None if one has no end."""
        ends = [self._ends[dep] if 0 <= dep < len(self._ends) else 0.0 for dep in deps]
        return max([submitted, *ends]) if all(ends) else None

    def _end_at(self, id: int, time: float) -> None:
        if id < _MOST_IDS:
            if id >= len(self._ends):
                self._ends.extend([0.0] * (id + 1 - len(self._ends)))
            self._ends[id] = time

    def _worker(self, block: Cell, host: Cell) -> str:
        name = self._cells.text(host)
        manager = self._managers.get((self._cells.text(block), name)) or self._managers.get(("", name))
        if name and manager is None:
            self.hosts[name] = None
        return manager or name

    def _arguments(self, id: int, inputs: Cell) -> str:
        texts = [self._cells.text(inputs)] if inputs not in (None, "", "[]") else []
        for word, files in (("inputs", self._inputs), ("outputs", self._outputs)):
            texts += [f"{word}: {self._cells.text(names)}" for _, names in files.take(id)]
        return self._cells.text("; ".join(texts))

    def _add_attempts(self, batch: Batch, task: StoredTask, tries: list[Row]) -> None:
        """Add the attempts that failed: all but the last one, and that one if the task failed."""
        history = error = ""
        for at, (_, number, block, host, _, launched, started, returned, failures) in enumerate(tries):
            # The history of an attempt repeats that of the attempts before it.
            whole = self._cells.text(failures, 64 * ERROR)
            error, history = whole.removeprefix(history).lstrip(",") or whole, whole
            begun = self._cells.time(started)
            ran = begun is not None or launched is not None
            if at == len(tries) - 1 and not (task.state == TaskState.failed.name and ran):
                break
            ended = self._cells.time(returned) or begun or self._cells.time(launched) or task.submitted
            attempt = StoredAttempt(
                task=task.id,
                attempt=self._cells.number(number),
                started=begun,
                ended=ended,
                worker=self._worker(block, host),
                reason=_reason(error),
                error=self._cells.text(error, ERROR),
            )
            batch.attempts[task.id, attempt.attempt] = attempt
            if at < len(tries) - 1:
                task.retrying = ended
        if task.state in (TaskState.failed.name, TaskState.dep_fail.name):
            task.error = self._cells.text(error or "Parsl has not written why.", ERROR)
            batch.failures.append(
                StoredFailure(
                    task=task.id,
                    attempt=task.attempt,
                    error=task.error,
                    traceback="",
                    failure_group=pattern_of(task.error).group,
                )
            )

    def _add_usage(self, batch: Batch, task: StoredTask) -> None:
        for _, attempt, cpu, memory, read, written, time in self._usage.take(task.id):
            batch.usage[task.id] = StoredUsage(
                task=task.id,
                attempt=self._cells.number(attempt),
                time=self._cells.time(time) or task.submitted,
                cpu=float(cpu) if isinstance(cpu, (int, float)) else 0.0,
                memory=self._cells.number(memory),
                read=self._cells.number(read),
                written=self._cells.number(written),
            )


class _ByTask:
    """Rows that are sorted by task, their first column, taken task by task."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def take(self, id: int) -> list[Row]:
        """Return the rows of a task; ids must rise from call to call."""
        row = self._next
        if row is None or _id(row) > id:
            return []
        while row is not None and _id(row) < id:
            row = next(self._rows, None)
        taken = []
        while row is not None and row[0] == id:
            taken.append(row)
            row = next(self._rows, None)
        self._next = row
        return taken


def _id(row: Row) -> int:
    return cast("int", row[0])  # the queries leave out all others


def _guessed(ended: float | None, failures: int) -> TaskState:
    """Return the state of a task that has no status."""
    if ended is None:
        return TaskState.pending
    return TaskState.failed if failures else TaskState.exec_done


def _reason(error: str) -> str:
    found = next((reason for word, reason in _REASONS if error.startswith(word)), Reason.app_error)
    return found.value
