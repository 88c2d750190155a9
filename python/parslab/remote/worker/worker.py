"""The main thread of a worker: it takes a task, unpickles it, runs it and packs its result.

Only this thread unpickles what users sent. Tasks that were sent ahead wait in ``todo``, from which the control thread
may take them back. ``popleft`` here and ``pop`` there are atomic, so each task is taken exactly once. The outcomes of
very short tasks are sent together; an outcome never waits for a later task that is not short.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import types
from collections import deque
from typing import TYPE_CHECKING, Any

from parslab.clock import steady_time
from parslab.records.running import set_running
from parslab.remote.worker.calls import arguments_of, loaded, packed
from parslab.remote.worker.children import end_children
from parslab.remote.worker.process_state import StateNotRestored
from parslab.serialize.failures import failure_of
from parslab.serialize.import_path import explain_missing
from parslab.serialize.shared.values import Mappings, shared
from parslab.wire.messages.base import DefineFunction, Failure, ForgetFunctions, frame_count
from parslab.wire.messages.worker import NOT_RESTORED, Outcome, RunTask
from parslab.wire.shared_memory import in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.remote.worker.links import WorkerLink
    from parslab.remote.worker.output import Output
    from parslab.remote.worker.process_state import ProcessState
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.shared_memory import Buffer, PlainBuffer
    from parslab.wire.stream import Batch

__all__ = ["Worker"]

_GATHER = 0.0005
"""Seconds for which outcomes of short tasks are gathered before they are sent together."""
_MOST_RAISES = 100
"""How often the handler of a signal may interrupt the restoration of the state."""
_OURS = 1
"""Frames of this file at the top of a task's traceback, which the user does not want to see."""


