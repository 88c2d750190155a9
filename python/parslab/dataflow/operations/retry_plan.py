"""Plans which ended tasks run again when a user retries some, and puts them back into the graph [core].

A user can retry tasks that failed, that never ran because a need failed, or that were cancelled.  Each of them
takes along those of its needs that have no result, and so on.  All tasks that failed only because of these follow.
Nothing else runs: a task that has a result keeps it, and each task runs once.  Only the loop of the DataFlowKernel
calls this.

An ended task without a result keeps its arguments and its needs until its future is released, and its needs live on
through it.  So a whole chain can be retried although the notebook holds only its last future.
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

__all__ = ["RetryPlan", "functions_needed", "held_tasks", "of_app", "plan", "reopen"]

Redefinition: TypeAlias = "Callable[[Task], RedefinedApp | None]"
"""Returns the function and the limits that a task has from now on; None if they do not change."""


class RetryPlan:
    """The tasks that run again.

    Attributes
    ----------
    tasks
        All of them, in the order of the calls.
    asked
        How many of the tasks that the user named run again; the others in ``tasks`` follow these.
    refused
        A sentence for each other task that the user named, which says why it cannot run again; by number.
    """

    def __init__(self, here: Container[int] | None = None) -> None:
        self.tasks: list[Task] = []
        self.asked = 0
        self.refused: dict[int, str] = {}
        self._again: dict[Task, bool] = {}
        """For each task whether it waits again for what its body returned, instead of running the body."""
        self._never: dict[Task, str] = {}
        """Why tasks can never run again."""
        self._here = here

    @property
    def held_up(self) -> list[Task]:
        """The tasks that a worker still has: they were cancelled, and the worker has not stopped them yet."""
        return [task for task in self.tasks if task.worker is not None]

    def rejoins(self, task: Task) -> bool:
        """Return whether a join waits again for what its body returned."""
        return self._again[task]

    def ask(self, task: Task, bodies: Collection[int]) -> None:
        """Have a task run again, with all of its needs that have no result."""
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
        """Add a task with the failed tasks that caused its failure; return why that is impossible, or nothing."""
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
        # Only when the whole branch can run: half of it would run for nothing.
        self._again |= found
        return ""

    def follow(self, tasks: Iterable[Task]) -> None:
        """Add those of the tasks that failed only because of tasks that run again."""
        known: dict[Task, bool] = {}
        for task in tasks:
            if task.state in FINAL and task not in self._again and self._follows(task, known):
                self._trace(task, ())

    def _follows(self, task: Task, known: dict[Task, bool]) -> bool:
        # A stack and no recursion: chains may be longer than Python's stack.
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
        """Say why a task can never run again; return nothing when it can."""
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
        """Sort the tasks, after all of them have been added."""
        self.tasks = sorted(self._again, key=lambda task: task.id)
        return self


def held_tasks(table: TaskTable, ids: Iterable[int]) -> list[int]:
    """Return the tasks to name for a retry of these.

    A task whose future was dropped is not in the table any more.  It lives on as a need of the tasks that failed
    because of it, and a retry of these takes it along.
    """
    named = list(ids)
    gone = {number for number in named if number not in table.tasks}
    if not gone:
        return named
    reached: set[int] = set()
    for task in table.tasks.values():
        needed = {need.id for need in task.needs if need.id in gone} if task.state is TaskState.dep_fail else ()
        if needed:
            reached |= needed
            named.append(task.id)
    return [number for number in named if number not in reached]


def plan(
    table: TaskTable, ids: Iterable[int], bodies: Collection[int] = (), here: Container[int] | None = None
) -> RetryPlan:
    """Find the tasks that would run again.

    Parameters
    ----------
    table
        The graph; this function does not change it.
    ids
        The tasks to retry; unfinished ones are left alone.
    bodies
        Joins whose body runs again, although only the tasks that it returned failed: the user has redefined the body.
    here
        The attached clients; None: all clients are attached.
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
    # Last, because a task follows only if all of its failed sources run again.
    found.follow(table.tasks.values())
    return found.close()


