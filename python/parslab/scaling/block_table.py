"""The table of blocks of one executor: merges what the scheduler and the managers report about each block [core].

The controller owns the table.  It passes events to the table, and carries out the work that the table puts into its
lists.  A connected manager outweighs the scheduler: the block runs, even if the scheduler has forgotten the job.

Invariants:

* a block that has ended does not change its state;
* the controller cancels the job of every block that it ends, so that no job stays in a queue;
* a failed start counts once (see :mod:`~parslab.scaling.failed_starts`);
* no block in ``alive`` has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.state_machine import step
from parslab.records.states import ENDED, BlockState
from parslab.scaling.block import STARTING, Block
from parslab.scaling.failed_starts import FailedStarts
from parslab.scaling.failure_sentences import queue_is_full
from parslab.scaling.lifecycle import BLOCK, BlockSignal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from parslab.providers.base import JobStatus
    from parslab.scaling.controller_owner import ExecutorLoad

__all__ = [
    "ABANDONED_AFTER",
    "CANCEL_WITHOUT_MANAGER",
    "ENDED_KEPT",
    "EXIT_GRACE",
    "LATE_AFTER",
    "PROVEN_AFTER",
    "RETURN_WITHIN",
    "UNKNOWN_JOB_GRACE",
    "BlockTable",
]

LATE_AFTER = 45.0
"""Seconds for which a job may run without a manager before the user reads why that may be."""

CANCEL_WITHOUT_MANAGER = 600.0
"""Seconds after which a running job without a manager is cancelled.

The time is long, because ``worker_init`` may load a large environment from a slow file system.
"""

ENDED_KEPT = 500
"""Ended blocks that the table keeps, because a manager of one may still connect."""

UNKNOWN_JOB_GRACE = 20.0
"""Seconds after which a job that the scheduler does not know is missing."""

EXIT_GRACE = 1.0
"""Seconds in which a job whose managers have left may end by itself before it is cancelled.

