"""The table of blocks of one executor: what the scheduler says of each job, merged with what its managers say.

[core]  Owned by ``controller``, which tells it what happens and carries out what it leaves in its lists.  Managers are
believed before the scheduler: a job that it has forgotten, or calls queued, runs while its managers are connected.
Invariants: a block that has ended does not move; every block that we end is cancelled by its job, so that nothing stays
in a queue; a failed start (it ended, by no wish of ours, before any manager of it worked) is counted once, when its
explanation is there or late; what is in ``alive`` has not ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parslab.records.states import ENDED, BlockState
from parslab.scaling.explain import full
from parslab.scaling.lifecycle import BlockSignal, step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from parslab.providers.base import JobStatus
    from parslab.scaling.controller_owner import ExecutorLoad

__all__ = [
    "ABANDONED",
    "GIVE_UP",
    "GRACE",
    "LATE",
    "LINGER",
    "REMEMBERED",
    "RETURN",
    "SETTLED",
    "STARTS",
    "Block",
    "BlockTable",
]

STARTS = 3
"""Failed starts in a row, with no block that works, after which the executor is stopped."""

LATE = 45.0
"""Seconds for which a job may run without a manager before the user is told why that may be."""

GIVE_UP = 600.0
"""Seconds after which such a job is cancelled."""

REMEMBERED = 500
"""Ended blocks that are known by their number, should a manager of theirs still come."""

GRACE = 20.0
"""Seconds after which a job that the scheduler does not know is missing."""

LINGER = 1.0
"""Seconds in which a job whose managers have left may end by itself, before it is cancelled."""

ABANDONED = 15.0
"""Seconds after which a job all of whose managers are gone is cancelled, should it not have ended."""

SETTLED = 10.0
"""Seconds of a connected manager that prove the start of its block, even when it got no task."""

RETURN = 45.0
"""Seconds after which a block whose managers do not come back to a DataFlowKernel that was started again is cancelled:
by then they have left."""

EXPLAINED_IN = 10.0
"""Seconds to wait for the last lines of a block's output."""

PAUSES = (1.0, 5.0, 30.0)
"""Seconds before the next block is asked for, after the first, second ... failed start in a row."""

STARTING = frozenset({BlockState.requested, BlockState.queued})
FORGOTTEN = "the scheduler does not know its job any more"
AWAY = "before a manager of it found the DataFlowKernel that was started again"


@dataclass(slots=True, eq=False)
class Block:
    """One block; times are None until the thing has happened."""

    id: str
    asked: float
    state: BlockState = BlockState.requested
    job: str = ""
    reason: str = ""
    started: float | None = None
    """Since when its job runs, as far as we know."""
    came: float | None = None
    """When its first manager came."""
    worked: bool = False
    """Whether a manager of it has held a task, or stayed for ``SETTLED`` seconds."""
    managers: dict[str, str] = field(default_factory=dict)
    """Host of each connected manager."""
    parting: str = ""
    """Why the last manager left, or was refused."""
    forgotten: float | None = None
    """Since when the scheduler does not know its job."""
    left: float | None = None
    """Since when none of its managers is left."""
    adopted: bool = False
    """It was asked for by a DataFlowKernel that was killed, and the scheduler has not said since that it is there."""
    returning: bool = False
    """Managers of it had come to that one, and none has come back yet."""
    held: bool = False
    unwanted: bool = False
    """We are ending it."""
    cancel_at: float | None = None
    """When its job is to be cancelled."""
    cancelling: bool = False
    recorded: bool = False
    """Its end stands in the journal."""
    late: bool = False
    """The user was told that its managers are late."""
    ended: float | None = None
    uncounted: float | None = None
    """Until when its failed start waits for its explanation."""

    @property
    def alive(self) -> bool:
        return self.state not in ENDED

    @property
    def starting(self) -> bool:
        """Asked for, and no manager has come yet."""
        return self.came is None and self.state is not BlockState.draining and self.alive

    def story(self) -> str:
        """Who it is and what happened to it, in one line."""
        return f"block {self.id}, job {self.job or '(none)'}, managers {len(self.managers)}, reason {self.reason!r}"


