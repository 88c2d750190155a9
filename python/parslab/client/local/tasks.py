"""``LocalTasks`` runs tasks in this process: thread-pool apps, the bodies of join apps, and futures of other libraries.

The DataFlowKernel decides when a task may run (``RunLocalTask``) and keeps its state.  The values stay in this process,
by reference, until a worker requests one (``RequestValue``).
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from concurrent.futures import CancelledError, Future
from functools import partial
from types import CoroutineType, MappingProxyType
from typing import TYPE_CHECKING, Any

from parslab.bodies.time_limit import TimeLimit, limited
from parslab.client.calls.definitions import defined_now, same_body
from parslab.client.futures.app_future import AppFuture, BaseFuture, DataFuture
from parslab.client.futures.base import seconds_until
from parslab.client.local.foreign_futures import FutureTasks, as_future
from parslab.client.local.future_values import AnyDepth, ByResolver
from parslab.client.local.task_context import calling_join, on_behalf_of
from parslab.client.thread_pool import ThreadPool
from parslab.clock import steady_time
from parslab.errors import AppTimeout, SerializationError
from parslab.records.reasons import Reason
from parslab.records.states import TaskState
from parslab.serialize.arguments import ArgumentDependencies
from parslab.serialize.failures import failure_from, failure_of, one_line
from parslab.serialize.future_types import is_future
from parslab.serialize.shared.values import shared
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
    from collections.abc import Iterable, Mapping

    from parslab.client.calls.identities import IdentifiedCalls, Identities
    from parslab.client.calls.pending import PendingTasks
    from parslab.client.futures.home import FutureHome
    from parslab.client.local.future_values import FutureSearch
    from parslab.client.transport.link import KernelLink
    from parslab.executors.base import ParslExecutor
    from parslab.serialize.dependency_resolvers import DependencyResolver
    from parslab.serialize.functions import AppFunction
    from parslab.serialize.references import Path
    from parslab.wire.messages.base import TaskSpec

__all__ = ["LocalTasks"]

_CANCELLED = "CancelledError: the future was cancelled"
_NOBODY_WAITS = "CancelledError: nobody in the notebook has its future any more"
_JOIN_THREADS = 10
"""Threads for the bodies of join apps and for packing values (Parsl: ``internal_tasks_max_threads``).  Bodies that wait
for a future do not count."""
_PATIENCE = 0.01
"""Seconds without the end of a body after which queued bodies get further threads.  Most bodies take 20 us, but a
thread may wait 5 ms for the interpreter lock."""


class _Body:
    """The function and arguments that this process calls when the DataFlowKernel allows a task to run."""

    __slots__ = (
        "args",
        "cell",
        "ends",
        "executor",
        "function",
        "future",
        "join",
        "kwargs",
        "limit",
        "pool",
        "resources",
        "runner",
    )

    def __init__(
        self,
        future: AppFuture,
        code: AppFunction,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        pool: ThreadPool,
        cell: str,
    ) -> None:
        self.future: AppFuture | None = future
        self.executor: ParslExecutor | None = None
        """The executor of the user that runs the task instead of a thread, and what the task asks it for."""
        self.resources: dict[str, Any] = {}
        self.function = code.function
        self.runner = code.runner
        self.args = args
        self.kwargs = kwargs
        self.pool = pool
        self.cell = cell
        self.join = False
        """Whether it returns futures of other tasks, for which its task waits."""
        self.limit = 0.0
        """The seconds that the body may take; 0: as long as it wants."""
        self.ends = 0
        """How often the task has ended.  A thread that took the body before the last end must not report a result."""

    def run_by(self, executor: ParslExecutor | None, spec: TaskSpec | None) -> None:
        """Have an executor of the user run the task, if there is one, within the limit of its specification."""
        if spec is not None:
            self.limit = spec.max_run_time or 0.0
        if executor is not None:
            self.executor, self.resources = executor, _resources(spec)


def _resources(spec: TaskSpec | None) -> dict[str, Any]:
    """Return a specification as executors written for Parsl take it: a dictionary, with memory in MB."""
    if spec is None:
        return {}
    values = {"cores": spec.cores, "memory": spec.memory // 10**6, "gpus": spec.gpus, "priority": spec.priority}
    return {name: value for name, value in values.items() if value}


class LocalTasks:
    """All tasks of one run that this process executes.

    Parameters
    ----------
    link
        The connection to the DataFlowKernel.
    pending
        The futures of unfinished tasks, and the numbers of new ones.
    home
        The run of the futures that this object makes.
    identities
        Identifies calls.
    threads
        The number of threads of each thread-pool executor, by label.
    user_executors
        The executors that the user has written for Parsl, by label.
    """

    def __init__(
        self,
        link: KernelLink,
        pending: PendingTasks,
        home: FutureHome,
        identities: Identities,
        threads: Mapping[str, int],
        *,
        user_executors: Mapping[str, ParslExecutor] = MappingProxyType({}),
    ) -> None:
        self._link = link
        self._pending = pending
        self._home = home
        self._identities = identities
        self._user_executors = user_executors
        self._search: FutureSearch = AnyDepth()
        # One thread passes tasks on to an executor of the user, in the order in which their inputs were there.
        sizes = {**threads, **dict.fromkeys(user_executors, 1)}
        self._pools = {label: ThreadPool(label, size) for label, size in sizes.items()}
        self._joins = ThreadPool("join", _JOIN_THREADS, lends=True, patience=_PATIENCE)
        self._bodies: dict[int, _Body] = {}
        self._here: weakref.WeakValueDictionary[int, AppFuture] = weakref.WeakValueDictionary()
        """Futures whose value is in this process."""
        self._kept: dict[int, list[AppFuture]] = {}
        """By remote task, until it has ended: the futures whose values its worker may request."""
        self._externals = FutureTasks()
        self._running: set[int] = set()
        """Unfinished tasks whose bodies a thread has."""
        self._reports: dict[int, LocalTaskFinished] = {}
        """Reports of ended tasks that the DataFlowKernel has not confirmed."""
        # Two threads that pass the same foreign future must get one task for it, at once; an inbox cannot answer them.
        self._naming = threading.Lock()

    def use_resolver(self, resolver: DependencyResolver | None) -> None:
        """Set the rule for where futures are looked for in the arguments; None: at any depth."""
        self._search = AnyDepth() if resolver is None else ByResolver(resolver)

    # ----- calls

    def submit(
        self,
        future: AppFuture,
        code: AppFunction,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        executor: int | None,
        label: str = "",
        cell: str = "",
        spec: TaskSpec | None = None,
        calls: IdentifiedCalls | None = None,
    ) -> None:
        """Send a call of a thread-pool app, or of a join app, for which ``executor`` is None."""
        args, kwargs, dependencies = self._dependencies(args, kwargs)
        known = self._identities.local(code, calls, args, kwargs, dependencies.known)
        self._here[future.task_id] = future
        # A guest has no configuration: its thread-pool tasks share the threads of its joins.
        pool = self._joins if executor is None else self._pools.get(label, self._joins)
        self._bodies[future.task_id] = body = _Body(future, code, args, kwargs, pool=pool, cell=cell)
        body.join = executor is None
        body.run_by(self._user_executors.get(label), spec)
        message = SubmitTask(
            task=future.task_id,
            fn=-1,
            kind=TaskKind.join if body.join else TaskKind.local,
            executor=executor or 0,
            args=b"",
            frames=0,
            deps=tuple(dependencies.tasks),
            at=steady_time(),
            shown=show_arguments(args, kwargs) if args or kwargs else "",
            cell=cell,
            name=future.app_name,
            spec=spec,
            parent=calling_join(),
            identity=known.identity,
            memo=known.memo,
            unknown=known.unknown,
        )
        self._pending.expect(future, message)

    def _dependencies(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any], ArgumentDependencies]:
        """Return arguments without futures of other libraries, and the tasks that they need."""
        dependencies = ArgumentDependencies(self.reference)
        if not args and not kwargs:
            return args, kwargs, dependencies
        found = self._search.futures(args, kwargs)
        if not all(isinstance(future, Future) for future in found):
            # Only a future of the standard library has a result that can be read in any thread, at no cost.
            args, kwargs = self._search.replaced(args, kwargs, self._of_the_library)
            found = self._search.futures(args, kwargs)
        for future in found:
            dependencies.refer(future)
        return args, kwargs, dependencies

    def _of_the_library(self, future: Any) -> Future[Any]:
        """Return a future of the standard library itself, and the task of any other one."""
        return future if isinstance(future, Future) else self.external(future)

    def reference(self, future: Any) -> tuple[int, Path]:
        """Return the task of a future, and the path to its part of the value; foreign futures get a task here."""
        if isinstance(future, BaseFuture):
            parent, path = future.reference()
            if parent.home is self._home:
                return parent.task_id, path
        return self.external(future).task_id, None

    def external(self, future: Any) -> AppFuture:
        """Return the task that represents a future of another library, or of another run."""
        with self._naming:
            task = self._externals.get(future)
            if task is not None:
                return task
            task = AppFuture(self._home, next(self._pending.numbers), "future")
            self._externals.set(future, task)
        self._here[task.task_id] = task
        message = SubmitTask(
            task=task.task_id,
            fn=-1,
            kind=TaskKind.external,
            executor=0,
            args=b"",
            frames=0,
            deps=(),
            at=steady_time(),
            shown=brief(future),
            name=type(future).__name__,
        )
        self._pending.expect(task, message)
        # After the call is sent: a done future runs the callback at once, and its report must follow the call.
        as_future(future).add_done_callback(lambda done: self._external_done(task, done))
        return task

    def keep(self, task: int, deps: tuple[int, ...]) -> None:
        """Keep the values that the worker of a remote task may request, even if the user drops their futures."""
        kept = [future for dep in deps if (future := self._holding(dep)) is not None] if self._here else []
        if kept:
            self._kept[task] = kept

    def _holding(self, task: int) -> AppFuture | None:
        """Return the future of a task whose value is here, or that cannot run again without such a value."""
        future = self._here.get(task)
        if future is not None:
            return future
        if task in self._kept:
            return self._pending.unfinished.get(task)
        future = self._pending.failed.get(task)
        return None if future is None or future.retry_state is None else future

    # ----- messages (link's thread)

    def run(self, message: RunLocalTask) -> None:
        """Give the body of a task to a thread; keep it until the task has ended, because a retry may run it again."""
        task = message.task
        body = self._bodies.get(task)
        if body is None:  # the DataFlowKernel runs the task again, but this process has dropped its future
            now = steady_time()
            self._link.send(LocalTaskFinished(task, TaskState.failed, now, now, Failure(_NOBODY_WAITS)))
            return
        # A restarted DataFlowKernel repeats its requests. The body must not run twice: it runs now, or its report is on
        # the way, or it has returned the futures of a join.
        if message.again and (task in self._running or task in self._reports or isinstance(body.future, _JoinFuture)):
            return
        self._reports.pop(task, None)  # of an earlier attempt
        self._running.add(task)
        ends = body.ends
        body.pool.submit(lambda: self._execute(body, ends))

    def send_value(self, message: RequestValue) -> None:
        """Send a value of this process to the worker that has requested it."""
        # In a pool: pickling may take long and run code of the user, which must not block the link's thread.
        future = self._here.get(message.task)
        self._joins.submit(lambda: self._pack_value(message.task, future))

    @property
    def open(self) -> bool:
        """Whether this process holds anything for a task that has not ended."""
        return bool(self._bodies or self._kept or self._reports)

    def ended(self, task: int, failed: AppFuture | None = None) -> None:
        """Drop the body and the kept values of a task that has ended, whether or not it has run.

        The future of a ``failed`` task takes them over, because a retry needs them.
        """
        body, kept = self._bodies.pop(task, None), self._kept.pop(task, None)
        self._reports.pop(task, None)
        if body is not None:
            body.ends += 1
            body.future = None  # the future now holds the body, and a cycle would keep both until a garbage collection
        if failed is not None and (body or kept):
            failed.retry_state = body, kept

    def reopened(self, future: AppFuture) -> None:
        """Take back the body and the kept values from the future of a task that runs again."""
        body, kept = future.retry_state or (None, None)
        future.retry_state = None
        self._running.discard(future.task_id)
        if body is not None:
            body.future = future
            body.function = defined_now(body.function, body.join)
            self._bodies[future.task_id] = body
        if kept is not None:
            self._kept[future.task_id] = kept

    def redefined_joins(self, tasks: Iterable[int]) -> list[int]:
        """Return those of some failed tasks that are joins whose body the user has redefined after it returned."""
        found = []
        for task in tasks:
            future = self._pending.failed.get(task)
            if not isinstance(future, _JoinFuture):
                continue
            body = (future.retry_state or (None,))[0]
            if body is not None and not same_body(body.function, defined_now(body.function, join=True)):
                found.append(future.task_id)
        return found

    def report_again(self) -> None:
        """Send all reports again, because a new DataFlowKernel may lack them."""
        for report in list(self._reports.values()):
            self._link.send(report)

    def _report(self, task: int, state: TaskState, started: float, failure: Failure | None = None) -> None:
        self._reports[task] = report = LocalTaskFinished(task, state, started, steady_time(), failure)
        self._running.discard(task)
        self._link.send(report)

    def renumbered(self, new: int, old: int) -> None:
        """Change the number of a remote task."""
        if new in self._kept:
            self._kept[old] = self._kept.pop(new)

    def drop_all(self) -> None:
        """Drop everything, because the run is over and no task will end any more."""
        self._bodies.clear()
        self._kept.clear()
        self._reports.clear()

    # ----- bodies (pool threads)

    def _execute(self, body: _Body, ends: int) -> None:
        future = body.future
        if body.ends != ends or future is None:
            return  # cancelled while it waited for a thread
        task, join = future.task_id, body.join
        if not join:
            self._pending.in_threads.add(task)
        passed_on = False
        try:
            if not future.done():  # else it was cancelled while it waited for a thread
                with on_behalf_of(future, body.cell, join):
                    if body.executor is not None:
                        passed_on = self._pass_on(body, body.executor, future, ends)
                    else:
                        passed_on = self._call(body, future, join, ends)
        finally:
            if not passed_on:
                self._left(task)

    def _left(self, task: int) -> None:
        """Note that no thread and no executor of the user has the task any more."""
        self._pending.in_threads.discard(task)
        self._running.discard(task)

    def _pass_on(self, body: _Body, executor: ParslExecutor, future: AppFuture, ends: int) -> bool:
        """Give a task to an executor of the user; return whether the executor has it."""
        started = steady_time()
        self._link.send(StartedMessage(future.task_id, started))
        call = body.function if body.runner is None else partial(body.runner, body.function)
        if body.limit:
            call = partial(limited, body.limit, call)
        try:
            args, kwargs = self._search.values(body.args, body.kwargs)
            done = executor.submit(call, dict(body.resources), *args, **kwargs)
        except BaseException as error:
            self._report(future.task_id, TaskState.failed, started, failure_of(error, 1))
            return False
        done.add_done_callback(lambda done: self._executed(body, future, done, started, ends))
        return True

    def _executed(self, body: _Body, future: AppFuture, done: Future[Any], started: float, ends: int) -> None:
        """Report the end of a task that an executor of the user has run; in whatever thread that executor calls."""
        value, failure = None, None
        try:
            value = done.result()
        except CancelledError:
            failure = Failure(_CANCELLED, reason=Reason.cancelled.value)
        except BaseException as error:
            failure = failure_of(error, 1)
        self._left(future.task_id)
        if body.ends != ends:
            return
        if failure is None:
            future.take_value(value)  # before the report, because the reply to the report settles the future
        state = TaskState.exec_done if failure is None else TaskState.failed
        with contextlib.suppress(OSError):  # the run has ended meanwhile
            self._report(future.task_id, state, started, failure)

    def _call(self, body: _Body, future: AppFuture, join: bool, ends: int) -> bool:
        """Run a body and report its end; return whether that has been reported already, at the limit of its time."""
        task = future.task_id
        started = steady_time()
        self._send(body.pool, StartedMessage(task, started))
        limit = TimeLimit(body.limit, lambda: self._time_is_over(body, task, started, ends)) if body.limit else None
        try:
            value = self._value_of(body) if limit is None else limit.call(self._value_of, body)
            if body.ends != ends or (limit is not None and limit.late):
                return limit is not None and limit.late
            if join:
                self._send(body.pool, self._joining(future, value, started))
                return False
            future.take_value(value)  # before the report, because the reply to the report settles the future
        except BaseException as error:  # a SystemExit of the body ends the task, not the pool's thread
            if limit is not None and limit.late:
                return True
            failure = failure_of(error, 1)
            if body.ends == ends:
                self._report(task, TaskState.failed, started, failure)
        else:
            self._report(task, TaskState.exec_done, started)
        return False

    def _value_of(self, body: _Body) -> Any:
        """Call the function of a body with the values of its futures."""
        args, kwargs = body.args, dict(body.kwargs)
        if args or kwargs:
            args, kwargs = self._search.values(args, kwargs)
        if body.runner is not None:
            value = body.runner(body.function, *args, **kwargs)
        else:
            value = body.function(*args, **kwargs)
        if type(value) is CoroutineType:  # an async function: workers run it to its end, too
            import asyncio

            value = asyncio.run(value)
        return value

    def _time_is_over(self, body: _Body, task: int, started: float, ends: int) -> None:
        """Report a task whose body takes too long, and whose thread may go on (thread of the limit's timer)."""
        self._left(task)
        if body.ends == ends:
            with contextlib.suppress(OSError):  # the run has ended meanwhile
                self._report(task, TaskState.failed, started, failure_from(AppTimeout(task, body.limit)))

    def _send(self, pool: ThreadPool, message: StartedMessage | JoinBodyReturned) -> None:
        """Send a message about a body: at once, or in a batch with others while more bodies wait for a thread."""
        # To send a batch costs as much as a short body, and a burst of joins would send three for each of them.
        if pool.has_queued_jobs:
            self._link.call(message)
        else:
            self._link.send(message)

    def _joining(self, future: AppFuture, value: Any, started: float) -> JoinBodyReturned:
        many = isinstance(value, list)
        inner: list[Any] = value if many else [value]
        wrong = [item for item in inner if not is_future(item)]
        if wrong:
            raise TypeError(
                f"join app {future.app_name} must return a future or a list of futures, it returned "
                f"{'a list with a ' if many else ''}{type(wrong[0]).__name__}"
            )
        inner = [self._of_the_library(item) for item in inner]
        _JoinFuture.change(future, inner, many)  # before the message, because the reply to it settles the future
        tasks = tuple(self.reference(item)[0] for item in inner)
        return JoinBodyReturned(future.task_id, tasks, many, started)

    def _pack_value(self, task: int, future: AppFuture | None) -> None:
        link = self._link
        if future is None:
            text = f"SerializationError: the value of task {task} is not in the notebook any more"
            link.send(ValueNotPicklable(task, Failure(text, reason=Reason.serialization.value)))
            return
        try:
            value = future.value_by(None)
            inline, frames = shared(*pack(value))
        except Exception as error:
            what = f"the result of app {future.app_name} (task {task}, run in the notebook)"
            link.send(ValueNotPicklable(task, failure_of(SerializationError(what, one_line(error)))))
        else:
            link.send(TaskValue(task, inline, len(frames)), frames)

    def _external_done(self, task: AppFuture, done: Future[Any]) -> None:
        now = steady_time()
        state, failure = TaskState.exec_done, None
        try:
            task.take_value(done.result())
        except CancelledError:
            state, failure = TaskState.failed, Failure(_CANCELLED, reason=Reason.cancelled.value)
        except BaseException as error:
            state, failure = TaskState.failed, failure_of(error)
        with contextlib.suppress(OSError):
            self._report(task.task_id, state, now, failure)

    def close(self) -> None:
        """End the idle threads, and drop everything."""
        for pool in [*self._pools.values(), self._joins]:
            pool.close(0.5)
        self.drop_all()


class _JoinFuture(AppFuture):
    """The future of a join app whose body has returned; its value is that of the futures that the body returned."""

    _inner: list[BaseFuture | DataFuture | Future[Any]]
    _many: bool

    @classmethod
    def change(cls, future: AppFuture, inner: list[Any], many: bool) -> None:
        """Make the future of a join wait for these futures."""
        # Changing the class keeps the object, which the user already holds.
        future.__class__ = cls
        assert isinstance(future, cls)
        future._inner = inner
        future._many = many

    def value_by(self, deadline: float | None) -> Any:
        if not self._loaded:
            values = [item.result(seconds_until(deadline)) for item in self._inner]
            self.take_value(values if self._many else values[0])
        return self._object
