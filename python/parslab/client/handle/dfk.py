"""The handle of a run, which users hold: it composes the components of the client and forwards to them [HPDC19 §4.1].

Calls come from any thread of the user.  Messages of the DataFlowKernel are handled in the link's thread.

- ``RunState``: name, place and end of the run; ``Lifecycle``: welcome, reconnection and end.
- ``PendingTasks``: the futures of unfinished tasks; ``FutureRequests``: what futures ask of the run.
- ``RemoteCalls``: calls that workers execute; ``LocalTasks``: tasks that this process executes.
- ``MessageHandler``: what the DataFlowKernel sends; ``Questions``, ``RunCommands``: what it answers.
"""

from __future__ import annotations

import itertools
from threading import get_ident
from typing import TYPE_CHECKING, Any

from parslab.client.calls.definition_service import DefinitionService
from parslab.client.calls.executors import Executors
from parslab.client.calls.identities import Identities
from parslab.client.calls.pending import PendingTasks
from parslab.client.calls.retry_handler import RetryHandlerService
from parslab.client.calls.sent_functions import SentFunctions
from parslab.client.futures.app_future import AppFuture
from parslab.client.handle.commands import ANSWER_TIMEOUT, RunCommands
from parslab.client.handle.future_requests import FutureRequests
from parslab.client.handle.lifecycle import Lifecycle
from parslab.client.handle.messages import MessageHandler
from parslab.client.handle.remote_calls import RemoteCalls
from parslab.client.local.task_context import calling_join, task_contexts
from parslab.client.local.tasks import LocalTasks
from parslab.client.run_state import RunState
from parslab.client.transport.link import KernelLink
from parslab.client.transport.questions import Questions
from parslab.errors import ConfigurationError
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
    from parslab.client.handle.run_connection import RunConnection
    from parslab.config import Config
    from parslab.records import panel
    from parslab.serialize.functions import AppFunction
    from parslab.wire.messages.base import TaskSpec
    from parslab.wire.messages.client import PriorTasks
    from parslab.wire.stream import Batch

__all__ = ["DataFlowKernel"]

_ATTACH = b'{"type":"SnapshotRequest"}'
"""Asks for a snapshot and all later updates of the panel."""


