"""``MessageHandler`` handles the messages of the DataFlowKernel in the link's thread, in the order of arrival."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from parslab.wire.messages.base import OutputPrinted, TaskValue
from parslab.wire.messages.client import CallsMatched, RequestRetryCost, TaskResolved, TasksReopened

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.client.calls.pending import PendingTasks
    from parslab.client.calls.retry_handler import RetryHandlerService
    from parslab.client.handle.future_requests import FutureRequests
    from parslab.client.local.tasks import LocalTasks
    from parslab.client.transport.questions import Questions
    from parslab.wire.stream import Batch

__all__ = ["MessageHandler"]

log = logging.getLogger(__name__)

_STREAMS = {1: "stdout", 2: "stderr", 3: "display"}


class MessageHandler:
    """Passes each message of a batch to the components of a handle.

    Parameters
    ----------
    pending
        The futures of unfinished tasks.
    local
        The tasks that this process executes.
    retry_handler
        The retry handler and its calls.
    questions
        The requests that threads wait for.
    requests
        The releases of futures, which this object sends after each batch.

    Attributes
    ----------
    handlers
        The function for each type of message; the owner of this object adds types.
    """

    def __init__(
        self,
        pending: PendingTasks,
        local: LocalTasks,
        retry_handler: RetryHandlerService,
        questions: Questions,
        requests: FutureRequests,
    ) -> None:
        self._pending = pending
        self._local = local
        self._retry_handler = retry_handler
        self._questions = questions
        self._requests = requests
        self._unhandled: deque[list[Any]] = deque()
        """Unfinished batches: [iterator of the remaining messages, frames, number of frames used]."""
        self.handlers: dict[type, Callable[[Any], None]] = {
            OutputPrinted: self._output_printed,
            CallsMatched: self._calls_matched,
            TasksReopened: self._tasks_reopened,
            RequestRetryCost: self._request_retry_cost,
        }

    def handle(self, batch: Batch) -> None:
        """Handle one batch.

        A callback of the user may wait for a reply in the link's thread while that thread connects to another
        DataFlowKernel.  The link then delivers the next batch while this method still handles the last one.  The inner
        call first handles the rest of that batch, so that messages keep their order.
        """
        messages, frames = batch
        unhandled = self._unhandled
        unhandled.append([iter(messages), frames, 0])
        while unhandled:
            first = unhandled[0]
            self._handle_rest(first)
            if unhandled and unhandled[0] is first:
                unhandled.popleft()
        if self._requests.released:
            self._requests.send_released()

    def take_unhandled(self) -> list[Batch]:
        """Return the messages that :meth:`handle` has not handled yet, and have it return without handling them.

        A callback that ``handle`` is about to wait for calls this in its thread: another thread will handle them.
        """
        left = [(list(messages), list(frames)[used:]) for messages, frames, used in self._unhandled]
        # The calls under way find their iterators and this queue empty; later calls use the new queue.
        self._unhandled.clear()
        self._unhandled = deque()
        return left

    def _handle_rest(self, batch: list[Any]) -> None:
        pending, local, handlers = self._pending, self._local, self.handlers
        unfinished, followers, calls = pending.unfinished, pending.followers, self._retry_handler.calls
        for message in batch[0]:
            kind = type(message)
            # The type of nearly all messages: handled inline, because a call for each would slow down every task.
            if kind is TaskResolved:
                task = message.task
                future = unfinished.pop(task, None)
                # Before the future settles: a thread that wakes may retry the task at once, which needs this state.
                if message.failure is not None:
                    local.ended(task, pending.ended_without_result(task, future))
                elif local.open:
                    local.ended(task)
                if future is not None:
                    future.resolve(message.state, message.inline, message.size, message.failure)
                else:
                    self._questions.made_again(task)
                if followers:
                    followers.pop(task, None)
                if calls:
                    calls.pop(task, None)
            elif kind is TaskValue:
                batch[2] += self._questions.value(message, list(batch[1]), batch[2])
            else:
                handlers[kind](message)

    def _output_printed(self, message: OutputPrinted) -> None:
        follow = self._pending.followers.get(message.task)
        if follow is not None:
            try:
                follow(_STREAMS[message.stream], message.text.decode(errors="replace"))
            except Exception:
                log.exception("the follower of task %d failed", message.task)

    def _calls_matched(self, message: CallsMatched) -> None:
        """Give calls the numbers of the equal tasks that an earlier kernel of the notebook has called."""
        for new, old in message.tasks:
            self._pending.renumbered(new, old)
            self._local.renumbered(new, old)
            self._retry_handler.renumbered(new, old)

    def _tasks_reopened(self, message: TasksReopened) -> None:
        for future in self._pending.reopened(message.tasks):
            self._local.reopened(future)
            future.reopen()

    def _request_retry_cost(self, message: RequestRetryCost) -> None:
        self._retry_handler.ask(message, self._pending.unfinished.get(message.task))
