"""A run as a trace of Chrome, which ``ui.perfetto.dev``, ``chrome://tracing`` and Speedscope show.  [core]

An executor is a process of the trace, a worker is a thread, and an attempt to run a task is a slice.  Where only the
manager of several workers is known, its slices overlap, and each gets the first thread that is free.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.monitoring.export.reading import ExportedRun

__all__ = ["as_trace"]

_FAILED = "failed"


class _Slice(NamedTuple):
    """An attempt; slices compare by when they began."""

    started: float
    task: int
    attempt: int
    ended: float
    executor: str
    worker: str
    name: str
    details: dict[str, object]


def as_trace(run: ExportedRun) -> Iterator[str]:
    """Yield the text of a trace in JSON, in which each event has a line.

    Parameters
    ----------
    run
        The run.  Times of the trace are microseconds since its start.
    """
    threads = _Threads()
    yield '{"displayTimeUnit": "ms", "traceEvents": [\n'
    yield _line({"ph": "i", "s": "g", "pid": 0, "tid": 0, "ts": 0, "name": f"run {run.name} began"}, first=True)
    for piece in heapq.merge(_last_attempts(run), _failed_attempts(run)):
        pid, tid, names = threads.place(piece)
        for name in names:
            yield _line(name)
        yield _line(
            {
                "ph": "X",
                "pid": pid,
                "tid": tid,
                "ts": round((piece.started - run.started) * 1e6),
                "dur": max(0, round((piece.ended - piece.started) * 1e6)),
                "name": piece.name,
                "args": {"task": piece.task, "attempt": piece.attempt} | piece.details,
            }
        )
    yield "]}\n"


def _last_attempts(run: ExportedRun) -> Iterator[_Slice]:
    for task in run.started_tasks():
        assert task.started is not None
        # A task that is tried again keeps the start of the attempt that has failed.
        ended = task.ended or task.joining or task.retrying or run.now
        details = {"state": task.state, "arguments": task.shown, "cell": task.cell, "error": task.error}
        yield _Slice(
            started=task.started,
            task=task.id,
            attempt=task.attempt,
            ended=ended,
            executor=task.executor,
            worker=task.worker,
            name=task.app,
            details=_filled(details),
        )


def _failed_attempts(run: ExportedRun) -> Iterator[_Slice]:
    query = "SELECT app, executor, attempt FROM task WHERE id = ?"
    for attempt in run.failed_attempts():
        assert attempt.started is not None
        app, executor, last = run.connection.execute(query, (attempt.task,)).fetchone() or ("", "", None)
        if attempt.attempt == last:
            continue  # the row of the task tells of it
        yield _Slice(
            started=attempt.started,
            task=attempt.task,
            attempt=attempt.attempt,
            ended=attempt.ended,
            executor=executor,
            worker=attempt.worker,
            name=f"{app} ({_FAILED})",
            details=_filled({"state": _FAILED, "error": attempt.error, "reason": attempt.reason}),
        )


def _filled(details: dict[str, str]) -> dict[str, object]:
    return {name: value for name, value in details.items() if value}


def _line(event: dict[str, object], first: bool = False) -> str:
    return ("" if first else ",") + msgspec.json.encode(event).decode() + "\n"


class _Threads:
    """Numbers of processes and threads, with names for the viewer."""

    def __init__(self) -> None:
        self._processes: dict[str, int] = {}
        self._lanes: dict[tuple[str, str], list[tuple[int, float]]] = {}
        """The threads of a worker, each with the end of its last slice."""
        self._threads = 0

    def place(self, piece: _Slice) -> tuple[int, int, list[dict[str, object]]]:
        """Return the process and the thread of a slice, and the events that name them for the first time."""
        names = []
        pid = self._processes.get(piece.executor)
        if pid is None:
            pid = self._processes[piece.executor] = len(self._processes) + 1
            names.append(_name("process_name", pid, 0, piece.executor or "no executor"))
        lanes = self._lanes.setdefault((piece.executor, piece.worker), [])
        for place, (tid, free) in enumerate(lanes):
            if free <= piece.started:
                lanes[place] = (tid, piece.ended)
                return pid, tid, names
        self._threads += 1
        lanes.append((self._threads, piece.ended))
        names.append(_name("thread_name", pid, self._threads, piece.worker or "unknown worker"))
        return pid, self._threads, names


def _name(kind: str, pid: int, tid: int, name: str) -> dict[str, object]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}
