"""The handle of a run: turns calls into messages, and messages into settled futures (paper section 4.1).

Calls come from any thread of the user; messages are handled in the link's thread.  The handle holds futures only while
they are unfinished: a finished one belongs to whoever kept it.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import threading
import weakref
from collections import deque
from concurrent.futures import CancelledError
from time import time
from typing import TYPE_CHECKING, Any, Literal

from parslab.client.acting import acting, calling_join
from parslab.client.codes import SentCodes
from parslab.client.futures import AppFuture, LeanFuture
from parslab.client.identities import Identities
from parslab.client.judging import Judging
from parslab.client.link import Link
from parslab.client.local import LocalTasks
from parslab.client.mend import Mender
from parslab.client.questions import Questions
from parslab.errors import ConfigurationError, DataFlowKernelLost, NoDataFlowKernelError, ParslabError, RetryError
from parslab.records import panel
from parslab.records.states import TaskState
from parslab.serialize.arguments import Dependencies, pack_arguments, show_arguments
from parslab.serialize.failures import failure_from
from parslab.wire.messages import (
    Acked,
    Adopted,
    Answered,
    Asked,
    Cancel,
    Fed,
    Follow,
    Judge,
    Keep,
    Mend,
    Printed,
    Refused,
    Release,
    Reopened,
    Resolved,
    Resumed,
    RunLocal,
    Shutdown,
    Submit,
    TaskKind,
    Value,
    Want,
    Welcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path as FilePath
    from types import TracebackType

    from parslab.client.identities import Calls
    from parslab.client.judging import Handler
    from parslab.client.revival import Revival
    from parslab.client.start import Peer
    from parslab.config import Config
    from parslab.serialize.functions import Function
    from parslab.serialize.references import Path
    from parslab.serialize.values import Inline
    from parslab.wire.messages import Spec, Still
    from parslab.wire.stream import Batch, Buffer

__all__ = ["DataFlowKernel"]

log = logging.getLogger(__name__)

_STREAMS = {1: "stdout", 2: "stderr"}
_LARGE = 1 << 20
_HANDSHAKE = 30.0
_DRAIN = 2.0
"""Seconds for calls that have been made to be sent, when this process leaves its run."""
_WRITING = 600.0
"""Seconds that a disk may take for a checkpoint."""


class DataFlowKernel:
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

    def __init__(self, config: Config | None, run: str, run_dir: FilePath, pid: int, started: Peer | None) -> None:
        self.config = config
        self.run = run
        self.run_dir = run_dir
        self.pid = pid
        self.labels: tuple[str, ...] = ()
        self.linger = 0.0
        self.told: tuple[str, ...] = ()
        self.still: Still | None = None
        """What earlier kernels of this notebook have left in the run."""
        self.on_feed: Callable[[bytes], None] | None = None
        self.on_end: list[Callable[[str], None]] = []
        self._started = started
        self._process = os.getpid()
        self._ended: ParslabError | None = None
        self._closing = False
        self._gone = False
        """Whether this process has left the run without ending it."""
        self._process_left = False
        """Whether this is a forked child's copy."""
        self._pending: dict[int, AppFuture] = {}
        self._followers: dict[int, Callable[[str, str], None]] = {}
        self._released: deque[int] = deque()
        self._cell = ""
        """The last cell that has called an app, and its first task."""
        self._first = 0
        self._kinds: tuple[int, ...] = ()
        self._choices: dict[Any, tuple[int, ...]] = {}
        self._welcomed = threading.Event()
        self._refused = ""
        self._lost_how = ""
        self._unhandled: deque[list[Any]] = deque()
        """Batches that are being gone through: (the messages that are left, frames, how many of these are used)."""
        self._failed: weakref.WeakValueDictionary[int, AppFuture] = weakref.WeakValueDictionary()
        """Futures of tasks that have ended without a result: they may become unfinished again."""
        self._link: Link
        self._codes: SentCodes
        self._questions: Questions
        self._local: LocalTasks
        self._judging: Judging
        self._identities: Identities
        self._number = -1
        """Ours as a client of the run."""
        self._there: int | None = None
        """How many of our batches another DataFlowKernel has; None while it has not said so."""
        self._revival: Revival | None = None
        self._ids: itertools.count[int]
        self._handlers: dict[type, Callable[[Any], None]] = {
            Printed: self._printed,
            Fed: self._fed,
            Adopted: self._adopted,
            Acked: self._acked,
            Welcome: self._welcome,
            Refused: self._refuse,
            Keep: self._kept,
            Judge: self._judge,
        }

    def _open(self, sock: Any, threads: Mapping[str, int], first: Any = None) -> None:
        """Start talking; returns when the DataFlowKernel has said welcome, else leaves nothing open."""
        try:
            self._begin(sock, threads, first)
        except BaseException:  # it may be an interrupt: nobody will have the handle
            self._closing = True
            if hasattr(self, "_link"):
                self._link.close()
            sock.close()
            if self._started is not None:
                self._started.bury()
            raise

    def _begin(self, sock: Any, threads: Mapping[str, int], first: Any) -> None:
        self._local = LocalTasks(self, threads)
        self._identities = Identities(getattr(self.config, "resume", True))
        self._handlers[RunLocal] = self._local.run
        self._handlers[Want] = self._local.want
        lasting = self._revival is not None
        self._link = Link(sock, self._handle, self._lost, self._mend if lasting else None)
        handler = getattr(self.config, "retry_handler", None)
        self._judging = Judging(self._link, self._local.new_pool("retry handler", 1), handler)
        self._codes = SentCodes(self._link)
        self._questions = Questions(self._link)
        self._handlers[Answered] = self._questions.answered
        self._mender = Mender(self)
        self._handlers[Mend] = self._mender.asked
        self._handlers[Reopened] = self._reopened
        self._link.start()
        if first is not None:
            self._link.send(first)
        if not self._welcomed.wait(_HANDSHAKE) or not self.labels:
            if self._refused:
                raise ConfigurationError(f"The DataFlowKernel of run {self.run} cannot be used: {self._refused}")
            reason = self._lost_how or f"it did not answer within {_HANDSHAKE:.0f} s"
            tail = self._started.log_tail() if self._started else ""
            log_file = f" Its log is {self._started.log}: {tail}" if self._started else ""
            raise ConfigurationError(f"The DataFlowKernel of run {self.run} cannot be used: {reason}.{log_file}")

    # ----- calls

    def submit(
        self,
        function: Function,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        executors: str | Sequence[str] = "all",
        name: str = "",
        cell: str = "",
        follow: Callable[[str, str], None] | None = None,
        spec: Spec | None = None,
        calls: Calls | None = None,
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
            if dependencies.loose or calls is not None:
                known = self._identities.remote(pickled, calls, args, kwargs, dependencies)
            else:
                known = None
            deps, shown = tuple(dependencies.tasks), show_arguments(args, kwargs)
            if deps:
                self._local.keep(task, deps)
        else:
            inline, frames = pack_arguments(args, kwargs, _NO_DEPENDENCIES, future.app_name)
            deps, shown, known = (), "", None
        message = Submit(
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
        function: Function,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        name: str = "",
        cell: str = "",
        spec: Spec | None = None,
        calls: Calls | None = None,
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

    def _identify(self, future: Future[Any]) -> tuple[int, Path]:
        if isinstance(future, LeanFuture):
            parent, path = future._identity()
            if parent._dfk is self:
                return parent.task_id, path
        return self._local.external(future).task_id, None

    def _expect(self, future: AppFuture, message: Submit) -> None:
        """Hold a future until it is settled, and send its call."""
        try:
            self._pending[future.task_id] = future
            self._link.call(message)
        except BaseException:
            self._unmake(future.task_id)
            raise
        if self._ended is not None:
            self._fail_pending()

    def _unmake(self, task: int) -> None:
        """Its call was interrupted: whether it was sent or not, it shall not be."""
        self._pending.pop(task, None)
        self._followers.pop(task, None)
        self._judging.ended(task)
        self._link.later(Cancel([task]))

    # ----- what futures need

    def _flush(self) -> None:
        if self._process_left:
            raise self._over()
        self._link.flush()

    def _cannot_stop(self, task: int) -> bool:
        return self._local.runs_in_thread(task)

    def _cancel(self, task: int) -> None:
        future = self._pending.pop(task, None)
        if future is not None:
            self._failed[task] = future
        self._link.send(Cancel([task]))

    def _retry(self, task: int) -> None:
        self.retry([task])

    def _release(self, task: int, size: int) -> None:
        """Called when a future is garbage: no locks here."""
        if self._ended is None:
            self._released.append(task)
            if size:
                self._questions.give_up(task)
            if len(self._released) >= 256 or size > _LARGE:
                self._send_released()
                if size > _LARGE:
                    self._link.wake()

    def _send_released(self) -> None:
        tasks: list[int] = []
        with contextlib.suppress(IndexError):
            while True:  # two threads may be here at once: each number must go with one of them
                tasks.append(self._released.popleft())
        if tasks:
            self._link.later(Release(tasks))

    def _state_of(self, task: int) -> TaskState:
        if self._ended is not None:
            return TaskState.failed
        return TaskState[self._detail(task).row.state]

    def _detail(self, task: int) -> panel.TaskDetail:
        answer = self.ask(panel.Detail("", task))
        if not isinstance(answer, panel.TaskDetail):
            raise ParslabError(getattr(answer, "text", f"task {task} is not known"))
        return answer

    def _fetch(self, future: AppFuture, timeout: float | None) -> tuple[Inline, list[Buffer]]:
        """Get a value that was too large to come by itself."""
        if self._ended is not None:
            raise self._lost_error()
        value = self._questions.fetch(future.task_id, timeout)
        if value is None:
            raise self._lost_error()
        return value

    # ----- questions and orders

    def explain(self, task: int | AppFuture) -> str:
        """Why a task ran, or whose result it has, in a sentence or two.

        Parameters
        ----------
        task
            Its future, or its number.

        Raises
        ------
        ParslabError
            Nothing is known of it any more.
        """
        number = task if isinstance(task, int) else task.task_id
        answer = self.ask(panel.Explain("", number))
        if isinstance(answer, panel.Problem):
            raise ParslabError(answer.text)
        return answer.text if isinstance(answer, panel.Done) else ""

    def checkpoint(self) -> str:
        """Write the results that are remembered and not written yet to the run's checkpoint (Parsl: same name).

        Returns
        -------
        str
            The folder of the checkpoint.

        Raises
        ------
        ParslabError
            It cannot be written.
        """
        answer = self.ask(panel.Checkpoint(""), _WRITING)
        if isinstance(answer, panel.Problem):
            raise ParslabError(answer.text)
        return answer.text if isinstance(answer, panel.Done) else ""

    def ask(self, message: panel.Ask, timeout: float | None = 10.0) -> panel.Answer:
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
            self._link.send(Asked(0, text))

    def follow(self, task: int, call: Callable[[str, str], None]) -> None:
        """Have what a task prints from now on given to ``call(stream, text)``."""
        self._followers[task] = call
        self._link.send(Follow(task))

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
            return self._order(panel.Cancel("", [] if tasks is None else list(tasks), app=app, cell=named))
        self._link.send(Cancel(list(self._pending) if tasks is None else list(tasks)))
        return ""

    @property
    def last_cell(self) -> str:
        """The last cell that has called an app (``In [n]``); empty before, and outside of notebooks."""
        return self._cell

    def _unfinished_of_last_cell(self) -> int:
        """How many tasks that were called since the last cell began calling are unfinished."""
        return sum(task >= self._first for task in list(self._pending))

    def retry(self, tasks: Iterable[Future[Any] | int] | None = None, app: str = "") -> str:
        """Try tasks again that failed or were cancelled, with all that failed because of them, and nothing else.

        Their futures, in the hands of whoever has them, are unfinished when this returns, and then hold what comes of
        it.  Tasks call what their app is defined as now (the newest one of its name), with the arguments of the
        original call.

        Parameters
        ----------
        tasks
            Futures or task numbers; None: all that failed and whose future somebody in this process still has.
        app
            Only tasks of the app of this name, and those that failed because of one.

        Returns
        -------
        str
            One sentence: what is done about it.

        Raises
        ------
        RetryError
            None of the tasks can be tried again; it says why.
        """
        if self._ended is not None:
            raise self._over()
        if tasks is None:
            ended = [future for ref in self._failed.valuerefs() if (future := ref()) is not None]
            numbers = sorted(future.task_id for future in ended if future.done() and not future.cancelled())
        else:
            numbers = [task if isinstance(task, int) else self._identify(task)[0] for task in tasks]
        if not numbers:
            return "No task has failed."
        answer = self.ask(panel.Retry("", numbers, app=app), None)
        if isinstance(answer, panel.Problem):
            raise RetryError(answer.text)
        return answer.text if isinstance(answer, panel.Done) else ""

    def scale(self, label: str, blocks: int) -> str:
        """Bring an executor to this many blocks now; its strategy goes on from there.

        Parameters
        ----------
        label
            Of the executor; empty: the only one that has blocks.
        blocks
            How many it shall have.

        Returns
        -------
        str
            One sentence: what is done about it.

        Raises
        ------
        ConfigurationError
            There is no such executor, or it has no blocks.
        """
        return self._order(panel.Scale("", label, blocks))

    def blocks(self) -> list[panel.BlockRow]:
        """The blocks of this run, those that are over included."""
        answer = self.ask(panel.Attach(listen=False))
        return answer.blocks if isinstance(answer, panel.Snapshot) else []

    def hold(self, block: str) -> str:
        """Give a block no new tasks, until :meth:`release`.

        ``"LABEL/3"``, or ``"3"`` where one executor has blocks; the name of a manager means that node of a block alone.
        """
        return self._block_order(block, "hold")

    def release(self, block: str) -> str:
        """Give a block that is held tasks again."""
        return self._block_order(block, "release")

    def drain(self, block: str) -> str:
        """Let a block end when it has finished the tasks that it holds."""
        return self._block_order(block, "drain")

    def cancel_block(self, block: str) -> str:
        """End a block at once; the tasks that it runs are lost, and tried again where retries allow."""
        return self._block_order(block, "cancel")

    def _block_order(self, block: str, action: Literal["hold", "release", "drain", "cancel"]) -> str:
        label, _, number = str(block).rpartition("/")
        return self._order(panel.BlockCommand("", label, number, action))

    def _order(self, message: panel.Ask) -> str:
        answer = self.ask(message)
        if isinstance(answer, panel.Problem):
            raise ConfigurationError(answer.text)
        return answer.text if isinstance(answer, panel.Done) else ""

    def wait_for_current_tasks(self) -> None:
        """Wait until every task called so far is finished, however it ends (Parsl: same name).

        An interrupt ends the waiting alone: tasks go on, and it may be called again.

        Raises
        ------
        NoDataFlowKernelError
            This process was forked from the one that loaded the run.
        """
        self._flush()
        for future in list(self._pending.values()):
            with contextlib.suppress(CancelledError):
                future._wait(None)

    @property
    def unfinished(self) -> int:
        """How many tasks of this process are not finished."""
        return len(self._pending)

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
            if kind is Resolved:
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
            elif kind is Value:
                batch[2] += self._questions.value(message, list(batch[1]), batch[2])
            else:
                handlers[kind](message)

    def _ended_badly(self, task: int, future: AppFuture | None) -> None:
        """A task has ended without a result: it may be tried again as long as somebody has its future."""
        if future is None:
            future = self._failed.get(task)  # it was cancelled here
        else:
            self._failed[task] = future
        self._local.ended(task, future)

    def _reopened(self, message: Reopened) -> None:
        """Tasks that had ended are tried again."""
        for task in message.tasks:
            future = self._failed.pop(task, None)
            if future is not None:
                self._pending[task] = future
                self._local.reopened(future)
                future._reopen()

    def _printed(self, message: Printed) -> None:
        call = self._followers.get(message.task)
        if call is not None:
            try:
                call(_STREAMS[message.stream], message.text.decode(errors="replace"))
            except Exception:
                log.exception("the follower of task %d failed", message.task)

    def _fed(self, message: Fed) -> None:
        if self.on_feed is not None:
            self.on_feed(message.text)

    def _adopted(self, message: Adopted) -> None:
        """Calls turn out to be those of an earlier kernel: their futures go by the numbers of these."""
        for new, old in message.tasks:
            future = self._pending.pop(new, None)
            if future is not None:
                self._pending[old] = future
                future.task_id = old
            if new in self._followers:
                self._followers[old] = self._followers.pop(new)
            self._local.renamed(new, old)
            self._judging.renamed(new, old)

    def _acked(self, message: Acked) -> None:
        """So many batches are in the run's record."""
        if self._there is None:
            self._there = message.batches
        else:
            self._link.acked(message.batches)

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

    def _judge(self, message: Judge) -> None:
        self._judging.asked(message, self._pending.get(message.task))

    def _use_handler(self, handler: Handler | None) -> None:
        """The cell that makes the configuration was run again, with the handler that it has now."""
        if self.config is not None and self.config.retry_handler is not handler:
            self.config = self.config.replaced(retry_handler=handler)
            self._judging.use(handler)

    def _kept(self, message: Keep) -> None:
        self.linger = message.seconds

    def _refuse(self, message: Refused) -> None:
        self._refused = message.reason
        self._welcomed.set()

    # ----- the end

    def _over(self) -> NoDataFlowKernelError:
        if self._process_left:
            return NoDataFlowKernelError(
                f"This process was forked from the one that loaded run {self.run}, which keeps it: "
                "call parslab.load() here to start a run of its own."
            )
        if isinstance(self._ended, DataFlowKernelLost):
            return NoDataFlowKernelError(str(self._ended))
        if self._gone:
            return NoDataFlowKernelError(f"This process has left run {self.run}: parslab.load() finds or starts a run.")
        return NoDataFlowKernelError(f"Run {self.run} is over: call parslab.load() to start another one.")

    def _forked(self) -> None:
        """This is a forked child: leave the run to its parent."""
        self._process_left = True
        self._ended = self._over()
        self._link.abandon()

    def _lost_error(self) -> ParslabError:
        return self._ended or DataFlowKernelLost(self.run, "is gone", str(self.run_dir / "dfk.log"))

    def _mend(self, how: str) -> bool:
        """The connection is over: have the DataFlowKernel started again where it was killed (link's thread)."""
        if not self._welcomed.is_set() or self._revival is None:
            return False
        while not (self._closing or self._refused or self._process_left) and self._link.lasting:
            lost = time()
            how = self._started.how_it_ended() if self._started is not None else "was killed"
            if "was killed" not in how or not self._revival.possible():
                return False
            if not self._revival.again(lost):
                self._lost_how = f"{how}, for the third time within a minute"
                return False
            self._link.let_go()
            back = self._revival.come_back(self._number, how, lost, self._started is not None)
            if back is None:
                return False
            sock, started = back
            if started is not None and self._started is not None:
                self._started, self.pid = started, started.pid
            self._there = None
            try:
                if self._link.turn_over(sock, lambda: self._there is not None, _HANDSHAKE):
                    self._resume()
                    return True
            except EOFError:
                continue
        return False

    def _resume(self) -> None:
        """Another DataFlowKernel knows us: what it has not heard of is sent again, and what it gets wrong put right."""
        there = self._there or 0
        self._link.resume(there)
        self._judging.announce()
        self._local.report_again()
        self._link.send(Resumed(list(self._pending), there))
        self._questions.ask_again()

    def _lost(self, how: str) -> None:
        """The connection is over (link's thread)."""
        closing = self._closing
        if closing:
            how = "left by this process" if self._gone else "shut down"
            self._ended = NoDataFlowKernelError(f"run {self.run} was {how}")
        else:
            if self._refused:
                how = f"has ended: {self._refused}"
            elif self._lost_how:
                how = self._lost_how
            elif self._started is not None:
                how = self._started.how_it_ended()
            self._ended = DataFlowKernelLost(self.run, how, str(self.run_dir / "dfk.log"))
            self._lost_how = f"its process {how}"
        self._welcomed.set()
        self._fail_pending()
        self._questions.end()
        if self._started is not None and not closing:
            self._started.bury()
        for call in self.on_end:
            try:
                call(str(self._ended))
            except Exception:
                log.exception("telling the end of run %s failed", self.run)

    def _fail_pending(self) -> None:
        error = self._ended
        assert error is not None
        failure = failure_from(error)
        while self._pending:
            with contextlib.suppress(KeyError):
                _, future = self._pending.popitem()
                future._resolve(TaskState.failed, b"", 0, failure)
        self._local.let_go()

    def cleanup(self) -> None:
        """End the run: unfinished tasks are not waited for, workers and process go (Parsl: ``cleanup``).

        Twice is safe (Parsl raises an error).  Only the owner of a run ends it; a guest leaves it.
        """
        if os.getpid() != self._process:
            self._link.abandon()
            return
        if self._closing:
            return
        self._closing = True
        try:
            if self._ended is None:
                if self._started is not None:
                    self._link.send(Shutdown("it was shut down by its owner"))
                    with contextlib.suppress(Exception):
                        self._started.wait(5.0)
                else:
                    self._link.send(Release([]))
        finally:  # also when interrupted
            self._link.close()
            self._mender.close()
            self._local.close()
            if self._started is not None:
                self._started.bury()

    def keep(self, seconds: float) -> str:
        """Let the run outlive its last notebook or script by so many seconds; 0: it ends with its owner.

        Returns
        -------
        str
            One sentence: what that means.
        """
        done = self._order(panel.Keep("", float(seconds)))
        self.linger = float(seconds)
        return done

    def leave(self) -> None:
        """Leave the run as it is: it goes on, and stays for ``linger`` seconds after the last one has left it.

        What was called here goes on without us; the next kernel of the notebook finds it with ``parslab.load()``.
        """
        if self._closing or os.getpid() != self._process:
            return
        self._closing = self._gone = True
        try:
            with contextlib.suppress(OSError):
                self._link.drain(_DRAIN)
        finally:
            self._link.close()
            self._mender.close()
            self._local.close()

    def _at_exit(self) -> None:
        """The interpreter ends: what a notebook's kernel leaves stays for the next one, a script's run ends."""
        if self.linger > 0:
            self.leave()
        else:
            self.cleanup()

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
