"""Which ended tasks run again when some are tried again, and how they come back into the graph [core].

Asked for are tasks that failed, were never run because something they need failed, or were cancelled.  With each of
them run, recursively, those it needs that have no result; and then all that failed only because of one of those.
Nothing else: what has a result keeps it, and each task runs once.  Called by the loop of the DataFlowKernel only.

An ended task without a result holds its arguments and what it needs until its future is released; what it needs lives
on through it, released or not.  So a chain can be mended of which the notebook holds the last future alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from parslab.dataflow.graph.values import NOTHING
from parslab.records.events import TaskReopened
from parslab.records.machine import Signal
from parslab.records.states import FINAL, SUCCESSES, TaskState
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import TasksReopened

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable

    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.wire.messages.client import RedefinedApp

__all__ = ["RetryPlan", "functions_needed", "of_app", "plan", "reopen"]

Redefinition: TypeAlias = "Callable[[Task], RedefinedApp | None]"
"""What a task is to call from now on; None: what it called before."""


class RetryPlan:
    """What runs again.

    Attributes
    ----------
    tasks
        All of it, in the order of the calls.
    asked
        How many of the tasks that were named run again; the others of ``tasks`` come with them.
    refused
        Why others that were named do not, a sentence each, by number.
    """

    def __init__(self, here: Container[int] | None = None) -> None:
        self.tasks: list[Task] = []
        self.asked = 0
        self.refused: dict[int, str] = {}
        self._again: dict[Task, bool] = {}
        """Whether what its body returned is waited for again, rather than the body run."""
        self._never: dict[Task, str] = {}
        self._here = here

    @property
    def held_up(self) -> list[Task]:
        """Those that a worker still has, because they were cancelled and it has not let go of them."""
        return [task for task in self.tasks if task.worker is not None]

    def rejoins(self, task: Task) -> bool:
        """Whether this join waits again for what its body returned."""
        return self._again[task]

    def ask(self, task: Task, bodies: Collection[int]) -> None:
        """Have a task run again, with all of what it needs that has no result."""
        if task.state not in FINAL:
            return
        if task.state in SUCCESSES:
            self.refused[task.id] = f"Task {task.id} ({task.app}) has a result: there is nothing to try again."
            return
        why = self._trace(task, bodies)
        if why:
            self.refused[task.id] = why
        else:
            self.asked += 1

    def _trace(self, task: Task, bodies: Collection[int]) -> str:
        """Add a task with the failed ones that it comes from; returns why it cannot be."""
        found: dict[Task, bool] = {}
        left = [task]
        while left:
            one = left.pop()
            if one in self._again or one in found:
                continue
            rejoins = one.joins is not None and one.id not in bodies
            why = self._never.get(one) or self._obstacle(one, rejoins)
            if why:
                self._never[one] = self._never[task] = why
                return why
            found[one] = rejoins
            left += _failed_sources(one, rejoins)
        self._again |= found
        return ""

    def follow(self, tasks: Iterable[Task]) -> None:
        """Add those of the tasks that failed because of what runs again, and of nothing else."""
        known: dict[Task, bool] = {}
        for task in tasks:
            if task.state in FINAL and task not in self._again and self._follows(task, known):
                self._trace(task, ())

    def _follows(self, task: Task, known: dict[Task, bool]) -> bool:
        left = [task]
        while left:
            one = left[-1]
            if one in known or one in self._again:
                left.pop()
                continue
            sources = _failed_sources(one, one.joins is not None) if _failed_by_others(one) else []
            unknown = [source for source in sources if source not in known and source not in self._again]
            if unknown:
                left += unknown
                continue
            known[one] = (
                bool(sources)
                and all(source in self._again or known.get(source, False) for source in sources)
                and not self._obstacle(one, one.joins is not None)
            )
            left.pop()
        return known[task]

    def _obstacle(self, task: Task, rejoins: bool) -> str:
        """Why a task can never run again; empty when it can."""
        if task.kind == TaskKind.external:
            return (
                f"Task {task.id} stands for a future that is not of this run ({task.app}): only who made it can try "
                "again."
            )
        if task.kind != TaskKind.remote:
            if task.released and not rejoins:
                return (
                    f"Task {task.id} ({task.app}) runs in the notebook, which has dropped its future and with it what "
                    "it was called with: call it again."
                )
            if not rejoins and self._here is not None and task.client not in self._here:
                return f"Task {task.id} ({task.app}) runs in the notebook that called it, which has left."
            return ""
        for need in task.needs:
            if need.value is NOTHING and need.state in SUCCESSES:
                return (
                    f"Task {task.id} ({task.app}) needs the result of task {need.id} ({need.app}), which was in the "
                    "notebook and is gone: call both again."
                )
        return ""

    def close(self) -> RetryPlan:
        """All is asked for and followed."""
        self.tasks = sorted(self._again, key=lambda task: task.id)
        return self


def plan(
    table: TaskTable, ids: Iterable[int], bodies: Collection[int] = (), here: Container[int] | None = None
) -> RetryPlan:
    """What would run again.

    Parameters
    ----------
    table
        The graph; it is not changed.
    ids
        Tasks that are to be tried again; those that have not ended are left alone.
    bodies
        Joins whose body runs again, although only what it had returned failed: it has been mended.
    here
        Clients that are attached; None: all are.
    """
    found = RetryPlan(here)
    for number in dict.fromkeys(ids):
        task = table.tasks.get(number)
        if task is None:
            found.refused[number] = (
                f"Task {number} is not held any more: a task can be tried again while its notebook has its future."
            )
        else:
            found.ask(task, bodies)
    found.follow(table.tasks.values())
    return found.close()


def reopen(table: TaskTable, found: RetryPlan, mended: Redefinition, now: float) -> None:
    """Put ended tasks back into the graph, and tell their clients; nothing of them may be at a worker any more.

    Parameters
    ----------
    found
        The tasks; it was made just now.
    mended
        The function, and the limits, that a task has from now on.
    """
    again = {task.id for task in found.tasks}
    table.out.ready = [task for task in table.out.ready if task.id not in again]  # cancelled in this very round
    table.out.again = [one for one in table.out.again if one.task.id not in again]
    table.out.stops = [task for task in table.out.stops if task.id not in again]
    table.out.replies += [
        (client, TasksReopened([task.id for task in found.tasks if task.client == client]), [])
        for client in dict.fromkeys(task.client for task in found.tasks)
    ]
    for task in found.tasks:
        _open(table, task, found.rejoins(task), mended, now)
    _unlist(found)
    _await_again(table, found)
    for task in found.tasks:
        if not found.rejoins(task):
            for need in task.needs:
                table.dependencies.wait_for(task, need, task.kind == TaskKind.remote)
    for task in found.tasks:
        if found.rejoins(task):
            table.dependencies.wait_for_joined(task)
            table.finish_join(task, now)
        elif not task.waiting and task.state is TaskState.pending:  # else one before it has ended at once
            table.needs_met(task, now)


def _open(table: TaskTable, task: Task, rejoins: bool, mended: Redefinition, now: float) -> None:
    """Bring one task back to where it waits."""
    was = task.state
    table.transitions.reopen(task, Signal.rejoined if rejoins else Signal.reopened)
    task.failure, task.value, task.waiting = None, None, 0
    if not rejoins:
        task.joins = None
        if was is not TaskState.dep_fail:  # it may have run
            task.attempt += 1
        new = mended(task) if task.kind == TaskKind.remote else None
        if new is not None:
            task.fn = new.fn
            if task.spec in new.specs:
                task.spec = new.spec
        if task.call is not None:
            table.memo.reset(task)
    else:
        table.memo.rejoined(task)
    table.tasks[task.id] = task  # it may have been released, and be held by what needs it alone
    table.unfinished += 1
    executor = table.labels[task.executor] if task.kind < TaskKind.join else ""
    table.out.events.append(TaskReopened(now, task.id, task.state, was, task.attempt, task.app, executor, task.client))


def _unlist(found: RetryPlan) -> None:
    """Take those that run again from the lists of what they waited for when they were cancelled: they wait anew."""
    again = set(found.tasks)
    sources = {source for task in found.tasks for source in (task.joins or task.needs) if source.dependents}
    for source in sources:
        source.dependents = [task for task in source.dependents or () if task not in again] or None


def _await_again(table: TaskTable, found: RetryPlan) -> None:
    """Have those that wait for others, too, wait for what has failed and runs again: they had counted it as ended."""
    again = set(found.tasks)
    for task in set(table.tasks.values()) - again:
        if task.state is TaskState.pending:
            for need in task.needs:
                if need in again:
                    table.dependencies.wait_for(task, need, task.kind == TaskKind.remote)
        elif task.state is TaskState.joining:
            for inner in dict.fromkeys(task.joins or ()):
                if inner in again:
                    table.dependencies.wait_for(task, inner, remote=False)


def _failed_by_others(task: Task) -> bool:
    """Whether it ended without a result because others did."""
    return task.state is TaskState.dep_fail or (task.state is TaskState.failed and task.joins is not None)


def _failed_sources(task: Task, rejoins: bool) -> list[Task]:
    """What it needs, or has joined, that has ended without a result."""
    sources = (task.joins or ()) if rejoins else task.needs
    return [source for source in sources if source.state in FINAL and source.state not in SUCCESSES]


def of_app(table: TaskTable, ids: Iterable[int], app: str) -> list[int]:
    """Of these tasks, those of an app, and those that ended without a result because of one of that app."""
    known: dict[Task, bool] = {}

    def concerned(task: Task) -> bool:
        left = [task]
        while left:
            one = left[-1]
            sources = _failed_sources(one, one.joins is not None)
            unknown = [] if one.app == app else [source for source in sources if source not in known]
            if unknown and one not in known:
                left += unknown
                continue
            known[one] = one.app == app or any(known[source] for source in sources)
            left.pop()
        return known[task]

    return [number for number in ids if (task := table.tasks.get(number)) is None or concerned(task)]


def functions_needed(table: TaskTable) -> set[int]:
    """The functions of all tasks that have not ended, or could run again."""
    needed: set[int] = set()
    left = [task for task in table.tasks.values() if task.state not in SUCCESSES]
    needed.update(task.fn for task in left)
    seen = set(left)
    while left:
        task = left.pop()
        if task.state in FINAL:
            for source in _failed_sources(task, task.joins is not None):
                if source not in seen:
                    seen.add(source)
                    needed.add(source.fn)
                    left.append(source)
    return needed