class Worker:
    """Runs the tasks of one link.

    Parameters
    ----------
    link
        The data link.
    output
        The output files, emptied after each task.
    page
        A page of memory shared with the parent, which reads there which task and attempt ran when a worker died;
        None for a worker on another host.
    state
        Working folder, timers and the like, restored after each task.
    """

    def __init__(self, link: WorkerLink, output: Output, page: memoryview | None, state: ProcessState) -> None:
        self._link = link
        self._state = state
        self._output = output
        output.current = lambda: self.current
        set_running(output.current)
        self._page = page if page is not None else memoryview(bytearray(16)).cast("q")
        self._todo: deque[tuple[RunTask, list[Buffer]]] = deque()
        self._reading = threading.Lock()  # the control thread reads the data link while a task occupies the main thread
        self._finished: deque[tuple[list[WireMessage], Sequence[Buffer]]] = deque()
        self._gathering = 0.0
        self._codes: dict[int, Callable[..., Any] | PlainBuffer] = {}
        self._names: dict[int, str] = {}
        self._leaving = False
        self._not_restored: StateNotRestored | None = None
        self.current = -1
        """The task that is running, or -1."""
        self.since = 0.0
        self.interrupting = -1
        """The task that the control thread interrupts, or -1."""
        self._process = os.getpid()

    @property
    def busy(self) -> bool:
        """Whether a task runs or waits here."""
        return self.current >= 0 or bool(self._todo)

    def run(self) -> None:
        """Run tasks until a message asks this worker to leave.

        Raises
        ------
        StateNotRestored
            A task has changed this process so that it must not run another one.
        """
        # Only the main thread may install a handler, and Python runs every handler in it.
        signal.signal(signal.SIGINT, self._on_interrupt)
        self._state.begin()
        todo = self._todo
        while True:
            try:
                run, frames = todo.popleft()
            except IndexError:
                # Before the wait: the next message may never arrive, and clients wait for these outcomes.
                self.send_finished()
                if self._leaving:
                    return
                with self._reading:
                    self._accept(self._link.receive(None))
                continue
            self._execute(run, frames)

    def _accept(self, batches: list[Batch]) -> None:
        for messages, frames in batches:
            at = 0
            for message in messages:
                if type(message) is RunTask:
                    count = message.frames + sum(map(frame_count, message.values))
                    self._todo.append((message, frames[at : at + count] if count else []))
                    at += count
                elif type(message) is DefineFunction:
                    self._codes[message.fn] = in_memory(frames[at])
                    self._names[message.fn] = message.name
                    at += 1
                elif type(message) is ForgetFunctions:
                    for fn in message.fns:
                        self._codes.pop(fn, None)
                else:
                    self._leaving = True

    # ----- one task

    def _execute(self, run: RunTask, frames: list[Buffer]) -> None:
        """Run one task and queue its outcome.

        The worker writes the page that the parent reads after a crash in a fixed order.  It writes the attempt before
        the task, so that the page never names a task with the attempt of another one.  It writes the end before it
        sends the outcome: if the worker dies in between, the task counts as lost and never begins twice (D10).
        """
        self.since = started = steady_time()
        inline, failure, interrupted = b"", None, False
        out: Sequence[Buffer] = ()
        try:
            try:
                self._page[1] = run.attempt
                self.current = self._page[0] = run.task
                inline, out = self._call(run, frames)
            finally:
                self.current = -1
                # First, and again below: a timer that the task has left behind may raise at any line.
                if self._state.changed:
                    self._restore_state(started)
        except KeyboardInterrupt as error:
            self._restore_state(started)
            self._leave_if_forked(error)
            interrupted = self.interrupting == run.task  # a task may also raise KeyboardInterrupt itself
            failure = failure_of(error, _OURS)
        except BaseException as error:
            self._restore_state(started)
            self._leave_if_forked(error)
            failure = self._failure(run, error)
        self._leave_if_forked(None)
        ended = self._clean_up(run, started)
        outcome = Outcome(
            task=run.task,
            attempt=run.attempt,
            inline=inline,
            frames=len(out),
            started=started,
            ended=ended,
            failure=failure,
            interrupted=interrupted,
        )
        self._gather(outcome, out)

    def _clean_up(self, run: RunTask, started: float) -> float:
        """Remove what the task has left behind in this process; return when the task ended."""
        # A task that ends by itself may leave processes behind on purpose.  The ranks of an MPI task may not stay: the
        # next task gets their cores.
        if self.interrupting == run.task or run.environment is not None:
            with contextlib.suppress(Exception):
                end_children(started)
        ended = steady_time()
        self.current = self.interrupting = -1  # again: an interrupt may have skipped the first assignment
        if self._state.changed or ended > self._state.next_look:
            self._restore_state(ended)
        self._output.restore_streams()
        return ended

    def _restore_state(self, now: float) -> None:
        """Restore what the task has changed in this process; a failure is kept until the outcome is sent."""
        for _ in range(_MOST_RAISES):
            try:
                return self._state.restore(now)
            except StateNotRestored as error:
                self._not_restored = error
                return None
            except BaseException:  # the handler of a signal or timer of the task: it has no task any more
                continue
        self._not_restored = StateNotRestored(f"{NOT_RESTORED}: its signal handlers raise all the time")
        return None

    def _gather(self, outcome: Outcome, out: Sequence[Buffer]) -> None:
        """Send an outcome, or keep it for a moment: short tasks in a row share a message."""
        messages: list[WireMessage] = [*self._output.take(outcome.task, final=True), outcome]
        self._page[0] = -1 - outcome.task
        self._finished.append((messages, out))
        # From its start, not its end: a task that is longer than the limit is then sent at once.
        if self._gathering == 0.0:
            self._gathering = outcome.started
        if out or not self._todo or outcome.ended - self._gathering > _GATHER or outcome.failure is not None:
            self.send_finished()
        if self._not_restored is not None:
            self.send_finished()
            raise self._not_restored

    def _call(self, run: RunTask, frames: list[Buffer]) -> tuple[bytes, Sequence[Buffer]]:
        function = self._codes[run.fn]
        if not callable(function):
            function = self._load(run.fn, bytes(function))
        if run.environment:
            os.environ.update(run.environment)  # ``ProcessState`` takes them away after the task
        name = self._names[run.fn]
        mappings = Mappings() if frames and self._link.passes_descriptors else None
        args, kwargs = arguments_of(run, frames, name, mappings)
        result = function(*args, **kwargs)
        if type(result) is types.CoroutineType:
            # Here, because it takes longer to load than most tasks run, and few apps are coroutines.
            import asyncio

            result = asyncio.run(result)
        inline, plain = packed(result, name)
        if plain and self._link.passes_descriptors:
            return shared(inline, plain, mappings)
        return inline, plain

    def _load(self, fn: int, payload: bytes) -> Callable[..., Any]:
        function = self._codes[fn] = loaded(payload, self._names[fn])
        return function

    def _failure(self, run: RunTask, error: BaseException) -> Failure:
        explain_missing(error)
        # The frames of _execute and _call belong to parslab; the frames of the user's code begin below them.
        return failure_of(error, _OURS + 1)

    def _leave_if_forked(self, error: BaseException | None) -> None:
        """End a child process that the task forked and that returned here: its parent owns the task and the links."""
        if os.getpid() == self._process:
            return
        status = 0 if error is None else 1
        with contextlib.suppress(BaseException):  # whatever happens, it must not continue as a second worker
            if isinstance(error, SystemExit):
                status = error.code if isinstance(error.code, int) else int(error.code is not None)
            elif error is not None:
                print(failure_of(error, _OURS + 1).traceback, file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)

    # ----- outcomes and output

    def send_finished(self) -> None:
        """Send outcomes that were gathered; called by either thread."""
        # Each ``popleft`` is atomic, so both threads may empty the queue at once and send each outcome only once.
        self._gathering = 0.0
        messages: list[WireMessage] = []
        frames: list[Buffer] = []
        try:
            while True:
                more, buffers = self._finished.popleft()
                messages += more
                frames += buffers
        except IndexError:
            pass
        if messages:
            self._link.send(messages, frames)

    def send_live_output(self) -> None:
        """Send what the running task has printed so far; called by the control thread."""
        task = self.current
        if task >= 0:
            printed = self._output.take(task, final=False, still=lambda: self.current == task)
            if printed:
                self._link.send(printed)

    def give_back(self, task: int | None = None) -> list[int]:
        """Take tasks that have not begun (or only this one) out of the queue; called by the control thread."""
        # If the main thread holds the lock, it waits for messages itself: the link has nothing that waits for it.
        if self._reading.acquire(blocking=False):
            try:
                self._accept(self._link.receive(0))
            finally:
                self._reading.release()
        if task is not None:
            return self._give_back_one(task)
        back: list[int] = []
        with contextlib.suppress(IndexError):
            # From the right, while the main thread takes from the left: the oldest tasks are those about to begin.
            while True:
                back.append(self._todo.pop()[0].task)
        back.reverse()
        return back

    def _give_back_one(self, task: int) -> list[int]:
        # Never empty the queue and fill it again: the main thread would find it empty, and wait for a message.
        while True:
            with contextlib.suppress(RuntimeError):  # another thread changed the queue during the copy
                for item in self._todo.copy():
                    if item[0].task == task:
                        with contextlib.suppress(ValueError):  # the main thread has just begun it
                            self._todo.remove(item)
                            return [task]
                return []

    def _on_interrupt(self, signum: int, frame: object) -> None:
        """Interrupt the running task if the request named it."""
        # The signal may be late: it must hit neither the next task nor the loop of this worker.
        if self.interrupting >= 0 and self.interrupting == self.current:
            raise KeyboardInterrupt
