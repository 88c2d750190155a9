"""The jobs of one executor's blocks: submits, cancels and explains them as the table of blocks asks [shell].

The controller owns this object, in the loop's thread; every call of the runner runs in the background.  ``flush``
carries out the work in the lists of the table, and sends the changes to monitoring.

A run may end while a job is being submitted.  The thread that submits the job then cancels it as soon as it has the
number, because the rest of the run may have ended.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.records.events import BlockMoved, NoticeRaised
from parslab.records.states import BlockState
from parslab.scaling.background_calls import BackgroundCalls
from parslab.scaling.failure_sentences import advice, end_of_output, mistakes
from parslab.wire import invitations

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import Job, Runner
    from parslab.records.executor_settings import HighThroughputSettings
    from parslab.scaling.background_calls import CallRunner, Inbox
    from parslab.scaling.block import Block
    from parslab.scaling.block_journal import BlockJournal
    from parslab.scaling.block_table import BlockTable
    from parslab.scaling.controller_owner import ScalingOwner

__all__ = ["BlockJobs"]

log = logging.getLogger(__name__)

SUBMITS, CANCELS, READS = 4, 2, 2
"""Calls of each kind that run at the same time: some schedulers take a second for each submission."""

FIND_PAUSE = 2.0
"""Seconds between two attempts to find a job by its name."""

SUBMIT_BACKOFF = (1.0, 5.0, 30.0, 60.0)
"""Seconds before a submission that failed for a reason that passes is tried again; the last one repeats."""

SUBMIT_FOR = 600.0
"""Seconds after which a block that cannot be submitted counts as a failed start."""

CANCEL_PAUSE = 5.0
"""Seconds before a cancellation that failed is tried again."""
CANCEL_PAUSE_AT_END = 0.5
"""The same when the run ends, because the user waits for the end."""


class BlockJobs:
    """Carries out what the table of blocks asks for.

    Parameters
    ----------
    settings, owner, command, folder
        As :class:`~parslab.scaling.controller.ScalingController` gets them.
    table, journal, clock
        Those of the controller.
    inbox
        The inbox that gets the results of background calls.
    calls
        Runs all background calls; None means threads.
    on_change
        Called after the result of each background call.
    """

    def __init__(
        self,
        settings: HighThroughputSettings,
        owner: ScalingOwner,
        command: str,
        folder: Path,
        *,
        table: BlockTable,
        journal: BlockJournal,
        clock: Callable[[], float],
        inbox: Inbox,
        calls: CallRunner | None,
        on_change: Callable[[], None],
    ) -> None:
        self.label = settings.label
        self.runner: Runner
        self.over = threading.Event()
        """The run is over; threads that submit read this."""
        self.reads: CallRunner = calls or BackgroundCalls("explain", inbox, READS)
        self._submits: CallRunner = calls or BackgroundCalls("submit", inbox, SUBMITS)
        self._cancels: CallRunner = calls or BackgroundCalls("cancel", inbox, CANCELS)
        self._nodes = settings.provider.nodes_per_block
        self._owner, self._command, self._folder = owner, command, folder
        self._table, self._journal, self._clock, self._on_change = table, journal, clock, on_change
        self._python = settings.python
        invitation = Path(owner.run.run_dir) / invitations.file_name(settings.label)
        self._invitation = str(invitation) if settings.provider.remote else ""
        self._warned = False
        self._postponed: dict[str, tuple[Block, int]] = {}
        """Blocks whose submission failed for a reason that passes, and the number of failures."""
        self._init_checked = not settings.provider.worker_init
        """Whether worker_init needs no check: it is empty, or a check has begun."""
        self._to_find: dict[str, tuple[Block, float]] = {}
        """Blocks whose jobs are looked for by name, and until when; a block is missing while an attempt runs."""

    def stem(self, block: Block) -> str:
        """Path of the files of a block, without ``.sh``, ``.stdout`` and ``.stderr``."""
        return str(self._folder / f"{self.label}-{block.id}")

    def notice(self, level: str, text: str) -> None:
        """Show a notice to the user."""
        self._owner.event(NoticeRaised(self._clock(), level, text))

    # ----- submit

    def _job(self, block: Block) -> Job:
        from parslab.providers.base import Job

        stem = self.stem(block)
        return Job(
            name=f"parslab.{self._owner.run.run}.{self.label}.{block.id}",
            command=f"{self._command} {block.id}",
            script=f"{stem}.sh",
            stdout=f"{stem}.stdout",
            stderr=f"{stem}.stderr",
            python=self._python,
            invitation=self._invitation,
        )

    def submit(self, block: Block) -> None:
        """Submit the job of a new block."""
        job = self._job(block)
        runner = self.runner
        # The name is in the journal before the scheduler can accept the job.  A crash in between leaves a job without a
        # number, and the next process finds it by this name.
        self._journal.requested(block.id, job.name)

        def submit() -> str:
            number = runner.submit(job)
            # This thread writes the number, because the process may be killed before the loop gets the result.
            self._journal_number(runner, block, number)
            return number

        self._submits.run(submit, lambda number, error: self._submitted(block, number, error))

    def _journal_number(self, runner: Runner, block: Block, number: str) -> None:
        """Write down the number of a job, and cancel the job if the run is over; a background thread calls this."""
        self._journal.submitted(block.id, number)
        if self.over.is_set():
            runner.cancel([number])
            self._journal.ended(block.id, str(BlockState.scaled_in))

    def _submitted(self, block: Block, number: str | None, error: Exception | None, failures: int = 0) -> None:
        from parslab.providers.base import SubmitError, is_transient

        now = self._clock()
        if number is not None:
            self._table.accepted(block, number, now)
        else:
            words = f"{error}" if isinstance(error, SubmitError) else f"{type(error).__name__}: {error}"
            wanted = block.alive and not block.unwanted and not self.over.is_set()
            if wanted and error is not None and is_transient(error) and now < block.requested_at + SUBMIT_FOR:
                self._postpone(block, words, failures + 1)
            else:
                self._table.refused(block, words, now)
        self._on_change()

    # ----- submit again

    def _postpone(self, block: Block, words: str, failures: int) -> None:
        """Submit a job again after a pause, because the reason for its failure passes."""
        pause = SUBMIT_BACKOFF[min(failures, len(SUBMIT_BACKOFF)) - 1]
        self._table.postponed(block, words)
        if not any(count > 1 for _, count in self._postponed.values()) and failures == 1:
            self.notice(
                "warning",
                f"Block {block.id} of executor {self.label} could not be submitted: {_sentence(words)} It is tried "
                f"again in {pause:.0f} s, then ever more rarely.",
            )
        self._postponed[block.id] = block, failures
        self._owner.at(self._clock() + pause, lambda: self._submit_again(block))

    def _submit_again(self, block: Block) -> None:
        _, failures = self._postponed.pop(block.id, (block, 0))
        if not failures:
            return  # the block was ended during the pause
        runner, job = self.runner, self._job(block)

        def submit() -> str:
            from parslab.providers.base import FindsJobs

            # The scheduler may have accepted the job although the command that submitted it failed.
            number = runner.find(job.name) if isinstance(runner, FindsJobs) else None
            if number is None:
                number = runner.submit(job)
            else:
                runner.adopt(number, job)  # type: ignore[attr-defined]
            self._journal_number(runner, block, number)
            return number

        self._submits.run(submit, lambda number, error: self._submitted(block, number, error, failures))

    def _give_up_postponed(self) -> None:
        """End postponed blocks that are no longer wanted: they have no job that could be cancelled."""
        for block, _ in [entry for entry in self._postponed.values() if entry[0].unwanted]:
            del self._postponed[block.id]
            self._table.refused(block, block.reason, self._clock())

    # ----- worker_init

    def check_worker_init(self, block: Block) -> None:
        """Show the mistakes in worker_init once, when a manager has joined: then no failure reports them."""
        from parslab.providers.base import worker_init_errors

        if self._init_checked:
            return
        self._init_checked = True
        path = worker_init_errors(f"{self.stem(block)}.sh")
        self.reads.run(lambda: mistakes(path), lambda words, _: self._worker_init_read(block, words or ""))

    def _worker_init_read(self, block: Block, words: str) -> None:
        if words and not self.over.is_set():
            which = f"Block {block.id} of executor {self.label} works, but its worker_init wrote"
            self.notice("warning", f"{which}: {_sentence(words)} {advice(words)}".rstrip())

    # ----- adopt

    def adopt(self, block: Block) -> None:
        """Continue with the job of a block that a killed process requested; find the job if its number is unknown."""
        from parslab.providers.base import FindsJobs

        runner = self.runner
        if not block.job and isinstance(runner, FindsJobs):
            self._find(block, self._clock() + runner.late_arrival)
        elif not block.job:
            job = self._job(block).name
            self._not_found(block, "its provider cannot look for jobs by their names")
            self.notice("warning", f"See whether job {job} of executor {self.label} is in the queue, and cancel it.")
        elif isinstance(runner, FindsJobs):
            runner.adopt(block.job, self._job(block))

    def _find(self, block: Block, until: float) -> None:
        self._to_find.pop(block.id, None)
        from parslab.providers.base import FindsJobs

        runner = self.runner
        assert isinstance(runner, FindsJobs)
        job = self._job(block)

        def find() -> str | None:
            number = runner.find(job.name)
            if number is not None:
                runner.adopt(number, job)
                self._journal_number(runner, block, number)
            return number

        self._submits.run(find, lambda number, error: self._found(block, until, number, error))

    def _found(self, block: Block, until: float, number: str | None, error: Exception | None) -> None:
        now = self._clock()
        if number is not None:
            self._table.accepted(block, number, now)
            self._on_change()
        elif self.over.is_set() or now >= until:
            self._not_found(block, f"{error}" if error is not None else "no job of its name came")
        else:
            self._to_find[block.id] = block, until
            self._owner.at(now + FIND_PAUSE, lambda: self._find(block, until) if block.id in self._to_find else None)

    def _not_found(self, block: Block, why: str) -> None:
        words = f"it was being submitted when the DataFlowKernel was killed, and {why}"
        self._table.refused(block, words, self._clock(), counts=False)
        self._on_change()

    def settle(self) -> None:
        """Look once more, and at once, for the jobs that are not found yet, because the run ends."""
        for block, until in list(self._to_find.values()):
            self._find(block, until)

    # ----- carry out

    def flush(self) -> None:
        """Carry out the work in the lists of the table of blocks."""
        table, now = self._table, self._clock()
        if self._postponed:
            self._give_up_postponed()
        # Each list is taken before it is processed, because processing it may add new entries.
        wanted, table.output_wanted = table.output_wanted, []
        for block in wanted:
            self._explain(block)
        changed, table.changed = table.changed, {}
        for block in changed.values():
            self._publish(block, now)
        released, table.to_release = table.to_release, []
        for name in released:
            self._owner.release_block(name)
        due = table.start_cancelling(now)
        if due:
            self._cancel(due)
        if not table.failed_starts.count:
            self._warned = False
        elif not self._warned:
            self._warn(changed)

    def _publish(self, block: Block, now: float) -> None:
        """Write the change of a block to the journal, and send it to monitoring."""
        # An ended block changes again when its output is read, but its end is in the journal once.
        if not block.alive and not block.end_journaled:
            block.end_journaled = True
            self._journal.ended(block.id, str(block.state))
        elif block.state is BlockState.draining:
            self._journal.draining(block.id)
        stem = self.stem(block)
        moved = BlockMoved(
            time=now,
            executor=self.label,
            block=block.id,
            state=str(block.state),
            job=block.job,
            nodes=self._nodes,
            reason=block.reason,
            stdout=f"{stem}.stdout",
            stderr=f"{stem}.stderr",
            price=block.price,
        )
        self._owner.event(moved)

    def _warn(self, changed: dict[str, Block]) -> None:
        """Show the first failed start of a series to the user; the panel's table of blocks shows the others."""
        self._warned = True
        failed = [block for block in changed.values() if block.state in (BlockState.failed, BlockState.missing)]
        for block in failed[:1]:
            which = f"Block {block.id} of executor {self.label} could not start"
            self.notice("warning", f"{which}: {_sentence(block.reason)} {advice(block.reason)}".rstrip())

    def _explain(self, block: Block) -> None:
        stem, known = self.stem(block), block.reason
        self.reads.run(
            lambda: end_of_output(f"{stem}.stderr", f"{stem}.stdout", known),
            lambda words, _: self._explained(block, words or ""),
        )

    def _explained(self, block: Block, words: str) -> None:
        self._table.output_read(block, words, self._clock())
        if block.late and block.alive and not self.over.is_set():
            self.notice("warning", f"Block {block.id} of executor {self.label}: {_sentence(block.reason)}")
        self._on_change()

    def _cancel(self, due: list[Block]) -> None:
        runner = self.runner
        ids, jobs = [block.id for block in due], [block.job for block in due]
        self._cancels.run(lambda: runner.cancel(jobs), lambda _, error: self._cancelled(ids, error))

    def _cancelled(self, ids: list[str], error: Exception | None) -> None:
        now = self._clock()
        if error is None:
            self._table.cancelled(ids, now)
        else:
            log.warning("blocks %s of executor %s cannot be cancelled: %s", ids, self.label, error)
            pause = CANCEL_PAUSE_AT_END if self.over.is_set() else CANCEL_PAUSE
            self._table.cancel_failed(ids, now + pause)
        self._on_change()

    def report_remaining(self) -> None:
        """Show the user which jobs may still exist at the end of the run."""
        jobs = [block.job for block in self._table.alive.values() if block.job]
        unnamed = [block.id for block in self._table.alive.values() if not block.job]
        if jobs:
            self.notice(
                "error",
                f"The scheduler did not say in time that jobs {', '.join(jobs)} of executor {self.label} are "
                "cancelled: see whether they are still in its queue.",
            )
        if unnamed:
            self.notice(
                "warning",
                f"Blocks {', '.join(unnamed)} of executor {self.label} were being submitted when the run ended: see "
                "whether their jobs are in the scheduler's queue.",
            )


def _sentence(words: str) -> str:
    return words if words.endswith((".", "!", "?")) else f"{words}."
