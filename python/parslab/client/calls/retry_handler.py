"""``RetryHandlerService`` calls the retry handler of ``Config``, which decides how many retries a failed attempt costs.

The DataFlowKernel sends ``RequestRetryCost`` and suspends the task.  A thread calls the handler, one failure at a
time, and sends ``RetryCost``.  No code pickles the handler, so it may use everything in the notebook.  While a handler
is set, this module keeps every call and its arguments until the task ends, because the handler may read them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.client.futures.task_record import asked_resources
from parslab.client.thread_pool import ThreadPool
from parslab.errors import ConfigurationError
from parslab.records.reasons import Reason
from parslab.records.states import TaskState
from parslab.serialize.failures import exception_of, failure_of
from parslab.wire.messages.client import RetryCost, RetryHandlerChanged

if TYPE_CHECKING:
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.transport.link import KernelLink
    from parslab.wire.messages.base import Failure, TaskSpec
    from parslab.wire.messages.client import RequestRetryCost

__all__ = ["FailedTask", "Handler", "RetryHandlerService"]

log = logging.getLogger(__name__)

Handler = Callable[[BaseException, "FailedTask"], float]


class FailedTask(Mapping[str, Any]):
    """A failed task as a retry handler sees it: attributes and, as in Parsl, ``task["key"]``.

    Attributes
    ----------
    id, func_name, func, args, kwargs, executor, time_invoked, app_fu
        The call: its number, its app and function, its arguments (futures stay futures), the label of its executor,
        its time, and its future.  An attribute is None when this process does not have it.  That happens when an
        earlier kernel of the notebook made the call, or when ``future.retry()`` runs an ended task again.
    try_id
        The number of the failed attempt, counted from 0.
    fail_count, fail_cost, fail_history
        The number of failed attempts, the cost of those before this one, and the errors of all as text.
    reason
        The :class:`~parslab.records.reasons.Reason` why this attempt failed.
    resource_specification
        The resources that the call requested.
    status
        ``fail_retryable``.
    """

    def __init__(
        self,
        future: AppFuture,
        func: Any = None,
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        executor: str | None = None,
        spec: TaskSpec | None = None,
        called_at: datetime | None = None,
    ) -> None:
        self.id = future.task_id
        self.func_name = future.app_name
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.executor = executor
        self.time_invoked = called_at
        self.app_fu = future
        self.try_id = 0
        self.fail_count = 0
        self.fail_cost = 0.0
        self.fail_history: list[str] = []
        self.reason = Reason.app_error
        self.resource_specification = asked_resources(spec)
        self.status = TaskState.fail_retryable

    def __getitem__(self, key: str) -> Any:
        return self.__dict__[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __repr__(self) -> str:
        return f"<task {self.id} {self.func_name}, failed {self.fail_count} times, last for {self.reason}>"

    def add_failure(self, attempt: int, failure: Failure, error: BaseException) -> None:
        """Add a failed attempt, before the call of the handler."""
        self.try_id = attempt
        # Not a plain count: attempts may have failed while an earlier kernel of the notebook was attached.
        self.fail_count = max(self.fail_count, attempt) + 1
        self.fail_history.append(repr(error))
        self.reason = Reason(failure.reason) if failure.reason in Reason.__members__ else Reason.app_error


class RetryHandlerService:
    """The retry handler of one run, and the unfinished calls that it may read.

    Parameters
    ----------
    link
        The connection to the DataFlowKernel.
    handler
        The user's function; None: every failure costs 1.

    Attributes
    ----------
    calls
        The unfinished calls that were made while a handler was set, by task.
    """

    def __init__(self, link: KernelLink, handler: Handler | None) -> None:
        self._link = link
        self._thread = ThreadPool("retry-handler", 1)
        self.handler = handler
        self.calls: dict[int, FailedTask] = {}

    def use(self, handler: Handler | None) -> None:
        """Replace the handler."""
        self.handler = handler
        self.announce()

    def announce(self) -> None:
        """Send the DataFlowKernel whether it must request the cost of each failure."""
        self._link.send(RetryHandlerChanged(self.handler is not None))

    # ----- calls (the user's threads)

    def add_call(
        self,
        future: AppFuture,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        executor: str | None,
        spec: TaskSpec | None,
    ) -> None:
        """Keep a call for the handler."""
        now = datetime.now().astimezone()
        self.calls[future.task_id] = FailedTask(future, func, args, kwargs, executor=executor, spec=spec, called_at=now)

    def renumbered(self, new: int, old: int) -> None:
        """Change the number of a task."""
        task = self.calls.pop(new, None)
        if task is not None:
            task.id = old
            self.calls[old] = task

    def ended(self, task: int) -> None:
        """Drop the call of a task that has ended."""
        self.calls.pop(task, None)

    # ----- questions (link's thread, then the thread of the handler)

    def ask(self, message: RequestRetryCost, future: AppFuture | None) -> None:
        """Call the handler in its thread, and send the cost of a failed attempt."""
        self._thread.submit(lambda: self._answer(message, future))

    def _answer(self, message: RequestRetryCost, future: AppFuture | None) -> None:
        handler, task = self.handler, self.calls.get(message.task)
        if task is None and future is not None and not future.done():
            task = FailedTask(future)
        if handler is None or task is None:
            self._link.send(RetryCost(message.task, message.attempt, 1.0))
            return
        cost, failure = 0.0, None
        try:
            error = exception_of(message.failure, message.task)
            task.add_failure(message.attempt, message.failure, error)
            cost = _number(handler, handler(error, task))
            task.fail_cost += cost
        except (
            BaseException
        ) as raised:  # an error of the handler ends the task, as in Parsl; without a reply it would hang
            log.warning("the retry handler ended task %d: %r", message.task, raised)
            failure = msgspec.structs.replace(failure_of(raised, 1), reason=Reason.retry_handler.value)
        self._link.send(RetryCost(message.task, message.attempt, cost, failure))

    def close(self) -> None:
        """End the thread."""
        self._thread.close(0.5)


def _number(handler: Handler, cost: Any) -> float:
    try:
        if isinstance(cost, (str, bytes)):
            raise TypeError
        return float(cost)
    except (TypeError, ValueError):
        name = getattr(handler, "__qualname__", repr(handler))
        raise ConfigurationError(
            f"The retry handler {name} must return a number, what the failure costs of the task's retries (1: one "
            f"attempt), not {cost!r}."
        ) from None
