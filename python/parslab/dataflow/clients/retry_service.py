"""Tasks that somebody wants tried again [shell]: notebooks are asked for mended functions, then the graph reopens.

Orders come from a notebook (``future.retry()``, ``%parsl retry``) or from a panel behind one.  Every notebook that has
some of the tasks is asked what their apps call now (``RequestDefinitions``) and answers with ``RetryTasks``.  One
that does not answer
soon, because a cell holds its interpreter or it is gone, is done without.  What a worker has not let go of is waited
for.  Owned by the DataFlowKernel's loop.
"""

from __future__ import annotations

import itertools
from time import time
from typing import TYPE_CHECKING, Any

from parslab.dataflow.graph.retry_plan import RetryPlan, of_app, plan, reopen
from parslab.dataflow.persistence.log_format import ReopenedTasks
from parslab.monitoring.monitor import Monitor
from parslab.records.states import FAILURES, TaskState
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import RedefinedApp, RequestDefinitions

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.graph.task import Task
    from parslab.records.panel import RetryRequest
    from parslab.wire.messages.client import RetryTasks

__all__ = ["PATIENCE", "RetryService"]

PATIENCE = 5.0
"""Seconds that a notebook has to say what its apps call now."""


class _RetryRequest:
    """Tasks to try again, and what is known of it so far."""

    def __init__(self, ids: list[int], wish: RetryRequest, reply: Callable[[bytes], None]) -> None:
        self.ids = ids
        self.wish = wish
        self.reply = reply
        self.asked: set[int] = set()
        """Clients that have not answered yet."""
        self.silent: set[int] = set()
        """Clients that did not answer in time."""
        self.mended: dict[tuple[int, str], RedefinedApp] = {}
        """By client and origin; the functions by the run's numbers."""
        self.bodies: list[int] = []
        self.changed: dict[str, None] = {}
        """Apps whose tasks call another function from now on."""


