"""The handle of a run: turns calls into messages, and messages into settled futures (paper section 4.1).

Calls come from any thread of the user; messages are handled in the link's thread.  It is built in layers, each in a
module of its own: the bond with the run (``connected``), the orders that it takes (``orders``), the futures that it
holds (``holder``); here are calls and messages.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections import deque
from time import time
from typing import TYPE_CHECKING, Any

from parslab.client.calls.codes import SentFunctions
from parslab.client.calls.definitions import DefinitionService
from parslab.client.calls.identities import Identities
from parslab.client.calls.retry_handler import RetryHandlerService
from parslab.client.futures.app_future import AppFuture
from parslab.client.handle.pending import PendingTasks
from parslab.client.local.task_context import acting, calling_join
from parslab.client.local.tasks import LocalTasks
from parslab.client.transport.link import KernelLink
from parslab.client.transport.questions import Questions
from parslab.errors import ConfigurationError
from parslab.records import panel
from parslab.serialize.arguments import Dependencies, pack_arguments
from parslab.serialize.summaries import show_arguments
from parslab.wire.messages.base import OutputPrinted, Refused, TaskKind, TaskValue
from parslab.wire.messages.client import (
    BatchesAcknowledged,
    CallsMatched,
    CancelTasks,
    ClientResumed,
    FollowOutput,
    PanelReply,
    PanelRequest,
    PanelUpdate,
    RequestDefinitions,
    RequestRetryCost,
    RequestValue,
    RunLocalTask,
    SetLinger,
    SubmitTask,
    TaskResolved,
    TasksReopened,
    Welcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path as FilePath
    from types import TracebackType

    from parslab.client.calls.identities import IdentifiedCalls
    from parslab.client.calls.retry_handler import Handler
    from parslab.client.process.launch import KernelProcess
    from parslab.config import Config
    from parslab.serialize.functions import AppFunction
    from parslab.wire.messages.base import TaskSpec
    from parslab.wire.messages.client import PriorTasks
    from parslab.wire.stream import Batch, Buffer

__all__ = ["DataFlowKernel"]

log = logging.getLogger(__name__)

_STREAMS = {1: "stdout", 2: "stderr"}
_LOOK = b'{"type":"SnapshotRequest"}'


class DataFlowKernel(PendingTasks):
    """A run that this process has started or attached to (Parsl: ``DataFlowKernel``).

    Attributes
    ----------
    run : str
        Its name.
    run_dir : pathlib.Path
        Its folder: logs, monitoring, task output.
    pid : int
        Of the DataFlowKernel process.
    config : Config or None
        What it was loaded with; None when attached to somebody else's run.
    labels : tuple of str
        Of its executors.
    linger : float
        Seconds that the run outlives its last notebook or script; 0: it ends with the process that loaded it.
    told : tuple of str
        What ``load()`` has said about an earlier run of this notebook.
    """

    def __init__(
        self, config: Config | None, run: str, run_dir: FilePath, pid: int, started: KernelProcess | None
    ) -> None:
        super().__init__(config, run, run_dir, pid, started)
        self.told: tuple[str, ...] = ()
        self.still: PriorTasks | None = None
        """What earlier kernels of this notebook have left in the run."""
        self.on_feed: Callable[[bytes], None] | None = None
        self._cell = ""
        """The last cell that has called an app, and its first task."""
        self._first = 0
        self._kinds: tuple[int, ...] = ()
        self._choices: dict[Any, tuple[int, ...]] = {}
        self._unhandled: deque[list[Any]] = deque()
        """Batches that are being gone through: (the messages that are left, frames, how many of these are used)."""
        self._codes: SentFunctions
        self._identities: Identities
        self._ids: itertools.count[int]
        self._handlers: dict[type, Callable[[Any], None]] = {
            OutputPrinted: self._printed,
            PanelUpdate: self._fed,
            CallsMatched: self._adopted,
            BatchesAcknowledged: self._acked,
            Welcome: self._welcome,
            Refused: self._refuse,
            SetLinger: self._kept,
            RequestRetryCost: self._judge,
        }

    def _make_parts(self, sock: Any, threads: Mapping[str, int]) -> None:
        self._local = LocalTasks(self, threads)
        self._identities = Identities(getattr(self.config, "resume", True))
        self._handlers[RunLocalTask] = self._local.run
        self._handlers[RequestValue] = self._local.want
        lasting = self._revival is not None
        self._link = KernelLink(sock, self._handle, self._lost, self._mend if lasting else None)
        handler = getattr(self.config, "retry_handler", None)
        self._judging = RetryHandlerService(self._link, self._local.new_pool("retry handler", 1), handler)
        self._codes = SentFunctions(self._link)
        self._questions = Questions(self._link)
        self._handlers[PanelReply] = self._questions.answered
        self._mender = DefinitionService(self)
        self._handlers[RequestDefinitions] = self._mender.asked
        self._handlers[TasksReopened] = self._reopened

    def _close_parts(self) -> None:
        self._mender.close()
        self._local.close()

    def _nothing_comes(self) -> None:
        self._fail_pending()
        self._questions.end()

    def _resume(self, there: int) -> None:
        """Another DataFlowKernel knows us: what it has not heard of is sent again, and what it gets wrong put right."""
        self._link.resume(there)
        self._judging.announce()
        self._local.report_again()
        self._link.send(ClientResumed(list(self._pending), there))
        self._questions.ask_again()
        if self.on_feed is not None:  # it does not know of the panels that look
            self.panel_ask(_LOOK)

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
        """Put a call into the graph and return its future at once.

        Parameters
        ----------
        function
            The app's function.
        args, kwargs
            Of the call; futures anywhere in them are dependencies.
        executors
            ``"all"`` or labels; one is drawn at random (paper section 3.5).
        name, cell
            What the panel shows as app and origin.
        follow
            Called as ``follow(stream, text)`` in the link's thread while the task prints.
        spec
            What the call asks for beyond what every call gets.
        calls
            How its app tells calls apart, where it says anything of that.

        Raises
        ------
        ConfigurationError
            There is no such executor, or none that can keep to the run-time limit of ``spec``.
        SerializationError
            An argument, or something the function uses, cannot travel; it is named.
        NoDataFlowKernelError
            The run is over.
        """
        if self._ended is not None:
            raise self._over()
        numbers = self._choices.get(executors if type(executors) is str else tuple(executors))
        if numbers is None:
            numbers = self._choose(executors)
        if spec is not None and spec.max_run_time:
            numbers = self._that_can_stop(numbers, spec.max_run_time, name or function.name)
        executor = numbers[0] if len(numbers) == 1 else random.choice(numbers)
        parent = calling_join() if acting else -1
        task = next(self._ids)
        if cell is not self._cell and cell:
            self._begin_cell(cell, task)
        future = AppFuture(self, task, name or function.name)
        if self._judging.active:
            self._judging.remember(future, function.function, args, kwargs, self.labels[executor], spec)
        if self._kinds[executor] != TaskKind.remote:
            self._local.submit(future, function, args, kwargs, executor, cell, spec, calls)
            return future
        pickled = function.current()  # held until the call is sent: its number is forgotten with it
        fn = self._codes.number(pickled, function.function)
        inline: bytes
        frames: list[Buffer]
        if args or kwargs or calls is not None:
            dependencies = Dependencies(self._identify)
            inline, frames = pack_arguments(args, kwargs, dependencies, future.app_name)
            if dependencies.needs_identity or calls is not None:
                known = self._identities.remote(pickled, calls, args, kwargs, dependencies)
            else:
                known = None
            deps, shown = tuple(dependencies.tasks), show_arguments(args, kwargs)
            if deps:
                self._local.keep(task, deps)
        else:
            inline, frames = pack_arguments(args, kwargs, _NO_DEPENDENCIES, future.app_name)
            deps, shown, known = (), "", None
        message = SubmitTask(
            task, fn, 0, executor, inline, len(frames), deps, time(), shown, cell, name, follow is not None, spec
        )
        if parent >= 0:
            message.parent = parent
        if known is not None:
            message.identity, message.memo, message.unknown = known
        try:
            self._pending[task] = future
            if follow is not None:
                self._followers[task] = follow
            if frames:
                self._link.send(message, frames)
            else:
                self._link.call(message)
        except BaseException:  # interrupted: nobody will have the future
            self._unmake(task)
            raise
        if self._ended is not None:
            self._fail_pending()
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
        """Call a join app: its body runs here, and returns a future or a list of futures to wait for."""
        if self._ended is not None:
            raise self._over()
        name = name or function.name
        if spec is not None and spec.max_run_time:
            raise ConfigurationError(
                f"App {name}: the body of a join app runs in a thread of this process, which nobody can stop: leave "
                "walltime and max_run_time out, or give them to the apps that it calls."
            )
        future = AppFuture(self, next(self._ids), name)
        if cell is not self._cell and cell:
            self._begin_cell(cell, future.task_id)
        if self._judging.active:
            self._judging.remember(future, function.function, args, kwargs, None, spec)
        self._local.submit(future, function, args, kwargs, None, cell, spec, calls)
        return future

    def _begin_cell(self, cell: str, task: int) -> None:
        """A cell makes its first call; bodies that call on behalf of an earlier one do not count."""
        if threading.get_ident() not in acting:
            self._cell, self._first = cell, task

    def _choose(self, executors: str | Sequence[str]) -> tuple[int, ...]:
        labels = [executors] if isinstance(executors, str) else list(executors)
        if labels == ["all"]:
            labels = list(self.labels)
        unknown = [label for label in labels if label not in self.labels]
        if unknown or not labels:
            raise ConfigurationError(
                f"There is no executor {', '.join(map(repr, unknown)) or 'named'}; "
                f"this run has {', '.join(self.labels)}."
            )
        numbers = tuple(self.labels.index(label) for label in labels)
        self._choices[executors if isinstance(executors, str) else tuple(executors)] = numbers
        return numbers

    def _that_can_stop(self, numbers: tuple[int, ...], limit: float, app: str) -> tuple[int, ...]:
        """Those of the executors that can stop a task that runs too long."""
        able = tuple(number for number in numbers if self._kinds[number] == TaskKind.remote)
        if not able:
            labels = ", ".join(self.labels[number] for number in numbers)
            raise ConfigurationError(
                f"App {app}: executor {labels} cannot keep to a limit of {limit:g} s, because nobody can stop its "
                "threads: choose one with worker processes, or leave walltime and max_run_time out."
            )
        return able

    # ----- questions and orders

    def ask(self, message: panel.Request, timeout: float | None = 10.0) -> panel.Reply:
        """Ask something of the panel protocol and wait for the answer.

        Raises
        ------
        TimeoutError
            The DataFlowKernel is too busy to answer.
        """
        if self._ended is not None:
            raise self._over()
        answer = self._questions.ask(message, timeout)
        if answer is None:
            raise self._lost_error()
        return answer

    def panel_ask(self, text: bytes) -> None:
        """Forward a panel's question; the answer comes to ``on_feed``."""
        if self._ended is None:
            self._link.send(PanelRequest(0, text))

    def follow(self, task: int, call: Callable[[str, str], None]) -> None:
        """Have what a task prints from now on given to ``call(stream, text)``."""
        self._followers[task] = call
        self._link.send(FollowOutput(task))

    def cancel(self, tasks: Iterable[int] | None = None, *, cell: str | int = "", app: str = "") -> str:
        """Cancel these tasks, those of a cell or an app, or (nothing given) all unfinished ones of this process.

        Tasks that run are stopped, with all that they have started; those that need a cancelled one fail with a
        ``DependencyError`` that names it; with a join app goes what its body has called.  What runs in a thread of this
        process (``ThreadPoolExecutor``) goes on, because nobody can stop it.

        Parameters
        ----------
        tasks
            Their numbers (``future.task_id``).
        cell
            ``"In [5]"``, or 5: what that cell of this notebook has called.
        app
            The name of an app.

        Returns
        -------
        str
            One line on what was done; empty when numbers were given, for those are not waited for.

        Raises
        ------
        TimeoutError
            The DataFlowKernel is too busy to answer.
        """
        if self._ended is not None:
            return ""
        if cell != "" or app:
            named = cell if isinstance(cell, str) else f"In [{cell}]"
            return self._order(panel.CancelRequest("", [] if tasks is None else list(tasks), app=app, cell=named))
        self._link.send(CancelTasks(list(self._pending) if tasks is None else list(tasks)))
        return ""

    @property
    def last_cell(self) -> str:
        """The last cell that has called an app (``In [n]``); empty before, and outside of notebooks."""
        return self._cell

    def _unfinished_of_last_cell(self) -> int:
        """How many tasks that were called since the last cell began calling are unfinished."""
        return sum(task >= self._first for task in list(self._pending))

    # ----- messages (link's thread)

    def _handle(self, batch: Batch) -> None:
        messages, frames = batch
        unhandled = self._unhandled
        unhandled.append([iter(messages), frames, 0])
        while unhandled:  # more than one when a callback of a user waits for an answer: what came first goes first
            first = unhandled[0]
            self._go_through(first)
            if unhandled and unhandled[0] is first:
                unhandled.popleft()
        if self._released:
            self._send_released()

    def _go_through(self, batch: list[Any]) -> None:
        handlers, judged = self._handlers, self._judging.tasks
        for message in batch[0]:
            kind = type(message)
            if kind is TaskResolved:
                future = self._pending.pop(message.task, None)
                if message.failure is not None:
                    self._ended_badly(message.task, future)
                elif self._local.open:
                    self._local.ended(message.task)
                if future is not None:
                    future._resolve(message.state, message.inline, message.size, message.failure)
                else:
                    self._questions.made_again(message.task)
                if self._followers:
                    self._followers.pop(message.task, None)
                if judged:
                    self._judging.ended(message.task)
            elif kind is TaskValue:
                batch[2] += self._questions.value(message, list(batch[1]), batch[2])
            else:
                handlers[kind](message)

    def _printed(self, message: OutputPrinted) -> None:
        call = self._followers.get(message.task)
        if call is not None:
            try:
                call(_STREAMS[message.stream], message.text.decode(errors="replace"))
            except Exception:
                log.exception("the follower of task %d failed", message.task)

    def _fed(self, message: PanelUpdate) -> None:
        if self.on_feed is not None:
            self.on_feed(message.text)

    def _welcome(self, message: Welcome) -> None:
        if self._number >= 0:
            return  # to another DataFlowKernel of the same run
        self._number, self._there = message.client, 0
        self._ids = itertools.count(message.client << 40 if message.first < 0 else message.first)
        self._kinds = tuple(kind for _, kind in message.executors)
        self.labels = tuple(label for label, _ in message.executors)
        self.still = message.still
        if self._judging.active or self.still is not None:
            self._judging.announce()
        self._welcomed.set()

    def _judge(self, message: RequestRetryCost) -> None:
        self._judging.asked(message, self._pending.get(message.task))

    def _use_handler(self, handler: Handler | None) -> None:
        """The cell that makes the configuration was run again, with the handler that it has now."""
        if self.config is not None and self.config.retry_handler is not handler:
            self.config = self.config.replaced(retry_handler=handler)
            self._judging.use(handler)

    def _kept(self, message: SetLinger) -> None:
        self.linger = message.seconds

    # ----- with blocks

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
        state = "over" if self._ended is not None else f"{len(self._pending)} unfinished tasks"
        return f"<DataFlowKernel run {self.run} pid {self.pid}, executors {', '.join(self.labels)}, {state}>"


_NO_DEPENDENCIES = Dependencies(lambda _: (0, None))
