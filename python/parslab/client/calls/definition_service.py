"""``DefinitionService`` sends the newest definitions of apps, which the DataFlowKernel requests before a retry.

A thread of its own replies, because pickling a function takes time and may run the user's code.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from parslab.client.calls.definitions import JOIN, newest, specs_of
from parslab.client.thread_pool import ThreadPool
from parslab.errors import SerializationError
from parslab.serialize.failures import one_line
from parslab.serialize.functions import AppFunction
from parslab.wire.messages.client import RedefinedApp, RetryTasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parslab.client.calls.sent_functions import SentFunctions
    from parslab.client.transport.link import KernelLink
    from parslab.serialize.functions import PickledFunction
    from parslab.wire.messages.client import RequestDefinitions

__all__ = ["DefinitionService"]


class DefinitionService:
    """Answers ``RequestDefinitions`` for one run.

    Parameters
    ----------
    link
        The connection to the DataFlowKernel.
    functions
        Sends functions that are new.
    redefined_joins
        Returns those of some tasks that are joins whose body the user has redefined after it returned.
    """

    def __init__(
        self, link: KernelLink, functions: SentFunctions, redefined_joins: Callable[[Iterable[int]], list[int]]
    ) -> None:
        self._link = link
        self._functions = functions
        self._redefined_joins = redefined_joins
        self._thread = ThreadPool("definitions", 1)

    def ask(self, message: RequestDefinitions) -> None:
        """Reply in the thread of this service (called in the link's thread)."""
        self._thread.submit(lambda: self._answer(message))

    def _answer(self, message: RequestDefinitions) -> None:
        # Keeps the pickles alive until the reply is sent: both sides forget a function's number with its pickle.
        held: list[PickledFunction] = []
        redefined: list[RedefinedApp] = []
        problem = ""
        for name in message.apps:
            try:
                app = self._redefined(name, held)
            except Exception as error:
                problem = one_line(error) if not isinstance(error, SerializationError) else str(error)
                break
            if app is not None:
                redefined.append(app)
        joins = tuple(self._redefined_joins(message.tasks))
        with contextlib.suppress(OSError):
            self._link.send(RetryTasks(message.ask, message.tasks, tuple(redefined), joins, problem))
        del held

    def _redefined(self, name: str, held: list[PickledFunction]) -> RedefinedApp | None:
        app = newest(name)
        if app is None or app.kind == JOIN:
            return None
        # A new AppFunction: the app's own one has no lock, and belongs to the threads that call the app.
        pickled = AppFunction(app.code.function, app.code.runner, app.code.name).current()
        held.append(pickled)
        return RedefinedApp(name, self._functions.number(pickled, app.code.function), specs_of(name), app.spec)

    def close(self) -> None:
        """End the thread."""
        self._thread.close(0.5)
