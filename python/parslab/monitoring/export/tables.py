"""Tasks as JSON lines and as CSV.  [core]

Times are seconds since the epoch.  The columns are those of the table ``task`` in the run's database.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, TypeVar

import msgspec

from parslab.monitoring.store.tables import TASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from parslab.monitoring.export.reading import ExportedRun

__all__ = ["as_csv", "as_json_lines"]

Row = TypeVar("Row", tuple[int, int], tuple[int, str, str])


def as_json_lines(run: ExportedRun) -> Iterator[str]:
    """Yield one JSON object for each task: its columns, the tasks whose results it needs, and its failure if it failed.

    Parameters
    ----------
    run
        The run.

    Yields
    ------
    str
        A line; ``depends_on`` is a list of numbers, ``error`` and ``traceback`` are there if the task has failed.
    """
    edges, failures = _grouped(run.edges()), _grouped(run.failures())
    for task in run.tasks():
        content = msgspec.to_builtins(task)
        content["depends_on"] = [dep for _, dep in edges(task.id)]
        for _, error, traceback in failures(task.id):
            content["error"], content["traceback"] = error, traceback
        yield msgspec.json.encode(content).decode() + "\n"


def as_csv(run: ExportedRun) -> Iterator[str]:
    """Yield a heading and one line for each task; a value that a task does not have is empty.

    Parameters
    ----------
    run
        The run.
    """
    yield _csv_line(TASK.columns)
    for task in run.tasks():
        yield _csv_line(TASK.cells(task))


def _csv_line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _grouped(rows: Iterator[Row]) -> Callable[[int], list[Row]]:
    """Return a function that takes the rows of a task; rows are sorted by task, and it is asked in that order."""
    waiting = next(rows, None)

    def of(task: int) -> list[Row]:
        nonlocal waiting
        found = []
        while waiting is not None and waiting[0] <= task:
            if waiting[0] == task:
                found.append(waiting)
            waiting = next(rows, None)
        return found

    return of
