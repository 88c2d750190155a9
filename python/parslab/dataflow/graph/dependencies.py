"""Makes tasks wait for one another [core]: each edge of the graph is stored at both of its ends.

A task counts the tasks that it waits for (``Task.waiting``), and each of these lists it (``Task.dependents``).  The
table counts down when a task ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.errors import InternalError
from parslab.records.states import FINAL, TaskState
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import RequestValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.dataflow.graph.task import Effects, Task

__all__ = ["Dependencies"]

# Python 3.11 needs 70 ns to look up a member of an enum, and these are looked up for every edge.
_PENDING = TaskState.pending
_EXEC_DONE = TaskState.exec_done


class Dependencies:
    """Makes tasks wait for one another.

    Parameters
    ----------
    tasks
        All tasks, by number; the table owns the dictionary.
    effects
        Takes the messages to clients.
    """

    __slots__ = ("_effects", "_tasks")

    def __init__(self, tasks: dict[int, Task], effects: Effects) -> None:
        self._tasks = tasks
        self._effects = effects

    def need(self, task: Task, dep: int) -> Task:
        """Look up a task that another one needs.

        Raises
        ------
        InternalError
            The table has forgotten it, although a client still names it.
        """
        need = self._tasks.get(dep)
        # An error of ours and no failure of the task: a client names only tasks whose futures it holds.
        if need is None:
            raise InternalError(f"task {task.id} needs task {dep}, which is not known any more")
        return need

    def add_needs(self, task: Task, deps: Iterable[int]) -> None:
        """Have a new task wait for the tasks with these numbers."""
        remote = task.kind == TaskKind.remote
        for dep in deps:
            need = self.need(task, dep)
            task.needs.append(need)
            self.wait_for(task, need, remote)

    def wait_for(self, task: Task, need: Task, remote: bool) -> None:
        """Have a task wait for another one that has not ended, or whose value is still at its client.

        ``remote`` says whether a worker runs the waiting task, so that it needs the value itself.
        """
        if remote:
            self.request_value(need)
        if need.state not in FINAL or (remote and need.value is None and need.state is _EXEC_DONE):
            task.waiting += 1
            if need.dependents is None:
                need.dependents = []
            need.dependents.append(task)

    def wait_for_joined(self, task: Task) -> None:
        """Have a join wait for what its body returned."""
        # A body may return the same future twice; the wait must count it once, as it wakes once.
        for inner in dict.fromkeys(task.joins or ()):
            self.wait_for(task, inner, remote=False)

    def request_value(self, need: Task) -> None:
        """Ask the client for a value that a worker needs, now or when the task has ended there."""
        # One request serves all dependents: the value may be large, and its client sends it once.
        if need.wanted:
            return
        need.wanted = True
        if need.kind != TaskKind.remote and need.state is _EXEC_DONE and need.value is None:
            self._effects.replies.append((need.client, RequestValue(need.id), []))

    def substitute(self, old: Task, new: Task) -> None:
        """Have everything that waits for ``old`` wait for ``new``, which has not ended."""
        dependents, old.dependents = old.dependents, None
        for task in dependents or ():
            # A cancelled task stays in the list until what it waited for ends.
            if task.state is not _PENDING:
                continue
            task.needs = [new if need is old else need for need in task.needs]
            if new.dependents is None:
                new.dependents = []
            new.dependents.append(task)
            if task.kind == TaskKind.remote:
                self.request_value(new)
