"""Tasks that run in this process: thread-pool apps, the bodies of join apps, and futures of somebody else.

The DataFlowKernel says when they may run (``RunLocalTask``) and keeps their states; values stay here, by reference,
until a worker needs one (``RequestValue``).
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from concurrent.futures import CancelledError, Future
from time import time
from typing import TYPE_CHECKING, Any

from parslab.client.calls.definitions import defined_now, same_body
from parslab.client.futures.app_future import AppFuture, BaseFuture, DataFuture
from parslab.client.futures.base import left
from parslab.client.local.pool import ThreadPool, futures_in, with_values
from parslab.client.local.task_context import calling_join, on_behalf_of
from parslab.errors import SerializationError
from parslab.records.reasons import Reason
from parslab.records.states import TaskState
from parslab.serialize.arguments import Dependencies
from parslab.serialize.failures import failure_of, one_line
from parslab.serialize.summaries import brief, show_arguments
from parslab.serialize.values import pack
from parslab.wire.messages.base import Failure, TaskKind, TaskValue
from parslab.wire.messages.client import (
    JoinBodyReturned,
    LocalTaskFinished,
    RequestValue,
    RunLocalTask,
    SubmitTask,
    ValueNotPicklable,
)
from parslab.wire.messages.client import LocalTaskStarted as StartedMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from parslab.client.calls.identities import IdentifiedCalls
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.serialize.functions import AppFunction
    from parslab.wire.messages.base import TaskSpec

__all__ = ["LocalTasks"]

_CANCELLED = "CancelledError: the future was cancelled"
_JOIN_THREADS = 10
"""Threads for the bodies of join apps and for packing values (Parsl: ``internal_tasks_max_threads``)."""


class _Body:
    """What must be called when the DataFlowKernel says so."""

    __slots__ = ("args", "cell", "function", "future", "kwargs", "pool", "runner", "turn")

    def __init__(
        self,
        future: AppFuture,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        pool: ThreadPool,
        runner: Callable[..., Any] | None,
        cell: str,
    ) -> None:
        self.future: AppFuture | None = future
        self.turn = 0
        """How often it has ended: a thread that was told to run it before then is not listened to."""
        self.cell = cell
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.pool = pool
        self.runner = runner


class LocalTasks:
    """All tasks of this kind of one run.

    Parameters
    ----------
    kernel
        The run's handle.
    threads
        Threads of each thread-pool executor, by label.
    """

    def __init__(self, kernel: DataFlowKernel, threads: Mapping[str, int]) -> None:
        self._kernel = kernel
        self._pools = {label: ThreadPool(label, size) for label, size in threads.items()}
        self._joins = ThreadPool("join", _JOIN_THREADS)
        self._bodies: dict[int, _Body] = {}
        self._kinds: weakref.WeakKeyDictionary[AppFuture, int] = weakref.WeakKeyDictionary()
        self._there: weakref.WeakValueDictionary[int, AppFuture] = weakref.WeakValueDictionary()
        """Futures whose value lies here."""
        self._kept: dict[int, list[AppFuture]] = {}
        """By remote task: those of them that its worker may ask for, until it has ended."""
        self._externals: weakref.WeakKeyDictionary[Future[Any], AppFuture] = weakref.WeakKeyDictionary()
        self._running: set[int] = set()
        """Tasks whose bodies were given to a thread and have not ended."""
        self._reports: dict[int, LocalTaskFinished] = {}
        """What the DataFlowKernel was told and has not answered."""
        self._in_threads: set[int] = set()
        """Thread-pool tasks whose bodies run."""
        self._meeting = threading.Lock()  # one external task for a future that two threads pass on at once

    def new_pool(self, name: str, size: int) -> ThreadPool:
        """Threads for something else than tasks, which end with the others (``name`` is no label: it has a space)."""
        self._pools[name] = pool = ThreadPool(name.replace(" ", "-"), size)
        return pool

    # ----- calls

    def submit(
        self,
        future: AppFuture,
        code: AppFunction,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        executor: int | None,
        cell: str,
        spec: TaskSpec | None = None,
        calls: IdentifiedCalls | None = None,
    ) -> None:
        """Put a thread-pool call (``executor``) or a join (None) into the graph."""
        found: list[Future[Any]] = []
        futures_in([args, dict(kwargs)], found)
        dependencies = Dependencies(self._kernel._identify)
        for inner in found:
            dependencies.refer(inner)
        deps = tuple(dependencies.tasks)
        known = self._kernel._identities.local(code, calls, args, kwargs, dependencies.known)
        kind = TaskKind.join if executor is None else TaskKind.local
        if executor is None:
            pool = self._joins
        else:
            label = self._kernel.labels[executor]
            # A guest has no configuration: its thread-pool tasks share the threads of its joins.
            pool = self._pools.get(label, self._joins)
        self._kinds[future] = kind
        self._there[future.task_id] = future
        self._bodies[future.task_id] = _Body(future, code.function, args, kwargs, pool, code.runner, cell)
        message = SubmitTask(
            future.task_id,
            -1,
            kind,
            executor or 0,
            b"",
            0,
            deps,
            time(),
            show_arguments(args, kwargs),
            cell,
            future.app_name,
            spec=spec,
            parent=calling_join(),
            identity=known.identity,
            memo=known.memo,
            unknown=known.unknown,
        )
        self._kernel._expect(future, message)

    def external(self, future: Future[Any]) -> AppFuture:
        """The task that stands for somebody else's future."""
        with self._meeting:
            task = self._externals.get(future)
            if task is not None:
                return task
            task = AppFuture(self._kernel, next(self._kernel._ids), "future")
            self._externals[future] = task
        self._kinds[task] = TaskKind.external
        self._there[task.task_id] = task
        message = SubmitTask(
            task.task_id, -1, TaskKind.external, 0, b"", 0, (), time(), brief(future), "", type(future).__name__
        )
        self._kernel._expect(task, message)
        future.add_done_callback(lambda done: self._external_done(task, done))
        return task

    def keep(self, task: int, deps: tuple[int, ...]) -> None:
        """The worker of this remote task may ask for values that lie here, even when their futures are dropped."""
        kept = [future for dep in deps if (future := self._holding(dep)) is not None] if self._there else []
        if kept:
            self._kept[task] = kept

    def _holding(self, task: int) -> AppFuture | None:
        """The future of a task whose value lies here, or that could not run again without one that does."""
        future = self._there.get(task)
        if future is None:
            future = self._kernel._pending.get(task) if task in self._kept else self._kernel._failed.get(task)
            if future is not None and task not in self._kept and future._again is None:
                return None
        return future

    # ----- messages (link's thread)

    def run(self, message: RunLocalTask) -> None:
        """Everything a task needs is there.  Its body is kept until it has ended, because it may be tried again."""
        body = self._bodies.get(message.task)
        if body is None:  # it was tried again while its future was on its way to the garbage
            now, why = time(), Failure("CancelledError: nobody in the notebook has its future any more")
            self._kernel._link.send(LocalTaskFinished(message.task, TaskState.failed, now, now, why))
            return
        task = message.task
        if message.again and (task in self._running or task in self._reports or isinstance(body.future, _JoinFuture)):
            return
        self._reports.pop(message.task, None)  # of an earlier attempt
        self._running.add(message.task)
        turn = body.turn
        body.pool.submit(lambda: self._execute(body, turn))

    def want(self, message: RequestValue) -> None:
        """A worker needs a value that lies here."""
        future = self._there.get(message.task)
        self._joins.submit(lambda: self._ship(message.task, future))

    @property
    def open(self) -> bool:
        """Whether anything is held for a task that has not ended."""
        return bool(self._bodies or self._kept or self._reports)

    def ended(self, task: int, failed: AppFuture | None = None) -> None:
        """A task has ended, perhaps without ever having run: let go of what was held for it.

        What it takes to run a ``failed`` one again is held by its future from now on.
        """
        body, kept = self._bodies.pop(task, None), self._kept.pop(task, None)
        self._reports.pop(task, None)
        if body is not None:
            body.turn += 1
            body.future = None  # no circle: the future must go when nobody has it any more
        if failed is not None and (body or kept):
            failed._again = body, kept

    def reopened(self, future: AppFuture) -> None:
        """A task is tried again."""
        body, kept = future._again or (None, None)
        future._again = None
        self._running.discard(future.task_id)
        if body is not None:
            body.future = future
            body.function = defined_now(body.function, self._kinds[future] == TaskKind.join)
            self._bodies[future.task_id] = body
        if kept is not None:
            self._kept[future.task_id] = kept

    def mended(self, futures: Iterable[AppFuture]) -> list[int]:
        """Those that are joins whose body was written anew after it had returned what to wait for."""
        found = []
        for future in futures:
            body = (future._again or (None,))[0]
            if body is None or not isinstance(future, _JoinFuture):
                continue
            if not same_body(body.function, defined_now(body.function, join=True)):
                found.append(future.task_id)
        return found

    def report_again(self) -> None:
        """Another DataFlowKernel may not know how these have ended."""
        for report in list(self._reports.values()):
            self._kernel._link.send(report)

    def _report(self, task: int, state: TaskState, started: float, failure: Failure | None = None) -> None:
        self._reports[task] = report = LocalTaskFinished(task, state, started, time(), failure)
        self._running.discard(task)
        self._kernel._link.send(report)

    def renamed(self, new: int, old: int) -> None:
        """A remote task goes by another number from now on."""
        if new in self._kept:
            self._kept[old] = self._kept.pop(new)

    def let_go(self) -> None:
        """No task will end any more."""
        self._bodies.clear()
        self._kept.clear()
        self._reports.clear()

    # ----- bodies (pool threads)

    def runs_in_thread(self, task: int) -> bool:
        """Whether this is a thread-pool task whose body runs: nobody can stop it."""
        return task in self._in_threads

    def _execute(self, body: _Body, turn: int) -> None:
        future = body.future
        if body.turn != turn or future is None:
            return  # cancelled while it waited for a thread
        task, join = future.task_id, self._kinds[future] == TaskKind.join
        if not join:
            self._in_threads.add(task)
        try:
            if not future.done():  # else it was cancelled while it waited for a thread
                with on_behalf_of(future, body.cell, join):
                    self._call(body, future, join, turn)
        finally:
            self._in_threads.discard(task)
            self._running.discard(task)

    def _call(self, body: _Body, future: AppFuture, join: bool, turn: int) -> None:
        task, link = future.task_id, self._kernel._link
        started = time()
        link.send(StartedMessage(task, started))
        try:
            args, kwargs = with_values(body.args), with_values(dict(body.kwargs))
            if body.runner is not None:
                value = body.runner(body.function, *args, **kwargs)
            else:
                value = body.function(*args, **kwargs)
            if body.turn != turn:
                return
            if join:
                link.send(self._joining(future, value, started))
                return
            future._take(value)
        except BaseException as error:  # SystemExit of a body ends the task, not the thread
            failure = failure_of(error, 1)
            if body.turn == turn:
                self._report(task, TaskState.failed, started, failure)
        else:
            self._report(task, TaskState.exec_done, started)

    def _joining(self, future: AppFuture, value: Any, started: float) -> JoinBodyReturned:
        many = isinstance(value, list)
        inner: list[Any] = value if many else [value]
        wrong = [item for item in inner if not isinstance(item, Future)]
        if wrong:
            raise TypeError(
                f"join app {future.app_name} must return a future or a list of futures, it returned "
                f"{'a list with a ' if many else ''}{type(wrong[0]).__name__}"
            )
        future.__class__ = _JoinFuture
        future._inner = inner  # type: ignore[attr-defined]
        future._many = many  # type: ignore[attr-defined]
        tasks = tuple(self._kernel._identify(item)[0] for item in inner)
        return JoinBodyReturned(future.task_id, tasks, many, started)

    def _ship(self, task: int, future: AppFuture | None) -> None:
        link = self._kernel._link
        if future is None:
            text = f"SerializationError: the value of task {task} is not in the notebook any more"
            link.send(ValueNotPicklable(task, Failure(text, reason=Reason.serialization.value)))
            return
        try:
            value = future._value()
            inline, frames = pack(value)
        except Exception as error:
            what = f"the result of app {future.app_name} (task {task}, run in the notebook)"
            link.send(ValueNotPicklable(task, failure_of(SerializationError(what, one_line(error)))))
        else:
            link.send(TaskValue(task, inline, len(frames)), frames)

    def _external_done(self, task: AppFuture, done: Future[Any]) -> None:
        now = time()
        state, failure = TaskState.exec_done, None
        try:
            task._take(done.result())
        except CancelledError:
            state, failure = TaskState.failed, Failure(_CANCELLED, reason=Reason.cancelled.value)
        except BaseException as error:
            state, failure = TaskState.failed, failure_of(error)
        with contextlib.suppress(OSError):
            self._report(task.task_id, state, now, failure)

    def close(self) -> None:
        """Let go of everything."""
        for pool in [*self._pools.values(), self._joins]:
            pool.close(0.5)
        self.let_go()


class _JoinFuture(AppFuture):
    """The future of a join app whose body has returned: its value is that of the futures it returned."""

    _inner: list[BaseFuture | DataFuture | Future[Any]]
    _many: bool

    def _value(self, until: float | None = None) -> Any:
        if not self._known:
            values = [item.result(left(until)) for item in self._inner]
            self._take(values if self._many else values[0])
        return self._object
