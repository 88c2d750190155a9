"""The blocks of one executor [shell]: gets, watches and ends them as its strategy decides.

Made and called by the DataFlowKernel's loop, and lives in its thread; whatever may block (submitting, asking,
cancelling, reading output) runs on errands.  What is known lies in ``blocks``, what the strategy sees is made by
``picture``.  One decision: see how things stand, ask the strategy, carry it out, tell monitoring, plan the next.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError
from parslab.scaling.background_calls import Inbox
from parslab.scaling.block_jobs import BlockJobs
from parslab.scaling.block_journal import BlockJournal
from parslab.scaling.block_recovery import BlockRecovery
from parslab.scaling.block_table import BlockTable
from parslab.scaling.explain import stopped
from parslab.scaling.job_watcher import watcher
from parslab.scaling.state_tracker import StateTracker, slots_of
from parslab.scaling.strategies import BlockLimits, Decision, Fixed, ScalingState, Strategy, bounded, strategy_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import JobStatus, Runner
    from parslab.scaling.background_calls import CallRunner
    from parslab.scaling.block_table import Block
    from parslab.scaling.controller_owner import ScalingOwner
    from parslab.scaling.job_watcher import JobWatcher

__all__ = ["ScalingController"]

log = logging.getLogger(__name__)

GAP = 0.2
"""Least seconds between two decisions."""

_OVER = "the run is over"


class ScalingController:
    """Drives the blocks of one executor.

    Parameters
    ----------
    settings
        Of the executor, as ``HighThroughputExecutor.settings`` told them.
    owner
        Its managers and tasks, and the loop.
    command
        Starts a manager; the id of the block is added.
    folder
        Where scripts and outputs of blocks go; it lies in the folder of the run and exists.
    clock, errands, runner
        Only tests give them: time, what runs blocking calls, and the scheduler.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        owner: ScalingOwner,
        command: str,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        errands: CallRunner | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.label: str = settings["label"]
        self.blocks = BlockTable()
        self.failed = ""
        """Why the executor is stopped."""
        self._settings, self._owner, self._folder, self._clock = settings, owner, folder, clock
        self._inbox = Inbox(owner.post)
        self._errands, self._given = errands, runner
        self._journal = BlockJournal(Path(str(owner.run["run_dir"])), self.label, clock)
        self.jobs = BlockJobs(
            settings,
            owner,
            command,
            folder,
            blocks=self.blocks,
            journal=self._journal,
            clock=clock,
            inbox=self._inbox,
            errands=errands,
            news=self._news,
        )
        self._watcher: JobWatcher | None = None
        self._strategy: Strategy = Fixed()
        limits = BlockLimits(
            init_blocks=settings["init_blocks"],
            min_blocks=settings["min_blocks"],
            max_blocks=settings["max_blocks"],
            parallelism=settings["parallelism"],
            max_idletime=_number(owner.run, "max_idletime", 120.0),
        )
        self._sight = StateTracker(limits, slots_of(settings), settings.get("nodes_per_block", 1))
        self._period = _number(owner.run, "strategy_period", 5.0)
        self._awake = False
        self._planned = float("inf")
        self._last = float("-inf")
        self._ready = False
        self._adoption: BlockRecovery | None = None
        self._pinned: int | None = None
        """What the journal says."""

    @property
    def expected_slots(self) -> int:
        """Tasks that one more block would run at a time; 0 while that is not known."""
        return self._sight.slots_per_block

    # ----- what the DataFlowKernel calls

    def start(self) -> None:
        """Make the runner and ask for the first blocks, after those of a DataFlowKernel whose place this one takes."""
        if self._owner.run.get("revived"):
            run_dir = Path(str(self._owner.run["run_dir"]))
            self._adoption = BlockRecovery(run_dir, self.label, self.blocks, self._sight, self._clock())
            self._pinned = self._sight.pinned
        self.jobs.reads.run(self._made, self._begin)

    def _made(self) -> tuple[Runner, Strategy]:
        """On an errand, because it imports the provider."""
        strategy = strategy_named(str(self._owner.run.get("strategy", "simple")))
        if self._given is not None:
            return self._given, strategy
        from parslab.description import decoded
        from parslab.providers.base import Provider

        provider = decoded(self._settings["provider"])
        assert isinstance(provider, Provider)
        return provider.runner(self._folder), strategy

    def _begin(self, made: tuple[Runner, Strategy] | None, error: Exception | None) -> None:
        if self.jobs.over.is_set():
            return
        if made is None:
            self._stop(f"{error}" if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}")
            return
        self.jobs.runner, self._strategy = made
        run_dir = str(self._owner.run["run_dir"])
        self._watcher = watcher(run_dir, self, self._owner.at, self._owner.post, self._clock, self._errands)
        self._journal.provider(self._settings["provider"])
        self._ready = True
        if self._adoption is not None:
            self._adoption.carry_out(self.jobs)
            self._watcher.soon()
        self._decide()

    def wake(self) -> None:
        """The load has changed."""
        if not self._awake:
            self._awake = True
            self._plan(max(self._clock(), self._last + GAP))

    def manager_came(self, block: str, manager: str, host: str) -> None:
        """A manager is connected and takes tasks."""
        known = self.blocks.blocks.get(block)
        if known is not None and known.came is None:
            self._journal.joined(block)
        if not self.blocks.came(block, manager, host, self._clock()) or (known is not None and known.unwanted):
            self._owner.release_block(block)
        elif known is not None and known.held:
            self._owner.hold_block(block, True)
        self._flush()
        self.wake()

    def manager_left(self, block: str, manager: str, reason: str) -> None:
        """A manager has left, was lost, or was refused."""
        self.blocks.parted(block, manager, reason, self._clock())
        self._news()

    # ----- decisions

    def _plan(self, when: float) -> None:
        if when < self._planned and not self.jobs.over.is_set():
            self._planned = when
            self._owner.at(when, self._due)

    def _due(self) -> None:
        if self._clock() >= self._planned and not self.jobs.over.is_set():
            self._planned = float("inf")
            self._decide()

    def _decide(self) -> None:
        if not self._ready or self.jobs.over.is_set():
            return
        now = self._last = self._clock()
        self._awake = False
        if self.failed:
            self._wind_up(now)
            return
        load = self._owner.load()
        self.blocks.tick(load, now)
        picture = self._sight.picture(self.blocks, load, now)
        pinned = self._sight.pin(picture)
        if self._sight.pinned != self._pinned:
            self._pinned = self._sight.pinned
            self._journal.pinned(self._pinned)
        self._carry_out(bounded(pinned or self._asked(picture), picture), pinned is not None, now)
        self._flush()
        times = [self._sight.next_deadline(picture), self.blocks.next_deadline(now)]
        if self.blocks.alive or load.tasks:
            times.append(now + min(self._period, max(GAP, self._sight.limits.max_idletime / 2)))
        later = [when for when in times if when is not None]
        if later:
            self._plan(max(now + GAP, min(later)))

    def _wind_up(self, now: float) -> None:
        """The executor is stopped: only what still runs is ended."""
        self._flush()
        due = self.blocks.next_deadline(now)
        if due is not None:
            self._plan(max(now + GAP, due))

    def _asked(self, picture: ScalingState) -> Decision:
        """What the strategy says; one that breaks is replaced."""
        try:
            decision = self._strategy.decide(picture)
            return Decision(int(decision.add), tuple(decision.release))
        except Exception as error:  # a user's code
            log.exception("the strategy of executor %s broke", self.label)
            self.jobs.notice(
                "error",
                f"The strategy of executor {self.label} broke ({type(error).__name__}: {error}); from now on the "
                "number of its blocks is kept: change it with %parsl scale.",
            )
            self._strategy = Fixed()
            return Decision()

    def _carry_out(self, decision: Decision, pinned: bool, now: float) -> None:
        for name in decision.release:
            block = self.blocks.alive[name]
            idle = "it was idle" if block.managers else "it was not needed any more"
            self._release(block, "there were more blocks than asked for" if pinned else idle, now)
        for _ in range(min(decision.add, self.blocks.room(now))):
            self.jobs.submit(self.blocks.request(now))

    def _release(self, block: Block, reason: str, now: float) -> None:
        self.blocks.drain(block, now, reason)
        if block.managers:
            self._owner.release_block(block.id)

    def _news(self) -> None:
        """A job or a manager has changed, perhaps by our own wish."""
        if self._watcher is not None:
            self._watcher.soon()
        self._flush()
        self.wake()

    def _flush(self) -> None:
        if not self._ready:
            return
        self.jobs.flush()
        block = self.blocks.stop
        if block is not None and not self.failed:
            output = f"{self.jobs.stem(block)}.stderr"
            self._stop(stopped(self.blocks.failures, block.id, block.job, block.reason, output))

    # ----- watching (Member)

    @property
    def runner(self) -> Runner:
        """The scheduler of its jobs."""
        return self.jobs.runner

    def watched(self) -> tuple[list[str], bool]:
        """Jobs that may still change, and whether one is expected to."""
        if self.jobs.over.is_set():
            return [], False
        alive = [block for block in self.blocks.alive.values() if block.job]
        return [block.job for block in alive], any(not block.managers or block.unwanted for block in alive)

    def status(self, statuses: dict[str, JobStatus], asked: list[str]) -> None:
        """The scheduler has answered."""
        self.blocks.heard(statuses, asked, self._clock())
        self._flush()
        self.wake()

    def unanswered(self, why: str, times: int) -> None:
        """It has not."""
        log.warning("the jobs of executor %s cannot be asked for: %s", self.label, why)
        if times == 3:
            self.jobs.notice(
                "warning",
                f"The scheduler does not say how the blocks of executor {self.label} are ({why}); blocks that run go "
                "on, and it is asked again.",
            )

    def _stop(self, why: str) -> None:
        """No block can be had: end those that are still asked for, and tell every task."""
        self.failed = why
        now = self._clock()
        for block in list(self.blocks.alive.values()):
            self._release(block, "its executor is stopped", now)
        self._owner.fail(why)
        self._flush()

    # ----- commands of the user; each answers with one sentence

    def scale(self, number: int) -> str:
        """Bring the executor to this many blocks.

        The number holds in place of the strategy, up and down, until so many blocks have come, the work is done and
        they have been idle for ``max_idletime``; then the strategy decides again.  A number below ``min_blocks`` holds
        until another is given.
        """
        self._check_stopped()
        most = self._sight.limits.max_blocks
        wanted = max(0, min(number, most))
        self._sight.pinned = wanted
        now = self._clock()
        have = sum(block.alive and not block.unwanted for block in self.blocks.alive.values())
        self._decide()
        limited = f" (not {number}: the provider's max_blocks is {most})" if number > most else ""
        blocks = f"{wanted} block{'' if wanted == 1 else 's'}{limited}"
        if wanted == have:
            return f"Executor {self.label} stays at {blocks}."
        if wanted == 0 and self._owner.load().tasks:
            return (
                f"Executor {self.label} goes from {have} to 0 blocks once they have finished what they hold; tasks "
                "wait until you scale it again."
            )
        log.info("executor %s is scaled to %d blocks at %.1f", self.label, wanted, now)
        end = " The others finish what they hold first." if wanted < have else ""
        return f"Executor {self.label} goes from {have} to {blocks}.{end}"

    def hold(self, name: str, hold: bool) -> str:
        """Give the managers of a block no new tasks, or give them tasks again."""
        block = self._block(name)
        block.held = hold
        self._journal.held(block.id, hold)
        self._owner.hold_block(block.id, hold)
        self.wake()
        which = f"Block {self.label}/{block.id}"
        return f"{which} gets no new tasks until it is released." if hold else f"{which} gets tasks again."

    def drain(self, name: str) -> str:
        """Let a block end when it has finished what it holds."""
        block = self._block(name)
        self._fewer(block)
        self._release(block, "drained by hand", self._clock())
        self._flush()
        self.wake()
        when = "when it has finished what it holds" if block.managers else "now: no manager of it had come"
        return f"Block {self.label}/{block.id} ends {when}."

    def cancel(self, name: str) -> str:
        """End a block at once."""
        block = self._block(name)
        self._fewer(block)
        self.blocks.end(block, self._clock(), "cancelled by hand")
        self._flush()
        self.wake()
        return f"Block {self.label}/{block.id} is cancelled; the tasks that it held are lost, or tried again elsewhere."

    def _fewer(self, block: Block) -> None:
        """Who ends a block by hand does not want another in its place, unless there is work for it."""
        self._sight.floor = 0
        if self._sight.pinned and not block.unwanted:
            self._sight.pinned = self._sight.pinned - 1 or None  # none at all is not what was said

    def _block(self, name: str) -> Block:
        self._check_stopped()
        block = self.blocks.alive.get(name)
        if block is not None:
            return block
        if name in self.blocks.blocks:
            raise ConfigurationError(f"Block {self.label}/{name} has ended.")
        have = ", ".join(self.blocks.alive) or "none"
        raise ConfigurationError(f"Executor {self.label} has no block {name!r}; it has {have}.")

    def _check_stopped(self) -> None:
        if self.failed:
            raise ConfigurationError(f"Executor {self.label} is stopped: {self.failed}")
        if not self._ready:
            raise ConfigurationError(f"Executor {self.label} is just starting: try again in a moment.")

    # ----- the end

    def leave(self) -> None:
        """Begin to cancel every job, without waiting: ``close`` waits.  Twice is safe."""
        if not self.jobs.over.is_set():
            self.jobs.over.set()
            now = self._clock()
            for block in list(self.blocks.alive.values()):
                self.blocks.end(block, now, _OVER)
            self.jobs.hurry()
            self._flush()

    def close(self, deadline: float) -> None:
        """Cancel every job, also one that is being submitted, and wait for that until ``deadline`` at most.

        Parameters
        ----------
        deadline
            Seconds since the epoch.
        """
        self.leave()
        while self.blocks.alive and (now := self._clock()) < deadline:
            due = self.blocks.next_deadline(now)
            self._inbox.wait(max(0.001, min(deadline, deadline if due is None else due) - now))
            self._flush()
        if self._watcher is not None:
            self._watcher.leave(self)
        if self.blocks.alive:
            self.jobs.say_what_is_left()
        elif self._ready:
            self.runner.close()


def _number(run: dict[str, object], name: str, default: float) -> float:
    value = run.get(name, default)
    return float(value) if isinstance(value, (int, float)) else default