def reopen(table: TaskTable, found: RetryPlan, redefine: Redefinition, now: float) -> None:
    """Put ended tasks back into the graph, and report that to their clients.

    Parameters
    ----------
    found
        The tasks: a plan that was made in the same round of the loop.  No worker may have any of them.
    redefine
        Returns the function and the limits that a task has from now on.
    """
    again = {task.id for task in found.tasks}
    # The effects of this round may still name tasks that were cancelled in the same round.
    table.out.ready = [task for task in table.out.ready if task.id not in again]
    table.out.again = [one for one in table.out.again if one.task.id not in again]
    table.out.stops = [task for task in table.out.stops if task.id not in again]
    table.out.replies += [
        (client, TasksReopened([task.id for task in found.tasks if task.client == client]), [])
        for client in dict.fromkeys(task.client for task in found.tasks)
    ]
    for task in found.tasks:
        _open(table, task, found.rejoins(task), redefine, now)
    _unlist(table, found)
    # All tasks are open by now: a wait on one that still looked ended would not be counted.
    _await_again(table, found)
    for task in found.tasks:
        if not found.rejoins(task):
            for need in task.needs:
                table.dependencies.wait_for(task, need, task.kind == TaskKind.remote)
    for task in found.tasks:
        if found.rejoins(task):
            table.dependencies.wait_for_joined(task)
            table.finish_join(task, now)
        elif not task.waiting and task.state is TaskState.pending:  # a task before it may have ended it already
            table.needs_met(task, now)


def _open(table: TaskTable, task: Task, rejoins: bool, redefine: Redefinition, now: float) -> None:
    """Bring one task back to the state in which it waits."""
    was = task.state
    table.transitions.reopen(task, Signal.rejoined if rejoins else Signal.reopened)
    task.failure, task.value, task.waiting = None, None, 0
    if not rejoins:
        # The body runs again and returns new futures.
        task.joins = None
        if was is not TaskState.dep_fail:  # the body may have run, so the next run is another attempt
            task.attempt += 1
        new = redefine(task) if task.kind == TaskKind.remote else None
        if new is not None:
            task.fn = new.fn
            # Only limits of the app are replaced; those that the call named stay.
            if task.spec in new.specs:
                task.spec = new.spec
        if task.call is not None:
            table.memo.reset(task)
    else:
        table.memo.rejoined(task)
    table.tasks[task.id] = task  # a released task lives on only through the tasks that need it
    table.unfinished += 1
    executor = table.labels[task.executor] if task.kind < TaskKind.join else ""
    table.out.events.append(
        TaskReopened(
            time=now,
            task=task.id,
            state=task.state,
            was=was,
            attempt=task.attempt,
            app=task.app,
            executor=executor,
            client=task.client,
        )
    )


def _unlist(table: TaskTable, found: RetryPlan) -> None:
    """Remove the tasks from the lists of dependents that still name them: they are about to wait again."""
    again = set(found.tasks)
    sources = dict.fromkeys(
        source
        for task in found.tasks
        # A task that was cancelled may still be listed by the recovery tasks that it waited for.
        for source in (*(task.joins or task.needs), *(table.recovery.awaited(task) or ()))
        if source.dependents
    )
    for source in sources:
        source.dependents = [task for task in source.dependents or () if task not in again] or None


def _await_again(table: TaskTable, found: RetryPlan) -> None:
    """Have unfinished tasks wait again for failed needs that run again, which they had counted as ended."""
    again = set(found.tasks)
    # Not a set of the other tasks: its order, and with it the order of dependents, would change from run to run.
    for task in table.tasks.values():
        if task in again:
            continue
        if task.state is TaskState.pending:
            for need in task.needs:
                if need in again:
                    table.dependencies.wait_for(task, need, task.kind == TaskKind.remote)
        elif task.state is TaskState.joining:
            for inner in dict.fromkeys(task.joins or ()):
                if inner in again:
                    table.dependencies.wait_for(task, inner, remote=False)


def _failed_by_others(task: Task) -> bool:
    """Return whether a task ended without a result because others did."""
    return task.state is TaskState.dep_fail or (task.state is TaskState.failed and task.joins is not None)


def _failed_sources(task: Task, rejoins: bool) -> list[Task]:
    """Return the tasks that a task needs, or has joined, and that ended without a result."""
    sources = (task.joins or ()) if rejoins else task.needs
    return [source for source in sources if source.state in FINAL and source.state not in SUCCESSES]


def of_app(table: TaskTable, ids: Iterable[int], app: str) -> list[int]:
    """Choose the tasks of an app, and those that have no result because of a task of that app."""
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
    """Return the functions of all tasks that have not ended or could run again."""
    needed: set[int] = set()
    left = [task for task in table.tasks.values() if task.state not in SUCCESSES]
    needed.update(task.fn for task in left)
    needed |= table.recovery.functions
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