class BlockTable:
    """The blocks of one executor, in the order in which they were asked for."""

    def __init__(self, first: int = 0) -> None:
        self.blocks: dict[str, Block] = {}
        self.alive: dict[str, Block] = {}
        self.failures = 0
        """Failed starts in a row."""
        self.retry_at = 0.0
        self.stop: Block | None = None
        """The block whose failed start was one too many."""
        self.changed: dict[str, Block] = {}
        """To be told to monitoring."""
        self.unexplained: list[Block] = []
        """Their output may tell more: read it, then call ``explained``."""
        self.strays: list[str] = []
        """Blocks that have ended and whose managers are to leave."""
        self._next = first
        self._uncounted: dict[str, Block] = {}

    # ----- what we do

    def request(self, now: float) -> Block:
        """A new block, which somebody is now to submit."""
        block = Block(str(self._next), now)
        self._next += 1
        self.blocks[block.id] = self.alive[block.id] = self.changed[block.id] = block
        return block

    def adopt(self, name: str, job: str, now: float, came: bool) -> Block:
        """A block that a DataFlowKernel asked for that was killed; ``job`` is empty where its number is not known.

        How it fares before the scheduler says that it is there is no proof of how its start went.
        """
        block = Block(name, now, worked=True, adopted=True, returning=came)
        self._next = max(self._next, int(name) + 1)
        self.blocks[name] = self.alive[name] = self.changed[name] = block
        if job:
            self.accepted(block, job, now)
        return block

    def skip(self, first: int) -> None:
        """Numbers below this one were given to blocks that have ended."""
        self._next = max(self._next, first)

    def room(self, now: float) -> int:
        """How many blocks may be asked for now: after a failed start one at a time, and after a pause."""
        if not self.failures and not self._uncounted:
            return 1 << 30
        trying = self._uncounted or any(block.starting for block in self.alive.values())
        return 0 if trying or now < self.retry_at else 1

    def drain(self, block: Block, now: float, reason: str) -> None:
        """It is not wanted any more: its job is cancelled when its managers have left, or at once if none has come."""
        if block.alive:
            block.unwanted = True
            if not block.managers:
                block.cancel_at = now
            self._move(block, BlockSignal.drains, now, reason)

    def end(self, block: Block, now: float, reason: str) -> None:
        """Cancel its job, whatever runs there."""
        self.drain(block, now, reason)
        block.cancel_at = now

    def due(self, now: float) -> list[Block]:
        """Those whose jobs are to be cancelled now; the caller does, and tells ``cancelled`` or ``not_cancelled``."""
        found = [
            block
            for block in self.alive.values()
            if block.job and not block.cancelling and block.cancel_at is not None and block.cancel_at <= now
        ]
        for block in found:
            block.cancelling = True
        return found

    def cancelled(self, ids: Iterable[str], now: float) -> None:
        """The scheduler has taken our word that these are to end."""
        for block in self._known(ids):
            if block.unwanted:
                self._move(block, BlockSignal.withdrawn, now)
            elif block.managers:
                block.cancelling, block.cancel_at = False, None  # came back while we asked; it will be lost, and told
            else:
                self._move(block, BlockSignal.broke, now, f"all its managers are gone: {block.parting}")

    def not_cancelled(self, ids: Iterable[str], again: float) -> None:
        """It has not, for now."""
        for block in self._known(ids):
            block.cancelling = False
            block.cancel_at = again

    # ----- what the scheduler says

    def accepted(self, block: Block, job: str, now: float) -> None:
        """Its job was submitted."""
        if block.alive:
            block.job = job
            self._move(block, BlockSignal.accepted, now)

    def refused(self, block: Block, why: str, now: float, counts: bool = True) -> None:
        """Its job was not taken, for this reason; ``counts``: as a failed start."""
        if not block.alive:
            return
        self._move(block, BlockSignal.refused, now, why)
        if block.state is BlockState.failed and full(why):
            # Nothing is wrong with this block: others of the user's are before it. It is told, and asked for again.
            self.failures, self.retry_at = max(1, self.failures), now + PAUSES[-1]
        elif block.state is BlockState.failed:
            if counts:
                self._count(block, now, refused=True)  # these words are all there is
        elif block.alive:
            block.forgotten = now  # its managers are here, and nobody knows its job
            self._forgotten(block, now)

    def heard(self, statuses: Mapping[str, JobStatus], asked: Iterable[str], now: float) -> None:
        """What the scheduler knows of these jobs."""
        jobs = set(asked)
        for block in list(self.alive.values()):
            if block.job in jobs:
                status = statuses.get(block.job)
                if status is None or status.state is BlockState.missing:
                    block.forgotten = now if block.forgotten is None else block.forgotten
                    self._forgotten(block, now, status)
                else:
                    block.forgotten = None
                    self._status(block, status, now)

    def _status(self, block: Block, status: JobStatus, now: float) -> None:
        away = block.came is None and (block.adopted or block.returning)
        if block.adopted and status.state in (BlockState.queued, BlockState.running):
            block.adopted = False
            block.worked = block.returning or block.came is not None
        if status.state is BlockState.queued:
            if not block.managers:
                block.started = None
                self._move(block, BlockSignal.waits, now, status.reason)
        elif status.state is BlockState.running:
            if block.started is None:
                block.started = now
            self._move(block, BlockSignal.runs, now, block.reason if block.late else status.reason)
        elif status.state is BlockState.finished and away and not block.unwanted:
            words = f" ({status.reason})" if status.reason else ""
            self._move(block, BlockSignal.ended, now, f"its job ended {AWAY}{words}")
        elif status.state is BlockState.finished and (block.came is not None or block.unwanted):
            self._move(block, BlockSignal.ended, now, status.reason or block.parting)
        else:
            if status.state is BlockState.scaled_in and block.came is not None:
                block.worked = True  # somebody ended it, so nothing is wrong with its start
            self._move(block, BlockSignal.broke, now, _why_it_ended(status))

    def _forgotten(self, block: Block, now: float, status: JobStatus | None = None) -> None:
        if block.managers:
            self._move(block, BlockSignal.joined, now)
        elif block.forgotten is not None and (block.unwanted or status or now >= block.forgotten + GRACE):
            words = (status.reason if status else "") or FORGOTTEN
            self._move(block, BlockSignal.vanished, now, f"{words}; {block.parting}" if block.parting else words)

    # ----- what managers say

    def came(self, name: str, manager: str, host: str, now: float) -> bool:
        """A manager of this block is connected; False: its block has ended, so it should leave."""
        block = self.blocks.get(name)
        if block is None:
            return True  # started by hand, not by us
        if not block.alive:
            return False
        block.managers[manager] = host
        block.left = None
        block.returning = block.adopted = False
        if not block.unwanted:
            block.cancel_at = None
        block.came = now if block.came is None else block.came
        block.started = now if block.started is None else block.started
        if block.late:
            block.reason, block.late = "", False
            self.changed[block.id] = block
        self._move(block, BlockSignal.joined, now)
        return True

    def parted(self, name: str, manager: str, reason: str, now: float) -> None:
        """A manager has left, was lost, or was refused and never came in."""
        block = self.blocks.get(name)
        if block is None or not block.alive:
            return
        block.parting = reason
        if block.managers.pop(manager, None) is None:
            if not block.came and block.reason != reason:
                block.reason, block.late = reason, True
                self.changed[block.id] = block
        elif not block.managers:
            block.left = now
            if block.cancel_at is None:
                block.cancel_at = now + (LINGER if block.unwanted else ABANDONED)
            self._forgotten(block, now)

    # ----- time passes

    def tick(self, load: ExecutorLoad, now: float) -> None:
        """See who works, who is late and who is gone."""
        for block in list(self.alive.values()):
            has = load.blocks.get(block.id)
            if not block.worked and (
                (has is not None and has.tasks > 0)
                or (block.managers and block.came is not None and now >= block.came + SETTLED)
            ):
                block.worked = True
                self.failures = 0
                self.retry_at = 0.0
            if block.forgotten is not None:
                self._forgotten(block, now)
            elif block.started is not None and block.came is None and not block.unwanted:
                self._check_start(block, now)
        for block in list(self._uncounted.values()):
            if block.uncounted is not None and now >= block.uncounted:
                self._count(block, now)

    def _check_start(self, block: Block, now: float) -> None:
        assert block.started is not None
        waited = now - block.started
        if block.returning:
            if waited >= RETURN:
                self.end(block, now, f"its job runs, but {waited:.0f} s passed {AWAY}")
        elif waited >= GIVE_UP:
            self._failed_start(block, now)
            block.reason = f"its job has run for {waited:.0f} s and no manager has come. {block.reason}"
            self.end(block, now, block.reason)
        elif waited >= LATE and not block.late:
            block.late = True
            block.reason = f"its job has run for {waited:.0f} s and no manager has come"
            self.changed[block.id] = block
            self.unexplained.append(block)

    def explained(self, block: Block, words: str, now: float) -> None:
        """The last lines of its output are read, or cannot be."""
        if words and words not in block.reason:
            block.reason = f"{block.reason}: {words}" if block.reason else words
            self.changed[block.id] = block
        if block.uncounted is not None:
            self._count(block, now)

    def next_deadline(self, now: float) -> float | None:
        """When ``tick`` or ``due`` has something to do, if nothing else happens."""
        times: list[float] = []
        for block in self.alive.values():
            if block.cancel_at is not None and block.job and not block.cancelling:
                times.append(block.cancel_at)
            if block.forgotten is not None and not block.managers:
                times.append(block.forgotten + GRACE)
            if block.started is not None and block.came is None and not block.unwanted:
                times.append(block.started + (RETURN if block.returning else GIVE_UP if block.late else LATE))
            if block.came is not None and not block.worked and block.managers:
                times.append(block.came + SETTLED)
        times += [block.uncounted for block in self._uncounted.values() if block.uncounted is not None]
        if self.failures and self.retry_at > now:
            times.append(self.retry_at)
        return min(times) if times else None

    # ----- inside

    def _known(self, ids: Iterable[str]) -> list[Block]:
        return [self.alive[name] for name in ids if name in self.alive]

    def _move(self, block: Block, signal: BlockSignal, now: float, reason: str = "") -> None:
        if not block.alive:
            return
        state = step(block.state, signal, block.story())
        if state is BlockState.scaled_in:
            reason = block.reason or reason  # why we ended it, rather than how its job then went
        if state is block.state and (not reason or reason == block.reason):
            if signal is BlockSignal.accepted:
                self.changed[block.id] = block
            return
        if state is not block.state or reason:
            block.reason = reason or ("" if state in STARTING | {BlockState.running} else block.reason)
        block.state = state
        self.changed[block.id] = block
        if state in ENDED:
            self._ended(block, signal, now)

    def _ended(self, block: Block, signal: BlockSignal, now: float) -> None:
        block.ended = now
        del self.alive[block.id]
        if block.managers:
            self.strays.append(block.id)
        if len(self.blocks) - len(self.alive) > REMEMBERED:
            del self.blocks[next(name for name, known in self.blocks.items() if not known.alive)]
        if not block.unwanted and not block.worked and signal is not BlockSignal.refused:
            if block.came is None or block.state is BlockState.failed:
                self._failed_start(block, now)
            if block.parting and block.parting not in block.reason:
                block.reason = f"{block.reason}; its manager: {block.parting}" if block.reason else block.parting

    def _failed_start(self, block: Block, now: float) -> None:
        block.uncounted = now + EXPLAINED_IN
        self._uncounted[block.id] = block
        self.unexplained.append(block)

    def _count(self, block: Block, now: float, refused: bool = False) -> None:
        block.uncounted = None
        self._uncounted.pop(block.id, None)
        self.failures += 1
        self.retry_at = now + PAUSES[min(self.failures, len(PAUSES)) - 1]
        # A scheduler that takes other jobs refuses one more because of a limit to their number.
        hope = any(_hope(other) or (refused and _waits(other)) for other in self.alive.values())
        if self.failures >= STARTS and self.stop is None and not hope:
            self.stop = block


def _hope(block: Block) -> bool:
    """Whether this block works, or its managers may be about to come."""
    return bool(block.managers) or (block.starting and block.state is BlockState.running and not block.late)


def _waits(block: Block) -> bool:
    """Whether its job is in the queue, or may be taken yet."""
    return block.starting and block.state in STARTING


def _why_it_ended(status: JobStatus) -> str:
    words = status.reason
    if status.state is BlockState.scaled_in:
        return f"its job was cancelled, but not by this run ({words})" if words else "its job was cancelled by others"
    if status.state is BlockState.finished:
        return f"its job ended before a manager came ({words})" if words else "its job ended before a manager came"
    return words or "its job failed"
