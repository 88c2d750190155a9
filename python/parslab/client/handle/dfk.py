"""``DataFlowKernel`` is the handle of a run: it forwards the calls of users to the client's components [HPDC19 §4.1].

Any thread of the user may call a method.  The link's thread handles the messages of the DataFlowKernel process.

- ``RunState`` holds name, folder and end of the run; ``Lifecycle`` handles welcome, reconnection and end.
- ``PendingTasks`` holds the futures of unfinished tasks; ``FutureRequests`` serves the requests of futures.
- ``RemoteCalls`` sends calls that workers execute; ``LocalTasks`` runs tasks in this process.
- ``MessageHandler`` handles messages; ``Questions`` and ``RunCommands`` send requests and wait for the replies.
"""

from __future__ import annotations

import itertools
import logging
from threading import get_ident
from typing import TYPE_CHECKING, Any

from parslab.client.calls.definition_service import DefinitionService
from parslab.client.calls.executors import Executors
from parslab.client.calls.identities import Identities
from parslab.client.calls.pending import PendingTasks
from parslab.client.calls.retry_handler import RetryHandlerService
from parslab.client.calls.sent_functions import SentFunctions
from parslab.client.futures.app_future import AppFuture, BaseFuture, DataFuture
from parslab.client.futures.task_record import KeptCall
from parslab.client.handle.commands import ANSWER_TIMEOUT, RunCommands
from parslab.client.handle.executor_view import ExecutorView
from parslab.client.handle.future_requests import FutureRequests
from parslab.client.handle.handover import await_handover
from parslab.client.handle.kept_tasks import KeptTasks
from parslab.client.handle.lifecycle import Lifecycle
from parslab.client.handle.messages import MessageHandler
from parslab.client.handle.remote_calls import RemoteCalls
from parslab.client.local.task_context import calling_join, task_contexts
from parslab.client.local.tasks import LocalTasks
from parslab.client.process.run_settings import value_memory
from parslab.client.reproducer.service import ReproducerService
from parslab.client.run_state import RunState
from parslab.client.transport.link import KernelLink
from parslab.client.transport.questions import Questions
from parslab.records import panel
from parslab.records.states import TaskState
from parslab.wire.messages.base import Refused, TaskKind
from parslab.wire.messages.client import (
    BatchesAcknowledged,
    CancelTasks,
    ClientResumed,
    FollowOutput,
    PanelReply,
    PanelRequest,
    PanelUpdate,
    RequestDefinitions,
    RequestReproducer,
    RequestValue,
    RunLocalTask,
    SetLinger,
    Welcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from parslab.client.calls.identities import IdentifiedCalls
    from parslab.client.calls.retry_handler import Handler
    from parslab.client.futures.task_record import TaskRecord
    from parslab.client.handle.run_connection import RunConnection
    from parslab.config import Config
    from parslab.executors.base import ParslExecutor
    from parslab.serialize.dependency_resolvers import DependencyResolver
    from parslab.serialize.functions import AppFunction
    from parslab.wire.messages.base import TaskSpec
    from parslab.wire.messages.client import PriorTasks
    from parslab.wire.stream import Batch

__all__ = ["DataFlowKernel"]

log = logging.getLogger(__name__)

_ATTACH = b'{"type":"SnapshotRequest"}'
"""The request for a snapshot and all later updates of the panel."""


class DataFlowKernel:
    """A run that this process has started or attached to (Parsl: ``DataFlowKernel``).

    Attributes
    ----------
    config : Config or None
        The configuration of the run; None for a guest, who attached to the run of another notebook or script.
    notices : tuple of str
        The sentences that ``load()`` has printed about earlier runs of this notebook.
    prior_tasks : PriorTasks or None
        The tasks that earlier kernels of this notebook have left in the run.
    on_feed : callable or None
        A function that gets each update of the panel as bytes.
    state, pending, lifecycle, commands, local_tasks, messages
        The components that other parts of the client use.
    """

    def __init__(self, config: Config | None, connection: RunConnection) -> None:
        self.config = config
        self.notices: tuple[str, ...] = ()
        self.prior_tasks: PriorTasks | None = None
        self.on_feed: Callable[[bytes], None] | None = None
        self._kept = KeptTasks.wanted_by(config)
        self._cell = ""
        """The last cell that has called an app; ``_first_of_cell`` is its first task."""
        self._first_of_cell = self._first_task = 0
        self.state = state = RunState(connection.run, connection.run_dir, connection.pid)
        self._link = link = KernelLink(connection.sock, keep=connection.restart is not None)
        self._executors = Executors()
        self._questions = questions = Questions(link)
        self.commands = RunCommands(questions, state)
        self._retry_handler = RetryHandlerService(link, None if config is None else config.retry_handler)
        self.pending = pending = PendingTasks(state, link, self._retry_handler)
        self._requests = FutureRequests(state, link, questions, pending, self.commands)
        identities = Identities(config is None or config.resume)
        self.local_tasks = local = LocalTasks(
            link, pending, self._requests, identities, connection.threads, user_executors=connection.user_executors
        )
        functions = SentFunctions(link)
        self._remote_calls = RemoteCalls(link, pending, functions, identities, local, value_memory=value_memory(config))
        self._definitions = DefinitionService(link, functions, local.redefined_joins)
        self._reproducers = ReproducerService(link)
        self.use_dependency_resolver(None if config is None else config.dependency_resolver)
        self.messages = MessageHandler(pending, local, self._retry_handler, questions, self._requests)
        self.lifecycle = Lifecycle(state, link, connection.process, connection.restart, self)
        self.messages.handlers |= {
            BatchesAcknowledged: self.lifecycle.batches_acknowledged,
            PanelReply: questions.answered,
            PanelUpdate: self._panel_update,
            Refused: self.lifecycle.refused,
            RequestDefinitions: self._definitions.ask,
            RequestReproducer: self._reproducers.ask,
            RequestValue: local.send_value,
            RunLocalTask: local.run,
            SetLinger: self._set_linger,
            Welcome: self._welcome,
        }

    @classmethod
    def opened(cls, config: Config | None, connection: RunConnection) -> DataFlowKernel:
        """Make the handle of a run and wait until the DataFlowKernel welcomes it.

        After an error no descriptor or thread stays.

        Raises
        ------
        ConfigurationError
            The DataFlowKernel cannot be used; the message says why.
        """
        try:
            dfk = cls(config, connection)
        except BaseException:  # for example an interrupt: the caller will get no handle to close
            connection.sock.close()
            if connection.process is not None:
                connection.process.clean_up()
            raise
        dfk.lifecycle.open(connection.hello)
        return dfk

    # ----- the run

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.state.run

    @property
    def run_dir(self) -> Path:
        """The folder of the run: logs, monitoring, task output."""
        return self.state.run_dir

    @property
    def pid(self) -> int:
        """The process number of the DataFlowKernel."""
        return self.state.pid

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the executors."""
        return self._executors.labels

    @property
    def linger(self) -> float:
        """Seconds that the run outlives its last client; with 0 it ends with the process that loaded it."""
        return self.state.linger

    @property
    def on_end(self) -> list[Callable[[str], None]]:
        """Functions that get a sentence when the run is over for this process."""
        return self.lifecycle.on_end

    @property
    def unfinished(self) -> int:
        """The number of unfinished tasks that this process has called."""
        return len(self.pending.unfinished)

    @property
    def last_cell(self) -> str:
        """The last cell that has called an app (``In [n]``); empty before, and outside of notebooks."""
        return self._cell

    @property
    def unfinished_of_last_cell(self) -> int:
        """The number of unfinished tasks that this process has called since the first call of the last cell."""
        return sum(task >= self._first_of_cell for task in list(self.pending.unfinished))

    # ----- Parsl's names

    @property
    def run_id(self) -> str:
        """The name of the run (Parsl: a UUID)."""
        return self.run

    @property
    def cleanup_called(self) -> bool:
        """Whether the run is over for this process."""
        return self.state.ended is not None

    @property
    def tasks(self) -> dict[int, TaskRecord]:
        """The records of the unfinished tasks of this process; of all tasks with ``Config(garbage_collect=False)``."""
        futures = self.pending.unfinished.copy()
        if self._kept is not None:
            futures.update(self._kept.futures.copy())
        return {task: future.task_record for task, future in futures.items()}

    @property
    def task_count(self) -> int:
        """The number of tasks that this process has called, with those that stand for futures of other libraries."""
        # repr() shows the next number; next() would use it up.
        return int(repr(self.pending.numbers)[len("count(") : -1]) - self._first_task

    @property
    def task_state_counts(self) -> dict[TaskState, int]:
        """The number of tasks of the run in each state; Parsl's ``States`` are keys, too."""
        answer = self.commands.ask(panel.SnapshotRequest(subscribe=False))
        assert isinstance(answer, panel.Snapshot)
        return {state: answer.overview.counts.get(state.name, 0) for state in TaskState}

    @property
    def executors(self) -> dict[str, ExecutorView | ParslExecutor]:
        """The executors by label; an executor that the user has written for Parsl is that object."""
        from parslab.executors.base import Executor  # imports traitlets, which a guest does not need

        if self.config is None:
            return {}
        return {
            each.label: ExecutorView(each, self.commands) if isinstance(each, Executor) else each
            for each in self.config.executors
        }

    def log_task_states(self) -> None:
        """Log how many tasks are in each state."""
        for state, count in self.task_state_counts.items():
            log.info("tasks in state %s: %d", state, count)

    def render_future_description(self, dep: Future[Any]) -> str:
        """Return a few words for a future: its task, if it has one here."""
        if not isinstance(dep, BaseFuture):
            return repr(dep)
        task, _ = dep.reference()
        return f"{'DataFuture from ' if isinstance(dep, DataFuture) else ''}task {task.task_id}"

    # ----- calls

    def submit(
        self,
        function: AppFunction,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        executors: str | Sequence[str] = "all",
        name: str = "",
        cell: str = "",
        follow: Callable[[str, str], None] | None = None,
        spec: TaskSpec | None = None,
        calls: IdentifiedCalls | None = None,
        future: AppFuture | None = None,
    ) -> AppFuture:
        """Send a call to the DataFlowKernel and return its future at once.

        Parameters
        ----------
        function
            The function of the app.
        args, kwargs
            The arguments of the call; futures anywhere in them are dependencies.
        executors
            ``"all"`` or labels.  Each call draws one of these executors at random [HPDC19 §3.5].
        name, cell
            The names of the app and the cell in the panel.
        follow
            A function that the link's thread calls as ``follow(stream, text)`` while the task prints.  The stream is
            ``stdout``, ``stderr`` or ``display``.  The text of ``display`` is a JSON object with a MIME bundle
            (``data``) or a command to ``clear`` the output.
        spec
            Resources, limits and retries of the call; None: the defaults.
        calls
            The rules by which the app identifies its calls; None: the default rules.
        future
            A future of :meth:`new_future` for this call; None: a new one.

        Raises
        ------
        ConfigurationError
            No executor has such a label, or none of them can enforce the run-time limit of ``spec``.
        SerializationError
            An argument, or something that the function uses, cannot be pickled; the message names it.
        NoDataFlowKernelError
            The run is over.
        """
        if self.state.ended is not None:
            raise self.state.over_error()
        app = name or function.name
        executor = self._executors.pick(executors, spec, app)
        parent = calling_join() if task_contexts else -1
        if future is None:
            # The client numbers its tasks, so that a call returns its future without a round trip (decision 0003).
            future = AppFuture(self._requests, next(self.pending.numbers), app)
        # ``is`` suffices: calling_cell() returns one string object for all calls of a cell.
        if cell is not self._cell and cell:
            self._begin_cell(cell, future.task_id)
        if self._kept is not None or self._retry_handler.handler is not None:
            self._note_call(future, function, args, kwargs, executor=self.labels[executor], spec=spec)
        if self._executors.kinds[executor] != TaskKind.remote:
            self.local_tasks.submit(
                future, function, args, kwargs,
                executor=executor, label=self.labels[executor], cell=cell, spec=spec, calls=calls,
            )  # fmt: skip
            return future
        self._remote_calls.submit(future, function, args, kwargs, executor, name=name, cell=cell, parent=parent,
                                  follow=follow, spec=spec, calls=calls)  # fmt: skip
        # The link's thread may have ended the run and failed all futures before this call added its own.
        if self.state.ended is not None:
            self.run_over()
        return future

    def submit_join(
        self,
        function: AppFunction,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        name: str = "",
        cell: str = "",
        spec: TaskSpec | None = None,
        calls: IdentifiedCalls | None = None,
        future: AppFuture | None = None,
    ) -> AppFuture:
        """Call a join app and return its future at once.

        The body runs in a thread of this process, and returns a future or a list of futures.  The task ends when these
        futures are done.  The parameters are as in :meth:`submit`.
        """
        if self.state.ended is not None:
            raise self.state.over_error()
        name = name or function.name
        if future is None:
            future = AppFuture(self._requests, next(self.pending.numbers), name)
        if cell is not self._cell and cell:
            self._begin_cell(cell, future.task_id)
        if self._kept is not None or self._retry_handler.handler is not None:
            self._note_call(future, function, args, kwargs, executor=None, spec=spec)
        self.local_tasks.submit(future, function, args, kwargs, executor=None, cell=cell, spec=spec, calls=calls)
        return future

    def _note_call(
        self,
        future: AppFuture,
        function: AppFunction,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        executor: str | None,
        spec: TaskSpec | None,
    ) -> None:
        """Keep what a call was made with, for the retry handler and for records of tasks; a join has no executor."""
        if self._retry_handler.handler is not None:
            self._retry_handler.add_call(future, function.function, args, kwargs, executor=executor, spec=spec)
        if self._kept is not None:
            self._kept.add(future, KeptCall(function.function, args, kwargs, spec, executor is None))

    def new_future(self, name: str) -> AppFuture:
        """Return the future of a call that this process submits later, for code that needs the future before."""
        return AppFuture(self._requests, next(self.pending.numbers), name)

    def choose_executor(self, executors: str | Sequence[str], spec: TaskSpec | None, app: str) -> str:
        """Return the label of the executor that is drawn for a call; the parameters are as in :meth:`submit`."""
        return self.labels[self._executors.pick(executors, spec, app)]

    def _begin_cell(self, cell: str, task: int) -> None:
        """Store the first call of a cell, unless the body of an earlier cell's join app makes it."""
        if get_ident() not in task_contexts:
            self._cell, self._first_of_cell = cell, task

    def use_retry_handler(self, handler: Handler | None) -> None:
        """Replace the retry handler, because the user has run the cell of the configuration again."""
        if self.config is not None and self.config.retry_handler is not handler:
            self.config = self.config.replaced(retry_handler=handler)
            self._retry_handler.use(handler)

    def use_dependency_resolver(self, resolver: DependencyResolver | None) -> None:
        """Replace the rule for where futures are looked for, because the user has run the cell again."""
        self._remote_calls.use_resolver(resolver)
        self.local_tasks.use_resolver(resolver)

    def follow(self, task: int, call: Callable[[str, str], None]) -> None:
        """Call ``call(stream, text)`` in the link's thread with the output that a task prints from now on."""
        self.pending.followers[task] = call
        self._link.send(FollowOutput(task))

    def wait_for_current_tasks(self) -> None:
        """Wait until all tasks that this process has called are finished, also failed ones (Parsl: same name).

        An interrupt ends the wait only: the tasks go on, and you may call this method again.

        Raises
        ------
        NoDataFlowKernelError
            This process was forked from the one that loaded the run.
        """
        self._requests.flush()
        self.pending.wait_for_all()

    def cancel(self, tasks: Iterable[int] | None = None, *, cell: str | int = "", app: str = "") -> str:
        """Cancel some tasks, those of a cell or an app, or (without arguments) all unfinished ones of this process.

        The worker stops a running task, with all processes that the task has started.  Tasks that need a cancelled one
        fail with a ``DependencyError`` that names it.  The cancel of a join app includes the calls of its body.  A task
        that runs in a thread of this process (``ThreadPoolExecutor``) goes on, because Python cannot stop a thread.

        Parameters
        ----------
        tasks
            Task numbers (``future.task_id``).
        cell
            The name or number of a cell of this notebook: ``"In [5]"``, or 5.
        app
            The name of an app.

        Returns
        -------
        str
            One line that says what the DataFlowKernel did.  It is empty for task numbers alone, because the method then
            does not wait for a reply.

        Raises
        ------
        TimeoutError
            The DataFlowKernel is too busy to answer.
        """
        if self.state.ended is not None:
            return ""
        if cell != "" or app:
            named = cell if isinstance(cell, str) else f"In [{cell}]"
            return self.commands.cancel([] if tasks is None else list(tasks), cell=named, app=app)
        self._link.send(CancelTasks(list(self.pending.unfinished) if tasks is None else list(tasks)))
        return ""

    # ----- commands

    def ask(self, message: panel.Request, timeout: float | None = ANSWER_TIMEOUT) -> panel.Reply:
        """Send a request of the panel protocol and wait for the reply.

        Parameters
        ----------
        message
            The request.
        timeout
            Seconds to wait; None: no limit.

        Raises
        ------
        TimeoutError
            The DataFlowKernel is too busy to answer.
        """
        return self.commands.ask(message, timeout)

    def panel_ask(self, text: bytes) -> None:
        """Forward a request of a panel; ``on_feed`` gets the reply."""
        if self.state.ended is None:
            self._link.send(PanelRequest(0, text))

    def explain(self, task: int | AppFuture) -> str:
        """Return a sentence or two that say why a task ran, or which task gave its result.

        Parameters
        ----------
        task
            The future or the number of the task.

        Raises
        ------
        ParslabError
            The run has dropped the task.
        """
        return self.commands.explain(task if isinstance(task, int) else task.task_id)

    def checkpoint(self) -> str:
        """Add the newest memoized results to the run's checkpoint (Parsl: same name).

        Returns
        -------
        str
            The folder of the checkpoint.

        Raises
        ------
        ParslabError
            The checkpoint cannot be written.
        """
        return self.commands.checkpoint()

    def retry(self, tasks: Iterable[Future[Any] | int] | None = None, app: str = "") -> str:
        """Run failed or cancelled tasks again, with the tasks that failed because of them, and no others.

        When this returns, the futures of these tasks are unfinished; later they hold the new results.  A task calls its
        app as the notebook defines it now (the newest app of its name), with the arguments of the original call.

        Parameters
        ----------
        tasks
            Futures or task numbers.  None: all failed tasks whose future this process still holds.
        app
            The name of an app.  With it, only tasks of this app run again, and those that failed because of them.

        Returns
        -------
        str
            One sentence that says what the DataFlowKernel does.

        Raises
        ------
        RetryError
            None of the tasks can run again; the message says why.
        """
        if self.state.ended is not None:
            raise self.state.over_error()
        if tasks is None:
            return self.commands.retry(self.pending.retryable(), app)
        reference = self.local_tasks.reference
        return self.commands.retry([task if isinstance(task, int) else reference(task)[0] for task in tasks], app)

    def keep(self, seconds: float) -> str:
        """Set how long the run outlives its last client.

        Parameters
        ----------
        seconds
            The time; with 0 the run ends with its owner.

        Returns
        -------
        str
            One sentence that says when the run will end.
        """
        return self.commands.keep(seconds)

    def scale(self, label: str, blocks: int) -> str:
        """Start or end blocks of an executor now; its strategy continues from there.

        Parameters
        ----------
        label
            The label of the executor.  It may be empty where only one executor has blocks.
        blocks
            The number of blocks.

        Returns
        -------
        str
            One sentence that says what the DataFlowKernel does.

        Raises
        ------
        ConfigurationError
            No executor has this label, or the executor has no blocks.
        """
        return self.commands.scale(label, blocks)

    def blocks(self) -> list[panel.BlockRow]:
        """Return the blocks of this run, also those that have ended."""
        return self.commands.blocks()

    def hold(self, block: str) -> str:
        """Send a block no new tasks until :meth:`release`.

        Parameters
        ----------
        block
            ``"LABEL/3"``, or ``"3"`` where one executor has blocks.  The name of a manager selects one node of a block.
        """
        return self.commands.block(block, "hold")

    def release(self, block: str) -> str:
        """Send tasks to a held block again; ``block`` is as in :meth:`hold`."""
        return self.commands.block(block, "release")

    def drain(self, block: str) -> str:
        """End a block when it has finished its tasks; ``block`` is as in :meth:`hold`."""
        return self.commands.block(block, "drain")

    def cancel_block(self, block: str) -> str:
        """End a block at once; ``block`` is as in :meth:`hold`.

        The running tasks of the block are lost, and run again where their retries allow it.
        """
        return self.commands.block(block, "cancel")

    # ----- messages and losses (link's thread; see RunComponents)

    def handle(self, batch: Batch) -> None:
        """Handle a batch of messages."""
        self.messages.handle(batch)

    def take_unhandled(self) -> list[Batch]:
        """Return the messages that :meth:`handle` has not handled yet, for another thread."""
        return self.messages.take_unhandled()

    def resume(self, batches: int) -> None:
        """Send a new DataFlowKernel the batches that it lacks, and the list of unfinished futures."""
        # The batches first, because ClientResumed names tasks of calls that are in them.
        self._link.resume(batches)
        self._retry_handler.announce()
        self.local_tasks.report_again()
        self._link.send(ClientResumed(list(self.pending.unfinished), batches))
        self._questions.ask_again()
        if self.on_feed is not None:  # the new DataFlowKernel does not know which panels are open
            self.panel_ask(_ATTACH)

    def run_over(self) -> None:
        """Settle all futures and requests, because no message will arrive any more."""
        self.pending.fail_all()
        self.local_tasks.drop_all()
        self._questions.end()

    def close(self) -> None:
        """End the threads of the components."""
        self._definitions.close()
        self._reproducers.close()
        self._retry_handler.close()
        self.local_tasks.close()

    def _welcome(self, message: Welcome) -> None:
        if self.lifecycle.welcomed:
            return  # a restarted DataFlowKernel welcomes its clients again; their numbers must not start anew
        # Each client has a range of 2**40 numbers of its own, so that no two clients give one number to two tasks.
        self._first_task = message.client << 40 if message.first < 0 else message.first
        self.pending.numbers = itertools.count(self._first_task)
        self._executors.set(message.executors, message.mpi)
        self.prior_tasks = message.still
        if self._retry_handler.handler is not None or self.prior_tasks is not None:
            self._retry_handler.announce()
        self.lifecycle.welcome(message.client)

    def _panel_update(self, message: PanelUpdate) -> None:
        if self.on_feed is not None:
            self.on_feed(message.text)

    def _set_linger(self, message: SetLinger) -> None:
        self.state.linger = message.seconds

    # ----- the end

    def cleanup(self) -> None:
        """End the run with its workers and its process; unfinished tasks are lost (Parsl: ``cleanup``).

        You may call this method twice (Parsl raises an error).  Only an owner ends a run; a guest leaves it.
        """
        self.lifecycle.cleanup()

    def handover(self, wait: float = 60.0, keep: float = 1800.0) -> str:
        """Hand the run over to another host; ``parslab.load()`` in the notebook's next job goes on with it there.

        When this returns, the run is over for this process.

        Parameters
        ----------
        wait
            Seconds that tasks on this host may take to finish; those that take longer run again on the other host.
        keep
            Seconds that the blocks of the run go on without a DataFlowKernel.

        Returns
        -------
        str
            One sentence that says what happens now.

        Raises
        ------
        ConfigurationError
            The run stays here, because it has no event log, or because its files cannot be written in time.
        """
        return await_handover(self.state, lambda: self.commands.handover(wait, keep), wait)

    def leave(self) -> None:
        """Disconnect from the run without ending it; the run ends ``linger`` seconds after its last client has left.

        The tasks of this process go on.  The next kernel of the notebook finds them with ``parslab.load()``.
        """
        self.lifecycle.leave()

    def __enter__(self) -> DataFlowKernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mode = "cleanup" if self.config is None else self.config.exit_mode
        if mode == "skip":
            return
        try:
            if mode == "wait" and kind is None:
                self.wait_for_current_tasks()
        finally:  # also when an interrupt ends the wait
            self.cleanup()

    def __repr__(self) -> str:
        state = "over" if self.state.ended is not None else f"{self.unfinished} unfinished tasks"
        return f"<DataFlowKernel run {self.run} pid {self.pid}, executors {', '.join(self.labels)}, {state}>"
