"""Carries out cancel requests: finds the tasks that a request names, and writes the answer [core].

The loop of the DataFlowKernel calls this for :class:`~parslab.records.panel.CancelRequest`.  A task belongs to a cell
of the client that called it, because two notebooks of one run have an ``In [5]`` each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parslab.dataflow.graph.table import TaskTable
    from parslab.monitoring.view.view import View
    from parslab.records.panel import CancelRequest

__all__ = ["cancel"]


def cancel(command: CancelRequest, asker: int, table: TaskTable, view: View, now: float) -> str:
    """Cancel the tasks that a request names, and say in one line what was done.

    Parameters
    ----------
    command
        Names tasks, an app, a cell, or everything.
    asker
        The client that asks; a cell is one of its own unless the request names another client.
    table
        The task graph.
    view
        The view of monitoring, which has the calls of each cell; it must have applied all events.
    now
        The present time.
    """
    chosen = _chosen(command, asker, table, view)
    count = table.cancel(chosen, now)
    # Counted apart, because ``cancel`` leaves them alone and the user should know.
    threads = sum(1 for number in chosen if (task := table.tasks.get(number)) is not None and table.in_thread(task))
    if not count and not threads:
        return f"nothing to cancel: {_of_what(command)}"
    text = f"{_count(count)} cancelled"
    if threads:
        verb = "runs" if threads == 1 else "run"
        text += f"; {_count(threads)} {verb} in threads of the notebook, where nobody can stop them, and go on"
    return text if threads != 1 else text.replace("them, and go on", "it, and goes on")


def _chosen(command: CancelRequest, asker: int, table: TaskTable, view: View) -> list[int]:
    if command.everything:
        return list(table.tasks)
    chosen = list(command.tasks)
    if command.cell:
        chosen += view.tasks.called_by(asker if command.client < 0 else command.client, command.cell)
    if command.app:
        chosen += [task.id for task in table.tasks.values() if task.app == command.app]
    return chosen


def _of_what(command: CancelRequest) -> str:
    if command.everything:
        return "no task is unfinished"
    if command.cell:
        return f"no task that cell {command.cell} has called is unfinished"
    if command.app:
        return f"no task of app {command.app} is unfinished"
    return "none of these tasks is unfinished"


def _count(tasks: int) -> str:
    return "1 task" if tasks == 1 else f"{tasks} tasks"
