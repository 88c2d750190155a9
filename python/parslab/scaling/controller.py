"""Drives the blocks of one executor: requests, watches and ends them as the strategy decides [shell].

The DataFlowKernel's loop creates and calls the controller in the loop's thread.  Calls that may block (submit, status,
cancel, read output) run in background threads.  :class:`BlockTable` holds the state of the blocks, and
:class:`StateTracker` makes the state that the strategy gets.

A decision has five steps: update the table, ask the strategy, carry out its decision, send the changes to monitoring,
and plan the next decision.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.errors import ConfigurationError
from parslab.records.executor_settings import runs_mpi
from parslab.scaling.background_calls import Inbox
from parslab.scaling.block_jobs import BlockJobs
from parslab.scaling.block_journal import BlockJournal
from parslab.scaling.block_recovery import BlockRecovery
from parslab.scaling.block_table import BlockTable
from parslab.scaling.failure_sentences import stop_sentence
from parslab.scaling.job_watcher import watcher
from parslab.scaling.state_tracker import StateTracker, expected_slots
from parslab.scaling.strategies import BlockLimits, Decision, Fixed, ScalingState, Strategy, bounded, strategy_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import JobStatus, Runner
    from parslab.records.executor_settings import HighThroughputSettings, ProviderSettings
    from parslab.scaling.background_calls import CallRunner
    from parslab.scaling.block import Block
    from parslab.scaling.controller_owner import ScalingOwner
    from parslab.scaling.job_watcher import JobWatcher

__all__ = ["ScalingController"]

log = logging.getLogger(__name__)

GAP = 0.2
"""Least seconds between two decisions that events cause: a burst of events costs one decision, not one for each."""

_OVER = "the run is over"


class ScalingController:
    """Drives the blocks of one executor.

    Parameters
    ----------
    settings
        The settings of the executor, as ``HighThroughputExecutor.settings`` returns them.
    owner
        The DataFlowKernel, which has the managers, the tasks and the loop.
    command
        The command that starts a manager; the controller appends the id of the block.
    folder
        An existing folder inside the folder of the run, for the scripts and outputs of blocks.
    clock, calls, runner
        The clock, the runner of background calls, and the runner of jobs; only tests pass them.
    """

    def __init__(
        self,
        settings: HighThroughputSettings,
        owner: ScalingOwner,
        command: str,
        folder: Path,
        *,
        clock: Callable[[], float] = steady_time,
        calls: CallRunner | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.label = settings.label
        self.table = BlockTable()
        self.stopped = ""
        """Why the executor is stopped."""
        self._settings, self._owner, self._folder, self._clock = settings, owner, folder, clock
        self._calls, self._given_runner = calls, runner
        self._inbox = Inbox(owner.post)
        self._run_dir = Path(owner.run.run_dir)
        self._journal = BlockJournal(self._run_dir, self.label, clock)
        self.jobs = self._make_jobs(command)
        provider = settings.provider
        self._tracker = StateTracker(
            _limits(provider, owner.run.max_idletime),
            expected_slots(settings),
            # In MPI mode one manager owns all nodes of a block.
            1 if runs_mpi(settings) else provider.nodes_per_block,
        )
        self._strategy: Strategy = Fixed()
        self._period = owner.run.strategy_period
        self._watcher: JobWatcher | None = None
        self._recovery: BlockRecovery | None = None
        self._journaled_pin: int | None = None
        self._ready = False
        self._woken = False
        self._planned_at = float("inf")
        self._decided_at = float("-inf")

    def _make_jobs(self, command: str) -> BlockJobs:
        return BlockJobs(
            self._settings,
            self._owner,
            command,
            self._folder,
            table=self.table,
            journal=self._journal,
            clock=self._clock,
            inbox=self._inbox,
            calls=self._calls,
            on_change=self._changed,
        )

    @property
    def expected_slots(self) -> int:
        """Tasks that one more block would run at a time; 0 while that is unknown."""
        return self._tracker.slots_per_block

    # ----- what the DataFlowKernel calls

    def start(self) -> None:
        """Take over the blocks of a killed DataFlowKernel, if any; then make the runner and request blocks."""
        # The table must list these blocks before one of their managers connects.  Otherwise the manager would look
        # like one that a user started by hand.
        if self._owner.run.restarts:
            self._recovery = BlockRecovery(self._run_dir, self.label, self.table, self._tracker, self._clock())
            self._journaled_pin = self._tracker.pinned
        self.jobs.reads.run(self._make_runner, self._begin)

    def _make_runner(self) -> tuple[Runner, Strategy]:
        """Make the runner and the strategy; this runs in the background because it imports the provider."""
        strategy = strategy_named(self._owner.run.strategy)
        if self._given_runner is not None:
            return self._given_runner, strategy
        from parslab.description import decoded
        from parslab.providers.base import Provider

        provider = decoded(self._settings.provider.description)
        assert isinstance(provider, Provider)
        return provider.runner(self._folder), strategy

    def _begin(self, made: tuple[Runner, Strategy] | None, error: Exception | None) -> None:
        if self.jobs.over.is_set():
            return  # the run ended while the background thread imported the provider
        if made is None:
            self._stop(f"{error}" if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}")
            return
        self.jobs.runner, self._strategy = made
        owner = self._owner
        self._watcher = watcher(
            str(self._run_dir), self, at=owner.at, post=owner.post, clock=self._clock, calls=self._calls
        )
        # Whoever removes the dead run reads the provider from the journal, and cancels the jobs with it.  So it is
        # written before the first job.
        self._journal.provider(self._settings.provider.description)
        self._ready = True
        if self._recovery is not None:
            self._recovery.adopt_jobs(self.jobs)
            self._watcher.check_soon()
        self._decide()

    def wake(self) -> None:
        """Decide soon, because the load has changed."""
        if not self._woken:
            self._woken = True
            self._plan(max(self._clock(), self._decided_at + GAP))

    def manager_joined(self, block: str, manager: str, host: str) -> None:
        """Handle a manager that is connected and takes tasks."""
        known = self.table.blocks.get(block)
        if known is not None and known.joined_at is None:
            self._journal.joined(block)
            if self._ready:
                self.jobs.check_worker_init(known)
        # The block has ended or is about to end, so its manager must leave.
        if not self.table.manager_joined(block, manager, host, self._clock()) or (known is not None and known.unwanted):
            self._owner.release_block(block)
        # The DataFlowKernel holds only connected managers, so a manager that joins later needs the hold too.
        elif known is not None and known.held:
            self._owner.hold_block(block, True)
        self._flush()
        self.wake()

    def manager_left(self, block: str, manager: str, reason: str) -> None:
        """Handle a manager that has left, was lost, or was refused."""
        self.table.manager_left(block, manager, reason, self._clock())
        self._changed()

    # ----- decisions

    def _plan(self, when: float) -> None:
        if when < self._planned_at and not self.jobs.over.is_set():
            self._planned_at = when
            self._owner.at(when, self._due)

    def _due(self) -> None:
        # A planned call cannot be cancelled.  After an earlier plan has replaced it, the call finds nothing due here.
        if self._clock() >= self._planned_at and not self.jobs.over.is_set():
            self._planned_at = float("inf")
            self._decide()

    def _decide(self) -> None:
        if not self._ready or self.jobs.over.is_set():
            return
        now = self._decided_at = self._clock()
        self._woken = False
        if self.stopped:
            self._decide_nothing(now)
            return
        load = self._owner.load()
        self.table.tick(load, now)
        state = self._tracker.state(self.table, load, now)
        pinned = self._tracker.pinned_decision(state)
        if self._tracker.pinned != self._journaled_pin:
            self._journaled_pin = self._tracker.pinned
            self._journal.pinned(self._journaled_pin)
        self._carry_out(bounded(pinned or self._ask_strategy(state), state), pinned is not None, now)
        self._flush()
        times = [self._tracker.next_deadline(state), self.table.next_deadline(now)]
        # A strategy may decide by the time alone, so it is asked in each period.  A short ``max_idletime`` needs more
        # frequent decisions, or idle blocks would live much longer than it says.
        if self.table.alive or load.tasks:
            times.append(now + min(self._period, max(GAP, self._tracker.limits.max_idletime / 2)))
        later = [when for when in times if when is not None]
        if later:
            self._plan(max(now + GAP, min(later)))

    def _decide_nothing(self, now: float) -> None:
        """End the remaining jobs of a stopped executor; the strategy no longer decides."""
        self._flush()
        due = self.table.next_deadline(now)
        if due is not None:
            self._plan(max(now + GAP, due))

    def _ask_strategy(self, state: ScalingState) -> Decision:
        """Ask the strategy for its decision, and replace a strategy that raises."""
        try:
            # The conversions fail here, where a wrong value of a user's strategy is reported as the strategy's error.
            decision = self._strategy.decide(state)
            return Decision(int(decision.add), tuple(decision.release))
        except Exception as error:  # a user's code
            log.exception("the strategy of executor %s broke", self.label)
            self.jobs.notice(
                "error",
                f"The strategy of executor {self.label} broke ({type(error).__name__}: {error}); from now on the "
                "number of its blocks is kept: change it with %parsl scale.",
            )
            # A broken strategy would raise again in each decision, and fill the log and the notices.
            self._strategy = Fixed()
            return Decision()

    def _carry_out(self, decision: Decision, pinned: bool, now: float) -> None:
        for name in decision.release:
            block = self.table.alive[name]
            idle = "it was idle" if block.managers else "it was not needed any more"
            self._release(block, "there were more blocks than asked for" if pinned else idle, now)
        for _ in range(min(decision.add, self.table.requests_allowed(now))):
            self.jobs.submit(self.table.request(now))

    def _release(self, block: Block, reason: str, now: float) -> None:
        self.table.drain(block, now, reason)
        if block.managers:
            self._owner.release_block(block.id)

    def _changed(self) -> None:
        """Ask the scheduler and decide soon, because a job or a manager has changed."""
        if self._watcher is not None:
            self._watcher.check_soon()
        self._flush()
        self.wake()

    def _flush(self) -> None:
        if not self._ready:
            return  # there is no runner yet; the lists of the table wait for it
        self.jobs.flush()
        starts = self.table.failed_starts
        block = starts.stopped_by
        if block is not None and not self.stopped:
            output = f"{self.jobs.stem(block)}.stderr"
            self._stop(stop_sentence(starts.count, block.id, block.job, block.reason, output))

    # ----- watching (WatchedExecutor)

    @property
    def runner(self) -> Runner:
        """The runner that submits, watches and cancels the executor's jobs."""
        return self.jobs.runner

    def watched_jobs(self) -> tuple[list[str], bool]:
        """Return the jobs that may still change, and whether one is expected to change soon."""
        if self.jobs.over.is_set():
            return [], False
        alive = [block for block in self.table.alive.values() if block.job]
        return [block.job for block in alive], any(not block.managers or block.unwanted for block in alive)

    def job_statuses(self, statuses: dict[str, JobStatus], asked: list[str]) -> None:
        """Merge the statuses that the scheduler reports of the jobs ``asked``."""
        self.table.update_statuses(statuses, asked, self._clock())
        self._flush()
        self.wake()

    def status_failed(self, why: str, times: int) -> None:
        """Log a failed status call, and show the third failure in a row to the user."""
        log.warning("the scheduler does not report the jobs of executor %s: %s", self.label, why)
        # A busy scheduler fails a call now and then; that is no news for the user.
        if times == 3:
            self.jobs.notice(
                "warning",
                f"The scheduler does not say how the blocks of executor {self.label} are ({why}); blocks that run go "
                "on, and it is asked again.",
            )

    def _stop(self, why: str) -> None:
        """Stop the executor, which cannot get a block: end its blocks, and fail all of its tasks."""
        self.stopped = why
        now = self._clock()
        for block in list(self.table.alive.values()):
            self._release(block, "its executor is stopped", now)
        self._owner.fail(why)
        self._flush()

    # ----- commands of the user; each returns one sentence

    def scale(self, number: int) -> str:
        """Bring the executor to this many blocks.

        The number replaces the strategy until that many blocks have joined, no task is left, and a block has been idle
        for ``max_idletime``.  Then the strategy decides again.  A number below ``min_blocks`` stays in force until the
        user sets another one.
        """
        self._check_stopped()
        most = self._tracker.limits.max_blocks
        wanted = max(0, min(number, most))
        self._tracker.pinned = wanted
        now = self._clock()
        have = sum(block.alive and not block.unwanted for block in self.table.alive.values())
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
        """End a block when it has finished what it holds."""
        block = self._block(name)
        self._want_fewer(block)
        self._release(block, "drained by hand", self._clock())
        self._flush()
        self.wake()
        when = "when it has finished what it holds" if block.managers else "now: no manager of it had come"
        return f"Block {self.label}/{block.id} ends {when}."

    def cancel(self, name: str) -> str:
        """End a block at once."""
        block = self._block(name)
        self._want_fewer(block)
        self.table.end(block, self._clock(), "cancelled by hand")
        self._flush()
        self.wake()
        return f"Block {self.label}/{block.id} is cancelled; the tasks that it held are lost, or tried again elsewhere."

    def _want_fewer(self, block: Block) -> None:
        """Lower the wanted number: a user who ends a block wants no new one in its place, unless tasks need it."""
        self._tracker.initial = 0
        if self._tracker.pinned and not block.unwanted:
            # Ending the last block by hand does not mean "no block from now on", so 0 becomes None.
            self._tracker.pinned = self._tracker.pinned - 1 or None

    def _block(self, name: str) -> Block:
        self._check_stopped()
        block = self.table.alive.get(name)
        if block is not None:
            return block
        if name in self.table.blocks:
            raise ConfigurationError(f"Block {self.label}/{name} has ended.")
        have = ", ".join(self.table.alive) or "none"
        raise ConfigurationError(f"Executor {self.label} has no block {name!r}; it has {have}.")

    def _check_stopped(self) -> None:
        if self.stopped:
            raise ConfigurationError(f"Executor {self.label} is stopped: {self.stopped}")
        if not self._ready:
            raise ConfigurationError(f"Executor {self.label} is just starting: try again in a moment.")

    # ----- the end

    def leave(self) -> None:
        """Begin to cancel every job without waiting; ``close`` waits.  Calling it twice is safe."""
        if not self.jobs.over.is_set():
            # The flag comes first: a thread that submits reads it, and then cancels its own job.
            self.jobs.over.set()
            now = self._clock()
            for block in list(self.table.alive.values()):
                self.table.end(block, now, _OVER)
            # A job without a number cannot be cancelled, so the search for it does not wait for its next attempt.
            self.jobs.settle()
            self._flush()

    def close(self, deadline: float) -> None:
        """Cancel every job, also one that is being submitted, and wait for this until ``deadline`` at the latest.

        Parameters
        ----------
        deadline
            A time in seconds since the epoch.
        """
        self.leave()
        # The loop no longer runs, so this thread collects the results of background calls itself.
        while self.table.alive and (now := self._clock()) < deadline:
            due = self.table.next_deadline(now)
            self._inbox.wait(max(0.001, min(deadline, deadline if due is None else due) - now))
            self._flush()
        self.stop_watching()
        if self.table.alive:
            self.jobs.report_remaining()
        elif self._ready:
            self.runner.close()

    def stop_watching(self) -> None:
        """Stop asking the scheduler about the jobs of this executor."""
        if self._watcher is not None:
            self._watcher.leave(self)


def _limits(provider: ProviderSettings, max_idletime: float) -> BlockLimits:
    return BlockLimits(
        init_blocks=provider.init_blocks,
        min_blocks=provider.min_blocks,
        max_blocks=provider.max_blocks,
        parallelism=provider.parallelism,
        max_idletime=max_idletime,
    )
