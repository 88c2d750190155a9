"""The retry handler of ``Config``: asked in this process what a failed attempt costs of its task's retries.

The DataFlowKernel sends ``RequestRetryCost`` and lets the task wait; a thread of ours calls the handler, one failure
after the
other, and answers ``RetryCost``.  The handler never travels: it may use everything of the notebook.  While there is
one, what was called is remembered until it has ended, arguments included, because the handler may look at them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.errors import ConfigurationError
from parslab.records.reasons import Reason
from parslab.records.states import TaskState
from parslab.serialize.failures import exception_of, failure_of
from parslab.wire.messages.client import RetryCost, RetryHandlerChanged

if TYPE_CHECKING:
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.local.pool import ThreadPool
    from parslab.client.transport.link import KernelLink
    from parslab.wire.messages.base import Failure, TaskSpec
    from parslab.wire.messages.client import RequestRetryCost

__all__ = ["FailedTask", "Handler", "RetryHandlerService"]

log = logging.getLogger(__name__)

Handler = Callable[[BaseException, "FailedTask"], float]


class FailedTask(Mapping[str, Any]):
    """What a retry handler is told of a task, as attributes and, as in Parsl, by ``task["key"]``.

    Attributes
    ----------
    id, func_name, func, args, kwargs, executor, time_invoked, app_fu
        The call: its number, its app and function, its arguments as they were given (futures are futures), the label of
        its executor, when it was made, and its future.  What is not known here any more, because an earlier kernel of
        the notebook made the call, or because it had ended and was tried again by ``future.retry()``, is None.
    try_id
        Which attempt has failed, counted from 0.
    fail_count, fail_cost, fail_history
        How many attempts have failed, what those before this one have cost, and the errors of all, as text.
    reason
        A :class:`~parslab.records.reasons.Reason`: why this attempt failed.
    resource_specification
        What the call asked for.
    status
        ``fail_retryable``.
    """

    def __init__(
        self,
        future: AppFuture,
        func: Any = None,
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        executor: str | None = None,
        spec: TaskSpec | None = None,
        at: datetime | None = None,
    ) -> None:
        self.id = future.task_id
        self.func_name = future.app_name
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.executor = executor
        self.time_invoked = at
        self.app_fu = future
        self.try_id = 0
        self.fail_count = 0
        self.fail_cost = 0.0
        self.fail_history: list[str] = []
        self.reason = Reason.app_error
        asked = msgspec.structs.asdict(spec) if spec is not None else {}
        self.resource_specification = {
            name: value for name, value in asked.items() if value not in (None, 0) and value != -1
        }
        self.status = TaskState.fail_retryable

    def __getitem__(self, key: str) -> Any:
        return self.__dict__[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __repr__(self) -> str:
        return f"<task {self.id} {self.func_name}, failed {self.fail_count} times, last for {self.reason}>"

    def _fail(self, attempt: int, failure: Failure, error: BaseException) -> None:
        self.try_id = attempt
        self.fail_count = max(self.fail_count, attempt) + 1  # some may have failed while an earlier kernel was there
        self.fail_history.append(repr(error))
        self.reason = Reason(failure.reason) if failure.reason in Reason.__members__ else Reason.app_error


class RetryHandlerService:
    """The handler of one run, and what it is told.

    Parameters
    ----------
    link
        To the DataFlowKernel.
    pool
        The thread in which the handler is called.
    handler
        None: every failure costs 1.
    """

    def __init__(self, link: KernelLink, pool: ThreadPool, handler: Handler | None) -> None:
        self._link = link
        self._pool = pool
        self._handler = handler
        self.tasks: dict[int, FailedTask] = {}
        """What was called while there was a handler, and has not ended."""

    @property
    def active(self) -> bool:
        """Whether there is a handler."""
        return self._handler is not None

    def use(self, handler: Handler | None) -> None:
        """Ask this one from now on."""
        self._handler = handler
        self.announce()

    def announce(self) -> None:
        """Tell the DataFlowKernel whether it is to ask."""
        self._link.send(RetryHandlerChanged(self._handler is not None))

    # ----- what was called (the user's threads)

    def remember(
        self,
        future: AppFuture,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        executor: str | None,
        spec: TaskSpec | None,
    ) -> None:
        """A call has been made; the handler may want to look at it."""
        made = datetime.now().astimezone()
        self.tasks[future.task_id] = FailedTask(future, func, args, kwargs, executor, spec, made)

    def renamed(self, new: int, old: int) -> None:
        """A task goes by another number from now on."""
        task = self.tasks.pop(new, None)
        if task is not None:
            task.id = old
            self.tasks[old] = task

    def ended(self, task: int) -> None:
        """Nobody will ask about it any more."""
        self.tasks.pop(task, None)

    # ----- what is asked

    def asked(self, message: RequestRetryCost, future: AppFuture | None) -> None:
        """An attempt has failed (link's thread)."""
        self._pool.submit(lambda: self._judge(message, future))

    def _judge(self, message: RequestRetryCost, future: AppFuture | None) -> None:
        handler, task = self._handler, self.tasks.get(message.task)
        if task is None and future is not None and not future.done():
            task = FailedTask(future)
        if handler is None or task is None:  # nobody here knows of it, or wants it any more
            self._link.send(RetryCost(message.task, message.attempt, 1.0))
            return
        cost, failure = 0.0, None
        try:
            error = exception_of(message.failure, message.task)
            task._fail(message.attempt, message.failure, error)
            cost = _number(handler, handler(error, task))
            task.fail_cost += cost
        except BaseException as raised:  # whatever it is, it is the handler's word on this task
            log.warning("the retry handler ended task %d: %r", message.task, raised)
            failure = msgspec.structs.replace(failure_of(raised, 1), reason=Reason.retry_handler.value)
        self._link.send(RetryCost(message.task, message.attempt, cost, failure))


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