So the scheduler and its accounting show a job that ended in order, and not a cancelled one.
"""

ABANDONED_AFTER = 15.0
"""Seconds in which a manager of a job may connect again after all were lost; later the job is cancelled."""

PROVEN_AFTER = 10.0
"""Seconds of a connected manager that prove the start of its block, even if the manager got no task."""

RETURN_WITHIN = 45.0
"""Seconds in which the managers of an adopted block must connect; they look for a DataFlowKernel for 30 s only."""

JOB_UNKNOWN = "the scheduler does not know its job any more"
BEFORE_RETURN = "before a manager of it found the DataFlowKernel that was started again"


class BlockTable:
    """The blocks of one executor, in the order in which they were requested."""

    def __init__(self, first: int = 0) -> None:
        self.blocks: dict[str, Block] = {}
        """The live blocks, and the ``ENDED_KEPT`` that ended last."""
        self.alive: dict[str, Block] = {}
        self.failed_starts = FailedStarts()
        self.changed: dict[str, Block] = {}
        """Blocks whose changes the controller must send to monitoring."""
        self.output_wanted: list[Block] = []
        """Blocks whose output may explain a failure: read it, then call ``output_read``."""
        self.to_release: list[str] = []
        """Ended blocks whose managers must leave."""
        self._next_id = first

    # ----- what we do

    def request(self, now: float) -> Block:
        """Add a new block; the caller submits its job."""
        return self._add(Block(str(self._next_id), now))

    def adopt(self, name: str, job: str, now: float, joined: bool) -> Block:
        """Add a block that a killed DataFlowKernel requested.

        Parameters
        ----------
        name
            The id of the block.
        job
            Its job; empty when the number is unknown.
        joined
            A manager of it had connected.
        """
        # Until the scheduler confirms the job, nothing that happens to it proves that its start failed.
        block = self._add(Block(name, now, proven=True, adopted=True, awaits_return=joined))
        if job:
            self.accepted(block, job, now)
        return block

    def _add(self, block: Block) -> Block:
        self.skip_ids(int(block.id) + 1)
        self.blocks[block.id] = self.alive[block.id] = self.changed[block.id] = block
        return block

    def skip_ids(self, first: int) -> None:
        """Use no id below ``first``, because earlier blocks had them."""
        self._next_id = max(self._next_id, first)

    def requests_allowed(self, now: float) -> int:
        """Return how many blocks may be requested now: any number, or after a failed start one at a time."""
        if not self.failed_starts.any:
            return 1 << 30  # ``bounded`` has applied ``max_blocks`` already
        return int(self.failed_starts.allows_request(self.alive.values(), now))

    def drain(self, block: Block, now: float, reason: str) -> None:
        """End a block gently: its job is cancelled when its managers have left, or now if none has connected."""
        if block.alive:
            block.unwanted = True
            if not block.managers:
                block.cancel_at = now
            self._move(block, BlockSignal.drains, now, reason)

    def end(self, block: Block, now: float, reason: str) -> None:
        """End a block now: its job is cancelled, whatever runs in it."""
        self.drain(block, now, reason)
        block.cancel_at = now

    def start_cancelling(self, now: float) -> list[Block]:
        """Return the blocks whose jobs are due to be cancelled.

        The caller cancels them, then calls ``cancelled`` or ``cancel_failed``.
        """
        due = [
            block
            for block in self.alive.values()
            if block.job and not block.cancelling and block.cancel_at is not None and block.cancel_at <= now
        ]
        for block in due:
            block.cancelling = True
        return due

    def cancelled(self, ids: Iterable[str], now: float) -> None:
        """Handle a cancellation of these blocks that the scheduler has accepted."""
        for block in self._known(ids):
            if block.unwanted:
                self._move(block, BlockSignal.withdrawn, now)
            elif block.managers:
                # A manager connected during the cancellation.  It will be lost, and that is reported then.
                block.cancelling, block.cancel_at = False, None
            else:
                self._move(block, BlockSignal.broke, now, f"all its managers are gone: {block.last_departure}")

    def cancel_failed(self, ids: Iterable[str], retry_at: float) -> None:
        """Plan the failed cancellation of these blocks again, at ``retry_at``."""
        for block in self._known(ids):
            block.cancelling = False
            block.cancel_at = retry_at

    # ----- what the scheduler reports

    def accepted(self, block: Block, job: str, now: float) -> None:
        """Handle a job that the scheduler has accepted."""
        if block.alive:
            block.job = job
            self._move(block, BlockSignal.accepted, now)

    def postponed(self, block: Block, why: str) -> None:
        """Show why the job of a block could not be submitted yet; the caller submits it again later."""
        if block.alive and block.reason != why and not block.unwanted:
            block.reason = why
            self.changed[block.id] = block

    def refused(self, block: Block, why: str, now: float, counts: bool = True) -> None:
        """Handle a job that the scheduler has refused.

        Parameters
        ----------
        counts
            Whether the refusal counts as a failed start.
        """
        if not block.alive:
            return
        self._move(block, BlockSignal.refused, now, why)
        if block.state is BlockState.failed and queue_is_full(why):
            # The configuration is right, but other jobs of the user fill the queue.  A later request may succeed.
            self.failed_starts.defer(now)
        elif block.state is BlockState.failed:
            if counts:
                # A job that was refused has no output, so there is nothing to wait for.
                self.failed_starts.count_now(block, self.alive.values(), now, refused=True)
        elif block.alive:
            block.unknown_since = now  # its managers are connected, but the number of its job is unknown
            self._check_unknown(block, now)

    def update_statuses(self, statuses: Mapping[str, JobStatus], asked: Iterable[str], now: float) -> None:
        """Merge the statuses that the scheduler reports; a job in ``asked`` without a status is unknown to it."""
        jobs = set(asked)
        for block in list(self.alive.values()):
            # A job that was accepted during the call was not asked for, so its absence proves nothing.
            if block.job in jobs:
                status = statuses.get(block.job)
                if status is None or status.state is BlockState.missing:
                    block.unknown_since = now if block.unknown_since is None else block.unknown_since
                    self._check_unknown(block, now, status)
                else:
                    block.unknown_since = None
                    self._update_status(block, status, now)

    def _update_status(self, block: Block, status: JobStatus, now: float) -> None:
        if status.price is not None and status.price != block.price:
            block.price = status.price
            self.changed[block.id] = block
        was_adopted = block.joined_at is None and (block.adopted or block.awaits_return)
        if block.adopted and status.state in (BlockState.queued, BlockState.running):
            block.adopted = False
            block.proven = block.awaits_return or block.joined_at is not None
        if status.state is BlockState.queued:
            self._job_queued(block, status, now)
        elif status.state is BlockState.running:
            block.started_at = now if block.started_at is None else block.started_at
            self._move(block, BlockSignal.runs, now, block.reason if block.late else status.reason)
        else:
            self._job_ended(block, status, now, was_adopted)

    def _job_queued(self, block: Block, status: JobStatus, now: float) -> None:
        if not block.managers:
            # The scheduler has requeued the job, so the time for its managers begins again when it runs.
            block.started_at = None
            self._move(block, BlockSignal.waits, now, status.reason)

    def _job_ended(self, block: Block, status: JobStatus, now: float, was_adopted: bool) -> None:
        if status.state is BlockState.finished and was_adopted and not block.unwanted:
            words = f" ({status.reason})" if status.reason else ""
            self._move(block, BlockSignal.ended, now, f"its job ended {BEFORE_RETURN}{words}")
        elif status.state is BlockState.finished and (block.joined_at is not None or block.unwanted):
            self._move(block, BlockSignal.ended, now, status.reason or block.last_departure)
        else:
            if status.state is BlockState.scaled_in and block.joined_at is not None:
                block.proven = True  # somebody cancelled the job, so its start did not fail
            self._move(block, BlockSignal.broke, now, _why_it_ended(status))

    def _check_unknown(self, block: Block, now: float, status: JobStatus | None = None) -> None:
        if block.managers:
            self._move(block, BlockSignal.joined, now)
        # A drained block needs no patience, and a runner that reports ``missing`` has been patient itself.
        elif block.unknown_since is not None and (
            block.unwanted or status or now >= block.unknown_since + UNKNOWN_JOB_GRACE
        ):
            words = (status.reason if status else "") or JOB_UNKNOWN
            reason = f"{words}; {block.last_departure}" if block.last_departure else words
            self._move(block, BlockSignal.vanished, now, reason)

    # ----- what managers report

    def manager_joined(self, name: str, manager: str, host: str, now: float) -> bool:
        """Add a connected manager to its block; False means that the block has ended and the manager must leave."""
        block = self.blocks.get(name)
        if block is None:
            return True  # a user started this manager by hand
        if not block.alive:
            return False
        # A manager that returns also stops the cancellation that was planned when the last one was lost.
        block.managers[manager] = host
        block.empty_since = None
        block.awaits_return = block.adopted = False
        if not block.unwanted:
            block.cancel_at = None
        block.joined_at = now if block.joined_at is None else block.joined_at
        block.started_at = now if block.started_at is None else block.started_at
        if block.late:
            block.reason, block.late = "", False
            self.changed[block.id] = block
        self._move(block, BlockSignal.joined, now)
        return True

    def manager_left(self, name: str, manager: str, reason: str, now: float) -> None:
        """Handle a manager that has left, was lost, or was refused and never joined."""
        block = self.blocks.get(name)
        if block is None or not block.alive:
            return
        block.last_departure = reason
        if block.managers.pop(manager, None) is None:
            # The scheduler still reports that the job runs.  ``late`` keeps that report from replacing the reason.
            if not block.joined_at and block.reason != reason:
                block.reason, block.late = reason, True
                self.changed[block.id] = block
        elif not block.managers:
            block.empty_since = now
            if block.cancel_at is None:
                block.cancel_at = now + (EXIT_GRACE if block.unwanted else ABANDONED_AFTER)
            self._check_unknown(block, now)

    # ----- time passes

    def tick(self, load: ExecutorLoad, now: float) -> None:
        """Find blocks that work, blocks whose managers are late, and blocks whose jobs are missing."""
        for block in list(self.alive.values()):
            has = load.blocks.get(block.id)
            if not block.proven and (
                (has is not None and has.tasks > 0)
                or (block.managers and block.joined_at is not None and now >= block.joined_at + PROVEN_AFTER)
            ):
                block.proven = True
                self.failed_starts.reset()
            if block.unknown_since is not None:
                self._check_unknown(block, now)
            elif block.started_at is not None and block.joined_at is None and not block.unwanted:
                self._check_start(block, now - block.started_at, now)
        for block in self.failed_starts.overdue(now):
            self._count_failed_start(block, now)

    def _check_start(self, block: Block, waited: float, now: float) -> None:
        if block.awaits_return:
            if waited >= RETURN_WITHIN:
                self.end(block, now, f"its job runs, but {waited:.0f} s passed {BEFORE_RETURN}")
        # The failed start is added before the block is ended, because the end of an unwanted block is no failed start.
        elif waited >= CANCEL_WITHOUT_MANAGER:
            self._start_failed(block, now)
            block.reason = f"its job has run for {waited:.0f} s and no manager has come. {block.reason}"
            self.end(block, now, block.reason)
        elif waited >= LATE_AFTER and not block.late:
            block.late = True
            block.reason = f"its job has run for {waited:.0f} s and no manager has come"
            self.changed[block.id] = block
            self.output_wanted.append(block)

    def output_read(self, block: Block, words: str, now: float) -> None:
        """Add the last lines of a block's output to its reason; ``words`` is empty when there are none."""
        if words and words not in block.reason:
            block.reason = f"{block.reason}: {words}" if block.reason else words
            self.changed[block.id] = block
        if block.count_at is not None:
            self._count_failed_start(block, now)

    def next_deadline(self, now: float) -> float | None:
        """Return the next time at which ``tick`` or ``start_cancelling`` must be called, even if no event happens."""
        times: list[float] = []
        for block in self.alive.values():
            if block.cancel_at is not None and block.job and not block.cancelling:
                times.append(block.cancel_at)
            if block.unknown_since is not None and not block.managers:
                times.append(block.unknown_since + UNKNOWN_JOB_GRACE)
            if block.started_at is not None and block.joined_at is None and not block.unwanted:
                late = CANCEL_WITHOUT_MANAGER if block.late else LATE_AFTER
                times.append(block.started_at + (RETURN_WITHIN if block.awaits_return else late))
            if block.joined_at is not None and not block.proven and block.managers:
                times.append(block.joined_at + PROVEN_AFTER)
        times += self.failed_starts.deadlines(now)
        return min(times) if times else None

    # ----- inside

    def _known(self, ids: Iterable[str]) -> list[Block]:
        return [self.alive[name] for name in ids if name in self.alive]

    def _move(self, block: Block, signal: BlockSignal, now: float, reason: str = "") -> None:
        if not block.alive:
            return
        state = step(BLOCK, block.state, signal, block.story())
        if state is BlockState.scaled_in:
            reason = block.reason or reason  # the user reads why the block was ended, not how its job ended afterwards
        if state is block.state and (not reason or reason == block.reason):
            if signal is BlockSignal.accepted:  # the state stays, but the number of the job is new to monitoring
                self.changed[block.id] = block
            return
        if state is not block.state or reason:
            block.reason = reason or ("" if state in STARTING | {BlockState.running} else block.reason)
        block.state = state
        self.changed[block.id] = block
        if state in ENDED:
            self._ended(block, signal, now)

    def _ended(self, block: Block, signal: BlockSignal, now: float) -> None:
        block.ended_at = now
        del self.alive[block.id]
        if block.managers:
            self.to_release.append(block.id)
        if len(self.blocks) - len(self.alive) > ENDED_KEPT:
            del self.blocks[next(name for name, known in self.blocks.items() if not known.alive)]
        # A refused job has no output, and ``refused`` counts it.
        if not block.unwanted and not block.proven and signal is not BlockSignal.refused:
            if block.joined_at is None or block.state is BlockState.failed:
                self._start_failed(block, now)
            departure = block.last_departure
            if departure and departure not in block.reason:
                block.reason = f"{block.reason}; its manager: {departure}" if block.reason else departure

    def _count_failed_start(self, block: Block, now: float) -> None:
        self.failed_starts.count_now(block, self.alive.values(), now)
        # The user gets a notice of the first failed start of a series, also if the block has left no output.
        self.changed[block.id] = block

    def _start_failed(self, block: Block, now: float) -> None:
        self.failed_starts.add(block, now)
        self.output_wanted.append(block)


def _why_it_ended(status: JobStatus) -> str:
    words = status.reason
    if status.state is BlockState.scaled_in:
        return f"its job was cancelled, but not by this run ({words})" if words else "its job was cancelled by others"
    if status.state is BlockState.finished:
        return f"its job ended before a manager came ({words})" if words else "its job ended before a manager came"
    return words or "its job failed"