class RetryService:
    """All orders of a run that are not carried out yet.

    Parameters
    ----------
    kernel
        The DataFlowKernel.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._orders: dict[int, _RetryRequest] = {}
        self._numbers = itertools.count(1)
        self.held_up: list[_RetryRequest] = []
        """Orders of which a worker still has a task: tried again after each round."""

    def order(self, wish: RetryRequest, by: ClientConnection, waits: bool, reply: Callable[[bytes], None]) -> None:
        """Somebody wants tasks tried again.

        Parameters
        ----------
        wish
            Which ones.
        by
            The notebook that it comes from, or through.
        waits
            Whether the notebook itself waits for the answer: then it is there to say what its apps call.
        reply
            Called with the answer, at once or later.
        """
        table = self._kernel.table
        ids = wish.tasks
        if wish.everything:
            ids = sorted({task.id for task in table.tasks.values() if task.state in FAILURES})
        order = _RetryRequest(of_app(table, ids, wish.app) if wish.app else list(ids), wish, reply)
        number = next(self._numbers)
        self._ask(number, order, plan(table, order.ids, here=self._kernel.clients))
        if not order.asked:
            self._carry_out(order)
            return
        self._orders[number] = order
        patient = {by.number} if waits else set()
        self._kernel.at(time() + PATIENCE, lambda: self._late(number, patient))

    def _ask(self, number: int, order: _RetryRequest, found: RetryPlan) -> None:
        """Ask the notebooks what their tasks call now."""
        kernel = self._kernel
        tasks: dict[int, list[Task]] = {}
        for task in found.tasks:
            tasks.setdefault(task.client, []).append(task)
        for client, own in tasks.items():
            origins = {origin for task in own if (origin := self._origin(task))}
            at_home = any(task.kind != TaskKind.remote for task in own)
            if not (origins or at_home):
                continue
            if client not in kernel.clients:
                order.silent.add(client)
                continue
            order.asked.add(client)
            mend = RequestDefinitions(number, [task.id for task in own], sorted(origins))
            kernel.table.out.replies.append((client, mend, []))

    def _origin(self, task: Task) -> str:
        return self._kernel.codes.origins[task.fn] if task.kind == TaskKind.remote else ""

    def answered(self, client: ClientConnection, message: RetryTasks) -> None:
        """A notebook has said what its apps call now."""
        order = self._orders.get(message.ask)
        if order is None or client.number not in order.asked:
            return
        if message.problem:
            del self._orders[message.ask]
            order.reply(Monitor.error_reply(order.wish.request_id, message.problem))
            return
        order.asked.discard(client.number)
        order.bodies += message.bodies
        for mended in message.mended:
            mended.fn = client.fns[mended.fn]
            order.mended[client.number, mended.origin] = mended
        self._go_on(message.ask, order)

    def left(self, client: int) -> None:
        """A notebook has gone."""
        for number, order in list(self._orders.items()):
            if client in order.asked:
                order.asked.discard(client)
                order.silent.add(client)
                self._go_on(number, order)

    def _late(self, number: int, patient: set[int]) -> None:
        order = self._orders.get(number)
        if order is not None:
            order.silent |= order.asked - patient
            order.asked &= patient
            self._go_on(number, order)

    def _go_on(self, number: int, order: _RetryRequest) -> None:
        if not order.asked:
            del self._orders[number]
            self._carry_out(order)

    def after_round(self) -> None:
        """See whether workers have let go of what is to run again."""
        held_up, self.held_up = self.held_up, []
        for order in held_up:
            self._carry_out(order)

    def _carry_out(self, order: _RetryRequest) -> None:
        table = self._kernel.table
        found = plan(table, order.ids, order.bodies, self._kernel.clients)
        if found.held_up:
            self.held_up.append(order)
            return
        cancelled = {task.id for task in found.tasks if task.state is TaskState.cancelled}
        if cancelled:  # a queue drops what was cancelled only when its turn comes
            for pool in self._kernel.pools.values():
                pool.queue.drop(cancelled)
        if found.tasks:
            functions = {task.id: task.fn for task in found.tasks}
            reopen(table, found, lambda task: self._mended(order, task), time())
            self._write_down(found, functions)
        text = _said(order, found)
        if found.tasks or not found.refused:
            order.reply(Monitor.command_reply(order.wish.request_id, text))
        else:
            order.reply(Monitor.error_reply(order.wish.request_id, text))

    def _write_down(self, found: RetryPlan, before: dict[int, int]) -> None:
        record = self._kernel.record
        if record is not None:
            record.write()  # how they ended comes before that they run again
            mended = tuple((task.id, task.fn) for task in found.tasks if task.fn != before[task.id])
            record.note(ReopenedTasks([task.id for task in found.tasks], mended))

    def _mended(self, order: _RetryRequest, task: Task) -> RedefinedApp | None:
        mended = order.mended.get((task.client, self._origin(task)))
        if mended is not None and mended.fn != task.fn:
            order.changed[task.app] = None
        return mended


def _said(order: _RetryRequest, found: RetryPlan) -> str:
    """What was done, in a sentence or two."""
    count = len(found.tasks)
    said = []
    if count:
        others = count - found.asked
        more = f", {others} of them because they hang together with what was asked for" if others else ""
        text = f"{count} task{'s run' if count > 1 else ' runs'} again{more}"
        if order.changed:
            text += f"; {' and '.join(order.changed)} as now defined"
        said.append(f"{text}.")
    elif not found.refused:
        if order.ids and not order.wish.everything:
            said.append("These tasks have not ended yet.")
        else:
            said.append(f"No task of app {order.wish.app} has failed." if order.wish.app else "No task has failed.")
    if found.refused:
        reasons = list(found.refused.values())
        said.append(reasons[0])
        if len(reasons) > 1:
            said.append(f"({len(reasons) - 1} more cannot be tried again.)")
    if count and order.silent:
        said.append("The notebook was busy or has gone, so the functions are those of before.")
    return " ".join(said)
