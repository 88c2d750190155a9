"""The block journal: the jobs that a run has submitted, so that they can be cancelled when the run is gone.

[shell]  The DataFlowKernel appends to ``<run_dir>/blocks.jsonl``, one line in one write.  The name of a job is in the
journal before the job is submitted, and its number as soon as the number is known.  After a DataFlowKernel was killed,
its replacement reads :func:`unfinished_blocks` and takes the blocks over.  Without a replacement, the process that
removes the dead run calls :func:`cancel_unfinished_jobs`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.clock import steady_time
from parslab.errors import ConfigurationError, UntrustedPathError
from parslab.providers.base import FindsJobs
from parslab.records.executor_settings import EncodedDescription
from parslab.trust import open_file
from parslab.wire.descriptors import using_spare

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import Runner

__all__ = [
    "FILE_NAME",
    "BlockJournal",
    "JournaledBlock",
    "UnfinishedBlocks",
    "cancel_unfinished_jobs",
    "unfinished_blocks",
    "unfinished_jobs",
]

log = logging.getLogger(__name__)

FILE_NAME = "blocks.jsonl"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC

FIND_ATTEMPTS, FIND_PAUSE = 3, 0.5
"""Attempts to find a job by its name when a dead run is removed, and the seconds between two.

A submission that outlives its process may reach the scheduler late.
"""


class BlockJournal:
    """Appends the lines of one executor; safe from any thread, because each line is one write."""

    def __init__(self, run_dir: Path, executor: str, clock: Callable[[], float] = steady_time) -> None:
        self._path = run_dir / FILE_NAME
        self._executor = executor
        self._clock = clock

    def provider(self, description: EncodedDescription) -> None:
        """Write the provider of this executor, with which another process can reach its jobs."""
        self._write(event="provider", provider=msgspec.to_builtins(description))

    def requested(self, block: str, name: str) -> None:
        """Write that the job of a block is about to be submitted under this name."""
        self._write(event="requested", block=block, name=name)

    def submitted(self, block: str, job: str) -> None:
        """Write that the scheduler has accepted the job of a block under the number ``job``."""
        self._write(event="submitted", block=block, job=job)

    def joined(self, block: str) -> None:
        """Write that a manager of a block has connected."""
        self._write(event="joined", block=block)

    def draining(self, block: str) -> None:
        """Write that the run wants a block to end."""
        self._write(event="draining", block=block)

    def held(self, block: str, held: bool) -> None:
        """Write that the user holds a block or releases it."""
        self._write(event="held", block=block, held=held)

    def pinned(self, blocks: int | None) -> None:
        """Write the number of blocks that the user wants; None means that the strategy decides."""
        self._write(event="pinned", blocks=blocks)

    def ended(self, block: str, state: str) -> None:
        """Write that the job of a block has ended or was cancelled."""
        self._write(event="ended", block=block, state=state)

    def _write(self, **line: Any) -> None:
        text = json.dumps({"time": round(self._clock(), 3), "executor": self._executor, **line}) + "\n"
        try:
            # With O_APPEND Linux adds the bytes of one write in one piece, so threads need no lock.  There is no
            # fsync, because the journal must survive a killed process, and the page cache does.
            file = using_spare(lambda: os.open(self._path, _APPEND, 0o600))
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)
        except OSError as error:
            # A full disk must not end the run; without the line, only the cleanup after a crash is incomplete.
            log.warning("the block journal cannot be written: %s", error, extra={"executor": self._executor})


@dataclass(slots=True)
class JournaledBlock:
    """A block that has not ended according to the journal."""

    name: str
    """The name of its job."""
    requested_at: float = 0.0
    job: str = ""
    """The number that the scheduler has given to its job; empty while the number is unknown."""
    joined: bool = False
    """A manager of the block had connected."""
    draining: bool = False
    held: bool = False


@dataclass(slots=True)
class UnfinishedBlocks:
    """The blocks of one executor that have not ended according to the journal."""

    provider: EncodedDescription | None = None
    """None: the journal names none that can be read."""
    blocks: dict[str, JournaledBlock] = field(default_factory=dict)
    first: int = 0
    """The first block number that no block has had."""
    pinned: int | None = None

    @property
    def jobs(self) -> list[str]:
        """The jobs whose numbers are known."""
        return [entry.job for entry in self.blocks.values() if entry.job]


def unfinished_jobs(run_dir: Path) -> dict[str, dict[str, str]]:
    """Return the jobs that have not ended, by executor and block; the text is empty if the number is unknown."""
    found = {label: {block: entry.job for block, entry in one.blocks.items()} for label, one in _read(run_dir).items()}
    return {label: jobs for label, jobs in found.items() if jobs}


def unfinished_blocks(run_dir: Path, executor: str) -> UnfinishedBlocks:
    """Return the blocks of one executor that have not ended."""
    return _read(run_dir).get(executor, UnfinishedBlocks())


def cancel_unfinished_jobs(run_dir: Path) -> list[str]:
    """Cancel the jobs of a dead run; this takes as long as the scheduler's commands take.

    Returns
    -------
    list of str
        One sentence for each executor that had jobs: what was cancelled, or what the user has to do.
    """
    sentences = []
    for label, found in _read(run_dir).items():
        if not found.blocks:
            continue
        try:
            runner = _runner(found.provider, run_dir)
        except Exception as error:  # of the scheduler's commands, or of a user's provider
            sentences += _not_cancelled(label, found.jobs, error)
            sentences += [_unknown(label, entry.name, f"{error}") for entry in found.blocks.values() if not entry.job]
            continue
        journal = BlockJournal(run_dir, label)
        # Jobs without a number come first, so that one command cancels all jobs.
        sentences += _found_by_name(label, found, runner, journal)
        if found.jobs:
            sentences += _cancel(label, found, runner, journal)
        with contextlib.suppress(Exception):
            runner.close()
    return sentences


def _found_by_name(label: str, found: UnfinishedBlocks, runner: Runner, journal: BlockJournal) -> list[str]:
    """Find the jobs that were being submitted; returns a sentence for each job that is not found."""
    sentences = []
    for block, entry in list(found.blocks.items()):
        if entry.job:
            continue
        try:
            number = _find(entry.name, runner)
            why = "there is none in the scheduler's queue now"
        except Exception as error:  # of the scheduler's commands, or of a user's provider
            number, why = None, f"{error}"
        if number is None:
            sentences.append(_unknown(label, entry.name, why))
            journal.ended(block, "unknown")  # so that a later reader does not look for it again
            del found.blocks[block]
        else:
            entry.job = number
            journal.submitted(block, number)
    return sentences


def _find(name: str, runner: Runner) -> str | None:
    if not isinstance(runner, FindsJobs):
        raise OSError("its provider cannot look for jobs by their names")
    for look in range(FIND_ATTEMPTS):
        if look:
            time.sleep(FIND_PAUSE)
        number = runner.find(name)
        if number is not None:
            return number
    return None


def _cancel(label: str, found: UnfinishedBlocks, runner: Runner, journal: BlockJournal) -> list[str]:
    jobs = found.jobs
    try:
        runner.cancel(jobs)
    except Exception as error:  # of the scheduler's commands, or of a user's provider
        return _not_cancelled(label, jobs, error)
    for block, entry in found.blocks.items():
        if entry.job:
            journal.ended(block, "scaled_in")
    return [f"The run was killed, so its {_named(label, jobs)} {'was' if len(jobs) == 1 else 'were'} cancelled."]


def _not_cancelled(label: str, jobs: list[str], error: Exception) -> list[str]:
    if not jobs:
        return []
    it = "it" if len(jobs) == 1 else "them"
    return [f"The run was killed and its {_named(label, jobs)} could not be cancelled ({error}): cancel {it} by hand."]


def _named(label: str, jobs: list[str]) -> str:
    return f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs)} of executor {label}"


def _unknown(label: str, name: str, why: str) -> str:
    return (
        f"Executor {label}: {name} was being submitted when the run was killed ({why}); a job of this name that still "
        "comes finds the run over, and ends."
    )


def _runner(provider: EncodedDescription | None, run_dir: Path) -> Runner:
    from parslab.description import decoded
    from parslab.providers.base import Provider

    if provider is None:
        raise ConfigurationError(f"{run_dir / FILE_NAME} names no provider")
    description = decoded(provider)
    assert isinstance(description, Provider)
    return description.runner(run_dir / "blocks")


def _read(run_dir: Path) -> dict[str, UnfinishedBlocks]:
    """Return the unfinished blocks of each executor; a line that a crash cut off is ignored."""
    found: dict[str, UnfinishedBlocks] = {}
    try:
        with open(open_file(Path(run_dir) / FILE_NAME), encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except UntrustedPathError:
        raise  # the file of another user could name a provider, whose code this user would then run
    except OSError:
        return found
    for text in lines:
        try:
            line = json.loads(text)
            _apply(found.setdefault(line["executor"], UnfinishedBlocks()), line)
        except (ValueError, KeyError, TypeError, msgspec.ValidationError):
            continue
    return found


def _apply(one: UnfinishedBlocks, line: dict[str, Any]) -> None:
    event, block = line["event"], line.get("block", "")
    if event == "provider":
        one.provider = msgspec.convert(line["provider"], EncodedDescription)
    elif event == "pinned":
        one.pinned = line["blocks"]
    elif event == "requested":
        one.blocks[block] = JournaledBlock(line["name"], line["time"])
        one.first = max(one.first, int(block) + 1)
    elif event == "ended":
        one.blocks.pop(block, None)
    # A background thread may write a line about a block after the loop has written the end of the block.
    elif block in one.blocks:
        entry = one.blocks[block]
        if event == "submitted":
            entry.job = line["job"]
        elif event == "joined":
            entry.joined = True
        elif event == "draining":
            entry.draining = True
        elif event == "held":
            entry.held = line["held"]