class DataFlowKernel:
    """A run that this process has started or attached to (Parsl: ``DataFlowKernel``).

    Attributes
    ----------
    config : Config or None
        The configuration of the run; None when attached to the run of somebody else.
    notices : tuple of str
        What ``load()`` has said about earlier runs of this notebook.
    prior_tasks : PriorTasks or None
        What earlier kernels of this notebook have left in the run.
    on_feed : callable or None
        Gets each update of the panel as bytes.
    state, pending, lifecycle, commands, local_tasks, messages
        The components that other parts of the client use.
    """

    def __init__(self, config: Config | None, connection: RunConnection) -> None:
        self.config = config
        self.notices: tuple[str, ...] = ()
        self.prior_tasks: PriorTasks | None = None
        self.on_feed: Callable[[bytes], None] | None = None
        self._cell = ""
        """The last cell that has called an app, and its first task."""
        self._first_of_cell = 0
        self.state = state = RunState(connection.run, connection.run_dir, connection.pid)
        self._link = link = KernelLink(connection.sock, keep=connection.restart is not None)
        self._executors = Executors()
        self._questions = questions = Questions(link)
        self.commands = RunCommands(questions, state)
        self._retry_handler = RetryHandlerService(link, None if config is None else config.retry_handler)
        self.pending = pending = PendingTasks(state, link, self._retry_handler)
        self._requests = FutureRequests(state, link, questions, pending, self.commands)
        identities = Identities(config is None or config.resume)
        self.local_tasks = local = LocalTasks(link, pending, self._requests, identities, connection.threads)
        functions = SentFunctions(link)
        self._definitions = DefinitionService(link, functions, local.redefined_joins)
        self._remote_calls = RemoteCalls(link, pending, functions, identities, local)
        self.messages = MessageHandler(pending, local, self._retry_handler, questions, self._requests)
        self.lifecycle = Lifecycle(state, link, connection.process, connection.restart, self)
        self.messages.handlers |= {
            BatchesAcknowledged: self.lifecycle.batches_acknowledged,
            PanelReply: questions.answered,
            PanelUpdate: self._panel_update,
            Refused: self.lifecycle.refused,
            RequestDefinitions: self._definitions.ask,
            RequestValue: local.send_value,
            RunLocalTask: local.run,
            SetLinger: self._set_linger,
            Welcome: self._welcome,
        }

    @classmethod
    def opened(cls, config: Config | None, connection: RunConnection) -> DataFlowKernel:
        """Make the handle of a run and wait until the DataFlowKernel welcomes it; else nothing stays open.

        Raises
        ------
        ConfigurationError
            The DataFlowKernel cannot be used; the message says why.
        """
        try:
            dfk = cls(config, connection)
        except BaseException:  # an interrupt: nobody will have the handle
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
        """Seconds that the run outlives its last notebook or script; 0: it ends with the process that loaded it."""
        return self.state.linger

    @property
    def on_end(self) -> list[Callable[[str], None]]:
        """Functions that get a sentence when the run is over for this process."""
        return self.lifecycle.on_end

    @property
    def unfinished(self) -> int:
        """How many tasks of this process are not finished."""
        return len(self.pending.unfinished)

    @property
    def last_cell(self) -> str:
        """The last cell that has called an app (``In [n]``); empty before, and outside of notebooks."""
        return self._cell

    @property
    def unfinished_of_last_cell(self) -> int:
        """How many tasks that were called since the last cell began calling are unfinished."""
        return sum(task >= self._first_of_cell for task in list(self.pending.unfinished))

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
    ) -> AppFuture:
        """Send a call to the DataFlowKernel and return its future at once.

        Parameters
        ----------
        function
            The function of the app.
        args, kwargs
            The arguments of the call; futures anywhere in them are dependencies.
        executors
            ``"all"`` or labels; one is chosen at random [HPDC19 §3.5].
        name, cell
            The app and the cell that the panel shows.
        follow
            Called as ``follow(stream, text)`` in the link's thread while the task prints; the stream is ``stdout``,
            ``stderr``, or ``display``: a JSON object with a MIME bundle (``data``), or an order to ``clear``.
        spec
            What the call asks for beyond the defaults.
        calls
            How calls of the app are identified, where the app says something about that.

        Raises
        ------
        ConfigurationError
            There is no such executor, or none that can enforce the run-time limit of ``spec``.
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
        future = AppFuture(self._requests, next(self.pending.numbers), app)
        if cell is not self._cell and cell:
            self._begin_cell(cell, future.task_id)
        if self._retry_handler.handler is not None:
            label = self.labels[executor]
            self._retry_handler.add_call(future, function.function, args, kwargs, executor=label, spec=spec)
        if self._executors.kinds[executor] != TaskKind.remote:
            label = self.labels[executor]
            self.local_tasks.submit(
                future, function, args, kwargs, executor=executor, label=label, cell=cell, spec=spec, calls=calls
            )
            return future
        self._remote_calls.submit(
            future, function, args, kwargs, executor,
            name=name, cell=cell, parent=parent, follow=follow, spec=spec, calls=calls,
        )  # fmt: skip
        if self.state.ended is not None:  # by the link's thread, which may have failed all futures before ours came
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
    ) -> AppFuture:
        """Call a join app: its body runs in this process, and returns a future or a list of futures to wait for."""
        if self.state.ended is not None:
            raise self.state.over_error()
        name = name or function.name
        if spec is not None and spec.max_run_time:
            raise ConfigurationError(
                f"App {name}: the body of a join app runs in a thread of this process, which nobody can stop: leave "
                "walltime and max_run_time out, or give them to the apps that it calls."
            )
        future = AppFuture(self._requests, next(self.pending.numbers), name)
        if cell is not self._cell and cell:
            self._begin_cell(cell, future.task_id)
        if self._retry_handler.handler is not None:
            self._retry_handler.add_call(future, function.function, args, kwargs, executor=None, spec=spec)
        self.local_tasks.submit(future, function, args, kwargs, executor=None, cell=cell, spec=spec, calls=calls)
        return future

    def _begin_cell(self, cell: str, task: int) -> None:
        """A cell makes its first call; a body that calls on behalf of an earlier cell does not count."""
        if get_ident() not in task_contexts:
            self._cell, self._first_of_cell = cell, task

    def use_retry_handler(self, handler: Handler | None) -> None:
        """Replace the retry handler, because the cell that makes the configuration was run again."""
        if self.config is not None and self.config.retry_handler is not handler:
            self.config = self.config.replaced(retry_handler=handler)
            self._retry_handler.use(handler)

    def follow(self, task: int, call: Callable[[str, str], None]) -> None:
        """Give what a task prints from now on to ``call(stream, text)``."""
        self.pending.followers[task] = call
        self._link.send(FollowOutput(task))

    def wait_for_current_tasks(self) -> None:
        """Wait until every task called so far is finished, however it ends (Parsl: same name).

        An interrupt ends only the waiting: the tasks go on, and you may call this again.

        Raises
        ------
        NoDataFlowKernelError
            This process was forked from the one that loaded the run.
        """
        self._requests.flush()
        self.pending.wait_for_all()

    def cancel(self, tasks: Iterable[int] | None = None, *, cell: str | int = "", app: str = "") -> str:
        """Cancel these tasks, those of a cell or an app, or (nothing given) all unfinished ones of this process.

        Running tasks are stopped, with all processes that they have started.  Tasks that need a cancelled one fail with
        a ``DependencyError`` that names it.  The calls of a join app's body are cancelled with it.  Nobody can stop a
        task that runs in a thread of this process (``ThreadPoolExecutor``): it goes on.

        Parameters
        ----------
        tasks
            Task numbers (``future.task_id``).
        cell
            ``"In [5]"``, or 5: the calls of that cell of this notebook.
        app
            The name of an app.

        Returns
        -------
        str
            One line that says what was done; empty when task numbers were given, because nobody waits for those.

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
        """Send a question of the panel protocol and wait for the answer.

        Raises
        ------
        TimeoutError
            The DataFlowKernel is too busy to answer.
        """
        return self.commands.ask(message, timeout)

    def panel_ask(self, text: bytes) -> None:
        """Forward a question of a panel; the answer comes to ``on_feed``."""
        if self.state.ended is None:
            self._link.send(PanelRequest(0, text))

    def explain(self, task: int | AppFuture) -> str:
        """Say why a task ran, or which task gave its result, in a sentence or two.

        Parameters
        ----------
        task
            Its future, or its number.

        Raises
        ------
        ParslabError
            The run does not know the task any more.
        """
        return self.commands.explain(task if isinstance(task, int) else task.task_id)

    def checkpoint(self) -> str:
        """Write the memoized results that are not yet in the run's checkpoint (Parsl: same name).

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
            Futures or task numbers; None: all that failed and whose future somebody in this process still has.
        app
            Only tasks of the app of this name, and those that failed because of one.

        Returns
        -------
        str
            One sentence that says what is done.

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
        """Let the run outlive its last notebook or script by so many seconds; 0: it ends with its owner.

        Returns
        -------
        str
            One sentence that says what that means.
        """
        return self.commands.keep(seconds)

    def scale(self, label: str, blocks: int) -> str:
        """Bring an executor to a number of blocks now; its strategy goes on from there.

        Parameters
        ----------
        label
            The label of the executor; empty: the only one that has blocks.
        blocks
            The number of blocks.

        Returns
        -------
        str
            One sentence that says what is done.

        Raises
        ------
        ConfigurationError
            There is no such executor, or it has no blocks.
        """
        return self.commands.scale(label, blocks)

    def blocks(self) -> list[panel.BlockRow]:
        """The blocks of this run, also those that have ended."""
        return self.commands.blocks()

    def hold(self, block: str) -> str:
        """Give a block no new tasks, until :meth:`release`.

        ``"LABEL/3"``, or ``"3"`` where one executor has blocks; the name of a manager means that node of a block alone.
        """
        return self.commands.block(block, "hold")

    def release(self, block: str) -> str:
        """Give tasks to a held block again."""
        return self.commands.block(block, "release")

    def drain(self, block: str) -> str:
        """Let a block end when it has finished its tasks."""
        return self.commands.block(block, "drain")

    def cancel_block(self, block: str) -> str:
        """End a block at once; its running tasks are lost, and run again where their retries allow it."""
        return self.commands.block(block, "cancel")

    # ----- messages and losses (link's thread; see RunComponents)

    def handle(self, batch: Batch) -> None:
        """Handle a batch of messages."""
        self.messages.handle(batch)

    def resume(self, batches: int) -> None:
        """Send a new DataFlowKernel what it does not have, and tell it which futures are unfinished here."""
        self._link.resume(batches)
        self._retry_handler.announce()
        self.local_tasks.report_again()
        self._link.send(ClientResumed(list(self.pending.unfinished), batches))
        self._questions.ask_again()
        if self.on_feed is not None:  # the new DataFlowKernel does not know which panels are open
            self.panel_ask(_ATTACH)

    def run_over(self) -> None:
        """Settle the futures and questions that wait, because no message will arrive any more."""
        self.pending.fail_all()
        self.local_tasks.drop_all()
        self._questions.end()

    def close(self) -> None:
        """End the threads of the components."""
        self._definitions.close()
        self._retry_handler.close()
        self.local_tasks.close()

    def _welcome(self, message: Welcome) -> None:
        if self.lifecycle.welcomed:
            return  # by another DataFlowKernel of the same run
        self.pending.numbers = itertools.count(message.client << 40 if message.first < 0 else message.first)
        self._executors.set(message.executors)
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
        """End the run: its workers and its process end, unfinished tasks are not waited for (Parsl: ``cleanup``).

        Twice is safe (Parsl raises an error).  Only an owner ends a run; a guest leaves it.
        """
        self.lifecycle.cleanup()

    def leave(self) -> None:
        """Leave the run as it is: it goes on, and stays for ``linger`` seconds after its last client has left.

        Calls that were made here go on; the next kernel of the notebook finds them with ``parslab.load()``.
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
        finally:  # also when the waiting is interrupted
            self.cleanup()

    def __repr__(self) -> str:
        state = "over" if self.state.ended is not None else f"{self.unfinished} unfinished tasks"
        return f"<DataFlowKernel run {self.run} pid {self.pid}, executors {', '.join(self.labels)}, {state}>"
