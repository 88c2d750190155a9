"""The workers of an engine, as the manager sees them [shell]: batches go to the engine, and their ends come back.

It has the methods of ``pool.WorkerPool`` that a manager uses.  The engine decides which worker runs a batch, and
replaces workers that it has lost; an executor that does not is made anew.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import sys
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Generic

from parslab.clock import anchor, steady_time
from parslab.errors import AppTimeout, ExecutorError, ParslabError, SoftwareError, WorkerLost
from parslab.records.events import NoticeRaised, WorkerMoved
from parslab.records.states import FINAL, TaskState, WorkerState
from parslab.remote.engines.batch import BatchCall, BatchFunction, RunOnWorker, reply_messages
from parslab.remote.engines.engine import NotBegun
from parslab.remote.engines.losses import is_broken, is_loss
from parslab.remote.engines.page import ALL, HostPage
from parslab.remote.engines.queue import EngineQueue
from parslab.remote.pool.slots import TaskT
from parslab.serialize.failures import failure_from, one_line
from parslab.wire.encoding import encode_messages
from parslab.wire.messages.base import OutputPrinted, Refused
from parslab.wire.messages.worker import Outcome
from parslab.wire.shared_memory import in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.records.software import Software
    from parslab.remote.engines.engine import Engine
    from parslab.remote.engines.page import Running
    from parslab.remote.engines.queue import EngineBatch
    from parslab.remote.pool.pool import PoolHost, TaskEvents
    from parslab.remote.pool.worker_start import WorkerRun
    from parslab.wire.messages.base import ForgetFunctions
    from parslab.wire.messages.worker import Demand, RunTask
    from parslab.wire.stream import Buffer

__all__ = ["EnginePool"]

log = logging.getLogger("parslab.engine")

_LOOK = 0.05
"""Seconds between two looks at the page while batches are at the engine."""
_GRACE = 2.0
"""Seconds that a task has to end after it was interrupted at its limit."""
_BREAKS = 3
"""Executors in a row that may break although they had begun nothing, until the engine counts as broken."""


class EnginePool(Generic[TaskT]):
    """All workers of one engine.

    Parameters
    ----------
    name
        Prefix of the names of its workers.
    engine
        The executor, which has been made.
    run
        The run.
    host
        The process that it runs in.
    tasks
        Receives what happens to tasks.
    on_broken
        Called when the engine cannot run anything any more; ``broken`` says why.

    Attributes
    ----------
    broken
        Why the engine runs nothing; empty while it works.
    peers
        Always empty: the processes of the workers belong to the engine.
    own_processes
        Whether the library of the engine waits for the child processes of this one: always here.
    """

    peers: tuple[Any, ...] = ()
    own_processes = True

    def __init__(
        self,
        name: str,
        engine: Engine,
        *,
        run: WorkerRun,
        host: PoolHost,
        tasks: TaskEvents[TaskT],
        on_broken: Callable[[EnginePool[TaskT]], None],
    ) -> None:
        self.broken = ""
        self._name = name
        self._engine = engine
        self._host = host
        self._tasks = tasks
        self._on_broken = on_broken
        self.queue: EngineQueue[TaskT] = EngineQueue(tasks.demands, engine.workers)
        self._batches: dict[int, EngineBatch[TaskT]] = {}
        self._page = HostPage(self.queue.most)
        self._package = run.package
        self._python = ".".join(map(str, sys.version_info[:2]))
        self._run = RunOnWorker(anchor(), self._page.address)
        self._functions: dict[int, tuple[BatchFunction, bytes]] = {}
        self._renewing = False
        self._breaks = 0
        self._closing = False
        self._here = self._elsewhere = False
        """Whether workers of this host, and of others, have run batches."""
        self._busy = 0
        """Workers that were reported as busy."""
        self._look_at: float | None = None
        self._overtime: dict[int, float] = {}
        """The batches whose task was interrupted at its limit, and when it is given up."""

    def start(self) -> None:
        """Report the workers."""
        for number in range(self.queue.workers):
            self._report(number, WorkerState.idle)

    # ----- tasks go out

    def assign(self, now: float) -> None:
        """Give the engine ready tasks, as far as it should have more."""
        if self._renewing or self.broken:
            return
        for batch in self.queue.assign(now):
            self._batches[batch.number] = batch
            if not self._fits(batch):
                continue
            batch.row = self._page.take(batch.number)
            args, demand = self._payload(batch)
            self._engine.submit(batch.number, args, self._ended_somewhere, demand)
            for task in batch.tasks.values():
                self._tasks.sent(task, now, self._name)
        self._look_at = self._look_at or now + _LOOK

    def _fits(self, batch: EngineBatch[TaskT]) -> bool:
        """Fail a task that asks for software of its own, which the workers of an engine cannot get."""
        for task in batch.tasks.values():
            software = None if task.spec is None else self._tasks.software(task)
            if software is not None:
                self._refuse(batch, software)
                return False
        return True

    def _refuse(self, batch: EngineBatch[TaskT], software: Software) -> None:
        del self._batches[batch.number]
        why = f"an executor of another library ({self._engine.name}) has its workers' software, and starts no others"
        for task in self.queue.remove(batch):
            error = SoftwareError(task.id, str(software), why)
            self._tasks.failed(task, failure_from(error), steady_time(), "")

    def _payload(self, batch: EngineBatch[TaskT]) -> tuple[tuple[Any, ...], Demand | None]:
        """Return the arguments of ``runner.run_batch``, and what the batch asks for."""
        buffers: list[Buffer] = []
        messages: list[RunTask] = [self._tasks.message(task, buffers) for task in batch.tasks.values()]
        functions = {task.fn: self._function(task.fn) for task in batch.tasks.values()}
        described = [function for function, _ in functions.values()]
        buffers += [payload for _, payload in functions.values()]
        head = encode_messages(BatchCall(batch.number, batch.row, self._run, described, messages))  # type: ignore[arg-type]
        frames = [bytes(in_memory(buffer)) for buffer in buffers]
        # A task that asks for something is alone in its batch.
        return (self._package, self._python, head, frames), messages[0].demand

    def _function(self, fn: int) -> tuple[BatchFunction, bytes]:
        """Return a function with a name that all processes of the engine give to this pickle, and to no other one."""
        known = self._functions.get(fn)
        if known is None:
            code, buffer = self._tasks.code(fn)
            payload = bytes(in_memory(buffer))
            digest = hashlib.blake2b(payload, digest_size=16).digest()
            known = self._functions[fn] = BatchFunction(fn, digest, code.name), payload
        return known

    # ----- batches end

    def _ended_somewhere(self, number: int, result: Any) -> None:
        """Pass the end of a batch to the loop; any thread calls this."""
        self._host.loop.post(lambda: self._ended(number, result))

    def _ended(self, number: int, result: Any) -> None:
        batch = self._batches.pop(number, None)
        if batch is None or self._closing:
            return
        self._overtime.pop(number, None)
        if isinstance(result, BaseException):
            self._failed(batch, result)
        else:
            self._read(batch, *result)
        self._page.give(batch.row)

    def _read(self, batch: EngineBatch[TaskT], head: bytes, frames: Sequence[bytes]) -> None:
        at = 0
        if not self._elsewhere:
            here = self._running(batch) is not None
            self._here, self._elsewhere = self._here or here, not here
        for message in reply_messages.decode(head):
            if type(message) is Outcome:
                buffers: list[Buffer] = list(frames[at : at + message.frames])
                at += message.frames
                task = self.queue.ended(batch, message.task, message.ended - message.started)
                if task is None or task.attempt != message.attempt:
                    self._tasks.dropped()
                    continue
                self._outcome(task, message, buffers)
            elif type(message) is OutputPrinted:
                self._tasks.printed(message)
            elif type(message) is Refused:
                self._give_back(self.queue.remove(batch))
                self._break(message.reason)
                return
        self._breaks = 0
        # What is left are the tasks that the worker has not begun.
        self._give_back(self.queue.remove(batch))

    def _outcome(self, task: TaskT, outcome: Outcome, frames: list[Buffer]) -> None:
        if outcome.interrupted and task.spec is not None and (limit := self._tasks.demands(task)[1]) > 0:
            outcome.failure = failure_from(AppTimeout(task.id, limit))
        self._tasks.ended(task, outcome, frames, self._name)

    def _give_back(self, tasks: list[TaskT]) -> None:
        """Queue tasks that the engine has not begun; report those that were cancelled."""
        now = steady_time()
        again = []
        for task in tasks:
            if task.state is TaskState.ready:
                again.append(task)
            self._tasks.returned(task, now)
        self.queue.put_back(again)

    def _failed(self, batch: EngineBatch[TaskT], error: BaseException) -> None:
        """Handle a batch that the engine could not run to its end."""
        running = self._running(batch)
        places = batch.places
        self._note_page(running is not None, *(self._running(other) is not None for other in self._batches.values()))
        if running is None and (isinstance(error, NotBegun) or (isinstance(error, CancelledError) and batch.cancelled)):
            begun: set[int] = set()
        elif running is not None:
            begun = set(places[: running.place + 1])
        else:
            # Where all workers are of this host they write what they begin, so such a batch was lost before it began.
            begun = set() if self._all_local and is_loss(error) else set(places)
        held = self.queue.remove(batch)
        self._give_back([task for task in held if task.id not in begun])
        for task in held:
            if task.id in begun:
                self._fail_lost(task, error, running.pid if running is not None else -1)
        broken = is_broken(error.__cause__ if isinstance(error, NotBegun) and error.__cause__ else error)
        if broken and not self._renewing:
            self._renew(error, bool(begun))

    def _fail_lost(self, task: TaskT, error: BaseException, pid: int) -> None:
        now = steady_time()
        if task.state in FINAL:
            self._tasks.returned(task, now)
            return
        words = one_line(error)
        failure: ParslabError
        if is_loss(error):
            how = f"was lost, as {self._engine.name} says: {words}"
            failure = WorkerLost(task.id, how, socket.gethostname(), pid, "")
        else:
            failure = ExecutorError(self._engine.name, f"it could not run task {task.id}: {words}")
        log.warning("%s", failure)
        self._tasks.failed(task, failure_from(failure), now, self._name)

    # ----- a broken executor

    def _renew(self, error: BaseException, had_begun: bool) -> None:
        self._breaks = 0 if had_begun else self._breaks + 1
        if self._breaks >= _BREAKS:
            self._break(f"{self._engine.name} breaks before it runs anything: {one_line(error)}")
            return
        self._renewing = True
        text = f"{self._engine.name} broke ({one_line(error)}); its factory makes another one."
        self._host.emit(NoticeRaised(steady_time(), "warning", text))
        self._engine.renew(lambda why: self._host.loop.post(lambda: self._renewed(why)))

    def _renewed(self, why: str) -> None:
        self._renewing = False
        if why:
            self._break(why)

    def _break(self, why: str) -> None:
        if self.broken or self._closing:
            return
        self.broken = why
        log.error("the engine cannot go on: %s", why)
        self._on_broken(self)

    # ----- the page

    def _running(self, batch: EngineBatch[TaskT]) -> Running | None:
        return self._page.running(batch.row, batch.number)

    def _note_page(self, *seen: bool) -> None:
        """Note whether workers of this host have written to the page."""
        self._here = self._here or any(seen)

    @property
    def _all_local(self) -> bool:
        """Whether every worker that has run a batch belongs to this host."""
        return self._here and not self._elsewhere

    def next_deadline(self) -> float | None:
        """Return when :meth:`probe_silent` should be called next."""
        return self._look_at if self._batches else None

    def probe_silent(self, now: float) -> None:
        """Look what the workers of this host run, and enforce limits."""
        self._look_at = now + _LOOK
        for batch in list(self._batches.values()):
            running = self._running(batch)
            if running is not None:
                self._begun(batch, running.place, running.since, now)
            if len(batch.places) == 1:
                self._enforce(batch, now, None if running is None else running.since)

    def _begun(self, batch: EngineBatch[TaskT], place: int, since: float, now: float) -> None:
        """Report a task that has run for a moment, and take back those that wait behind it."""
        if now - since < _LOOK or place >= len(batch.places):
            return
        task = batch.tasks.get(batch.places[place])
        if task is None:
            return
        if batch.reported != place:
            batch.reported = place
            self._tasks.begun(task, since, self._name)
        if task.state is not TaskState.ready:
            self._page.interrupt(batch.row, place)
        if len(batch.tasks) < 2:
            return
        if self._page.kept(batch.row) == ALL:
            # The worker sees this before it begins another task, or the next look sees that task.
            self._page.keep(batch.row, place + 1)
            return
        self._give_back(self.queue.take_back(batch, range(place + 1, len(batch.places))))

    def _enforce(self, batch: EngineBatch[TaskT], now: float, since: float | None) -> None:
        """Interrupt a task at its limit; give it up when that does not help."""
        task = next(iter(batch.tasks.values()), None)
        limit = 0.0 if task is None or task.spec is None else self._tasks.demands(task)[1]
        if task is None or limit <= 0 or now < (since or batch.sent) + limit:
            return
        if since is not None:
            self._page.interrupt(batch.row, 0)
            if now < self._overtime.setdefault(batch.number, now + _GRACE):
                return
        # The body may run on, and its worker stays occupied; what it returns is dropped.
        self._cancel(batch)
        self.queue.ended(batch, task.id, limit)
        if task.state in FINAL:
            self._tasks.returned(task, now)
        else:
            self._tasks.failed(task, failure_from(AppTimeout(task.id, limit)), now, self._name)

    # ----- what the manager asks

    def stop_task(self, task: TaskT, now: float) -> None:
        """Cancel a task at the engine: it is taken back before it begins, and interrupted where that is possible."""
        batch: EngineBatch[TaskT] = task.worker  # type: ignore[assignment]
        running = self._running(batch)
        if running is not None and batch.places[running.place] == task.id:
            self._page.interrupt(batch.row, running.place)
        elif running is None and len(batch.tasks) == 1:
            self._cancel(batch)

    def _cancel(self, batch: EngineBatch[TaskT]) -> None:
        batch.cancelled = True
        self._engine.cancel(batch.number)

    def report_states(self) -> None:
        """Report to monitoring how many workers are busy."""
        busy = min(self.queue.workers, self.queue.load)
        for number in range(min(busy, self._busy), max(busy, self._busy)):
            self._report(number, WorkerState.busy if number < busy else WorkerState.idle)
        self._busy = busy

    def _report(self, number: int, state: WorkerState, reason: str = "") -> None:
        self._host.emit(
            WorkerMoved(
                time=steady_time(),
                worker=f"{self._name}-{number}",
                executor="",
                state=state,
                host=socket.gethostname(),
                pid=0,
                reason=reason,
            )
        )

    def forget_code(self, fn: int, message: ForgetFunctions) -> None:
        """Forget a function that nobody calls any more."""
        self._functions.pop(fn, None)

    def send_code_again(self) -> None:
        """Forget all functions: their numbers may belong to others now."""
        self._functions.clear()

    def reap(self) -> None:
        """Do nothing: the engine waits for its own processes."""

    def close(self) -> None:
        """Shut the engine down."""
        self._closing = True
        for number in list(self._batches):
            self._engine.cancel(number)
        self._engine.close()
        for number in range(self.queue.workers):
            self._report(number, WorkerState.dead, "the run is over")
        self._page.close()
