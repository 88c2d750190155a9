"""The jobs of one executor's blocks [shell]: submits, cancels and explains what the table of blocks asks for.

Owned by ``controller``, in the loop's thread; each call of the runner is an errand.  ``flush`` carries out what lies in
the lists of the table and tells monitoring.  A job whose submission is under way when the end comes is cancelled by the
thread that submits it, as soon as it knows the number: nobody may be left to do it.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from parslab.records.events import BlockMoved, NoticeRaised
from parslab.records.states import BlockState
from parslab.scaling.background_calls import BackgroundCalls
from parslab.scaling.explain import advice, last_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from parslab.providers.base import Job, Runner
    from parslab.scaling.background_calls import CallRunner, Inbox
    from parslab.scaling.block_journal import BlockJournal
    from parslab.scaling.block_table import Block, BlockTable
    from parslab.scaling.controller_owner import ScalingOwner

__all__ = ["BlockJobs"]

log = logging.getLogger(__name__)

SUBMITS, CANCELS, READS = 4, 2, 2
"""Calls of a kind that are made at a time: some schedulers take a second for each submission."""

LOOK_FOR, LOOK_AGAIN = 30.0, 2.0
"""Seconds for which a job is looked for by its name, and between two looks: a submission may outlive the process that
began it, and arrive late."""

AGAIN = 5.0
"""Seconds before a cancellation that failed is tried again; ``HURRY`` when the run ends."""
HURRY = 0.5


class BlockJobs:
    """Carries out what ``blocks`` wants.

    Parameters
    ----------
    settings, owner, command, folder
        As ``Controller`` got them.
    blocks, journal, clock
        Of the controller.
    inbox
        Where answers of errands go.
    errands
        Of a test.
    news
        Called after each answer.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        owner: ScalingOwner,
        command: str,
        folder: Path,
        *,
        blocks: BlockTable,
        journal: BlockJournal,
        clock: Callable[[], float],
        inbox: Inbox,
        errands: CallRunner | None,
        news: Callable[[], None],
    ) -> None:
        self.label: str = settings["label"]
        self.runner: Runner
        self.over = threading.Event()
        """The run is over; threads that submit read it."""
        self.reads: CallRunner = errands or BackgroundCalls("explain", inbox, READS)
        self._submits: CallRunner = errands or BackgroundCalls("submit", inbox, SUBMITS)
        self._cancels: CallRunner = errands or BackgroundCalls("cancel", inbox, CANCELS)
        self._nodes: int = settings.get("nodes_per_block", 1)
        self._owner, self._command, self._folder = owner, command, folder
        self._blocks, self._journal, self._clock, self._news = blocks, journal, clock, news
        self._warned = False
        self._looking: dict[str, tuple[Block, float]] = {}
        """Blocks whose jobs are looked for by name, and until when; not while somebody looks."""

    def stem(self, block: Block) -> str:
        """Path of the files of a block, without their ends ``.sh``, ``.stdout`` and ``.stderr``."""
        return str(self._folder / f"{self.label}-{block.id}")

    def notice(self, level: str, text: str) -> None:
        """Tell the user."""
        self._owner.event(NoticeRaised(self._clock(), level, text))

    # ----- submit

    def _job(self, block: Block) -> Job:
        from parslab.providers.base import Job

        stem = self.stem(block)
        name = f"parslab.{self._owner.run.get('run', 'run')}.{self.label}.{block.id}"
        return Job(name, f"{self._command} {block.id}", f"{stem}.sh", f"{stem}.stdout", f"{stem}.stderr")

    def submit(self, block: Block) -> None:
        """Submit the job of a new block."""
        job = self._job(block)
        runner, journal, over = self.runner, self._journal, self.over
        journal.requested(block.id, job.name)

        def submit() -> str:
            number = runner.submit(job)
            journal.submitted(block.id, number)
            if over.is_set():
                runner.cancel([number])
                journal.ended(block.id, str(BlockState.scaled_in))
            return number

        self._submits.run(submit, lambda number, error: self._submitted(block, number, error))

    def _submitted(self, block: Block, number: str | None, error: Exception | None) -> None:
        from parslab.providers.base import SubmitError

        now = self._clock()
        if number is not None:
            self._blocks.accepted(block, number, now)
        else:
            words = f"{error}" if isinstance(error, SubmitError) else f"{type(error).__name__}: {error}"
            self._blocks.refused(block, words, now)
        self._news()

    # ----- take over

    def adopt(self, block: Block) -> None:
        """Go on with the job of a block that another process has asked for; look for it where its number is unknown."""
        from parslab.providers.base import FindsJobs

        able = isinstance(self.runner, FindsJobs)
        if not block.job and able:
            self._look(block, self._clock() + LOOK_FOR)
        elif not block.job:
            job = self._job(block).name
            self._not_found(block, "its provider cannot look for jobs by their names")
            self.notice("warning", f"See whether job {job} of executor {self.label} is in the queue, and cancel it.")
        elif able:
            self.runner.adopt(block.job, self._job(block))  # type: ignore[attr-defined]

    def _look(self, block: Block, until: float) -> None:
        self._looking.pop(block.id, None)
        runner: Any = self.runner
        journal, over, job = self._journal, self.over, self._job(block)

        def find() -> str | None:
            number: str | None = runner.find(job.name)
            if number is not None:
                runner.adopt(number, job)
                journal.submitted(block.id, number)
                if over.is_set():
                    runner.cancel([number])
                    journal.ended(block.id, str(BlockState.scaled_in))
            return number

        self._submits.run(find, lambda number, error: self._looked(block, until, number, error))

    def _looked(self, block: Block, until: float, number: str | None, error: Exception | None) -> None:
        now = self._clock()
        if number is not None:
            self._blocks.accepted(block, number, now)
            self._news()
        elif self.over.is_set() or now >= until:
            self._not_found(block, f"{error}" if error is not None else "no job of its name came")
        else:
            self._looking[block.id] = block, until
            self._owner.at(now + LOOK_AGAIN, lambda: self._look(block, until) if block.id in self._looking else None)

    def _not_found(self, block: Block, why: str) -> None:
        words = f"it was being submitted when the DataFlowKernel was killed, and {why}"
        self._blocks.refused(block, words, self._clock(), counts=False)
        self._news()

    def hurry(self) -> None:
        """The end has come: look for what is still looked for once more, at once."""
        for block, until in list(self._looking.values()):
            self._look(block, until)

    # ----- carry out

    def flush(self) -> None:
        """Carry out what the table of blocks has left to do."""
        blocks, now = self._blocks, self._clock()
        unexplained, blocks.unexplained = blocks.unexplained, []
        for block in unexplained:
            self._explain(block)
        changed, blocks.changed = blocks.changed, {}
        for block in changed.values():
            self._tell(block, now)
        strays, blocks.strays = blocks.strays, []
        for name in strays:
            self._owner.release_block(name)
        due = blocks.due(now)
        if due:
            self._cancel(due)
        if not blocks.failures:
            self._warned = False
        elif not self._warned:
            self._warn(changed)

    def _tell(self, block: Block, now: float) -> None:
        if not block.alive and not block.recorded:
            block.recorded = True
            self._journal.ended(block.id, str(block.state))
        elif block.state is BlockState.draining:
            self._journal.draining(block.id)
        stem = self.stem(block)
        self._owner.event(
            BlockMoved(
                now,
                self.label,
                block.id,
                str(block.state),
                block.job,
                self._nodes,
                block.reason,
                f"{stem}.stdout",
                f"{stem}.stderr",
            )
        )

    def _warn(self, changed: dict[str, Block]) -> None:
        """Say it at the first failed start of a series; the others stand in the table of blocks."""
        self._warned = True
        failed = [block for block in changed.values() if block.state in (BlockState.failed, BlockState.missing)]
        for block in failed[:1]:
            which = f"Block {block.id} of executor {self.label} could not start"
            self.notice("warning", f"{which}: {_sentence(block.reason)} {advice(block.reason)}".rstrip())

    def _explain(self, block: Block) -> None:
        stem, known = self.stem(block), block.reason
        self.reads.run(
            lambda: last_words(f"{stem}.stderr", f"{stem}.stdout", known),
            lambda words, _: self._explained(block, words or ""),
        )

    def _explained(self, block: Block, words: str) -> None:
        self._blocks.explained(block, words, self._clock())
        if block.late and block.alive and not self.over.is_set():
            self.notice("warning", f"Block {block.id} of executor {self.label}: {_sentence(block.reason)}")
        self._news()

    def _cancel(self, due: list[Block]) -> None:
        runner = self.runner
        ids, jobs = [block.id for block in due], [block.job for block in due]
        self._cancels.run(lambda: runner.cancel(jobs), lambda _, error: self._cancelled(ids, error))

    def _cancelled(self, ids: list[str], error: Exception | None) -> None:
        now = self._clock()
        if error is None:
            self._blocks.cancelled(ids, now)
        else:
            log.warning("blocks %s of executor %s cannot be cancelled: %s", ids, self.label, error)
            self._blocks.not_cancelled(ids, now + (HURRY if self.over.is_set() else AGAIN))
        self._news()

    def say_what_is_left(self) -> None:
        """The end has come, and jobs may still be there."""
        jobs = [block.job for block in self._blocks.alive.values() if block.job]
        unnamed = [block.id for block in self._blocks.alive.values() if not block.job]
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
