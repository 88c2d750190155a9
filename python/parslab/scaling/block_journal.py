"""The journal of blocks: which jobs a run has submitted, so that they can be cancelled when it is gone.

[shell]  ``<run_dir>/blocks.jsonl`` is only appended to, one line a write, by the DataFlowKernel; a job stands in it as
soon as its number is known, before anything else is done with it.  After the DataFlowKernel was killed, the one that
takes its place reads what it :func:`left` and takes the blocks over; where none does, whoever buries the run calls
:func:`cancel_leftovers`.
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

from parslab.providers.base import FindsJobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import Runner

__all__ = ["NAME", "BlockJournal", "JournaledBlock", "LeftoverJobs", "cancel_leftovers", "left", "leftovers"]

log = logging.getLogger(__name__)

NAME = "blocks.jsonl"

LOOKS, BETWEEN = 3, 0.5
"""How often a job is looked for by its name when a run is buried, and seconds between: it may just be arriving."""


class BlockJournal:
    """Writes the lines of one executor; safe from any thread, because a line is one write."""

    def __init__(self, run_dir: Path, executor: str, clock: Callable[[], float] = time.time) -> None:
        self._path = run_dir / NAME
        self._executor = executor
        self._clock = clock

    def provider(self, settings: dict[str, Any]) -> None:
        """How the jobs of this executor are reached: its provider, encoded."""
        self._write(event="provider", provider=settings)

    def requested(self, block: str, name: str) -> None:
        """A block is about to be submitted under this name."""
        self._write(event="requested", block=block, name=name)

    def submitted(self, block: str, job: str) -> None:
        """The scheduler calls its job so."""
        self._write(event="submitted", block=block, job=job)

    def joined(self, block: str) -> None:
        """A manager of it has come."""
        self._write(event="joined", block=block)

    def draining(self, block: str) -> None:
        """It is not wanted any more."""
        self._write(event="draining", block=block)

    def held(self, block: str, held: bool) -> None:
        """The user gives it no new tasks, or gives it some again."""
        self._write(event="held", block=block, held=held)

    def pinned(self, blocks: int | None) -> None:
        """So many blocks the user wants; None: as the strategy says."""
        self._write(event="pinned", blocks=blocks)

    def ended(self, block: str, state: str) -> None:
        """Its job has ended, or was cancelled."""
        self._write(event="ended", block=block, state=state)

    def _write(self, **line: Any) -> None:
        text = json.dumps({"time": round(self._clock(), 3), "executor": self._executor, **line}) + "\n"
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)
        except OSError as error:
            log.warning("the journal of blocks cannot be written: %s", error, extra={"executor": self._executor})


@dataclass(slots=True)
class JournaledBlock:
    """A block that has not ended as far as the journal knows."""

    name: str
    """Of its job."""
    asked: float = 0.0
    job: str = ""
    """Empty: its number is not known."""
    came: bool = False
    """A manager of it had come."""
    draining: bool = False
    held: bool = False


@dataclass(slots=True)
class LeftoverJobs:
    """What the journal says of one executor."""

    provider: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, JournaledBlock] = field(default_factory=dict)
    first: int = 0
    """The first number that no block has had."""
    pinned: int | None = None

    @property
    def jobs(self) -> list[str]:
        """The jobs whose numbers are known."""
        return [entry.job for entry in self.blocks.values() if entry.job]


def leftovers(run_dir: Path) -> dict[str, dict[str, str]]:
    """Jobs that have not ended as far as the journal knows: by executor and block; empty: its number is not known."""
    found = {label: {block: entry.job for block, entry in one.blocks.items()} for label, one in _read(run_dir).items()}
    return {label: jobs for label, jobs in found.items() if jobs}


def left(run_dir: Path, executor: str) -> LeftoverJobs:
    """What is left of the blocks of one executor."""
    return _read(run_dir).get(executor, LeftoverJobs())


def cancel_leftovers(run_dir: Path) -> list[str]:
    """Cancel the jobs of a run that is gone; may take as long as the scheduler's commands.

    Returns
    -------
    list of str
        One sentence for each executor that had any: what was done, or what the user has to do.
    """
    said = []
    for label, found in _read(run_dir).items():
        if not found.blocks:
            continue
        try:
            runner = _runner(found.provider, run_dir)
        except Exception as error:  # of the scheduler's commands, or of a user's provider
            said += _not_cancelled(label, found.jobs, error)
            said += [_unknown(label, entry.name, f"{error}") for entry in found.blocks.values() if not entry.job]
            continue
        journal = BlockJournal(run_dir, label)
        said += _found_by_name(label, found, runner, journal)
        if found.jobs:
            said += _cancel(label, found, runner, journal)
        with contextlib.suppress(Exception):
            runner.close()
    return said


def _found_by_name(label: str, found: LeftoverJobs, runner: Runner, journal: BlockJournal) -> list[str]:
    """Look for the jobs that were being submitted; tells of those that cannot be known."""
    said = []
    for block, entry in list(found.blocks.items()):
        if entry.job:
            continue
        try:
            number = _looked_for(entry.name, runner)
            why = "there is none in the scheduler's queue now"
        except Exception as error:  # of the scheduler's commands, or of a user's provider
            number, why = None, f"{error}"
        if number is None:
            said.append(_unknown(label, entry.name, why))
            journal.ended(block, "unknown")
            del found.blocks[block]
        else:
            entry.job = number
            journal.submitted(block, number)
    return said


def _looked_for(name: str, runner: Runner) -> str | None:
    if not isinstance(runner, FindsJobs):
        raise OSError("its provider cannot look for jobs by their names")
    for look in range(LOOKS):
        if look:
            time.sleep(BETWEEN)
        number = runner.find(name)
        if number is not None:
            return number
    return None


def _cancel(label: str, found: LeftoverJobs, runner: Runner, journal: BlockJournal) -> list[str]:
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


def _runner(provider: dict[str, Any], run_dir: Path) -> Runner:
    from parslab.description import decoded
    from parslab.providers.base import Provider

    description = decoded(provider)
    assert isinstance(description, Provider)
    return description.runner(run_dir / "blocks")


def _read(run_dir: Path) -> dict[str, LeftoverJobs]:
    """What is left of each executor; a line that was cut off by a crash is left out."""
    found: dict[str, LeftoverJobs] = {}
    try:
        lines = (Path(run_dir) / NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for text in lines:
        try:
            line = json.loads(text)
            _learn(found.setdefault(line["executor"], LeftoverJobs()), line)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _learn(one: LeftoverJobs, line: dict[str, Any]) -> None:
    event, block = line["event"], line.get("block", "")
    if event == "provider":
        one.provider = line["provider"]
    elif event == "pinned":
        one.pinned = line["blocks"]
    elif event == "requested":
        one.blocks[block] = JournaledBlock(line["name"], line["time"])
        one.first = max(one.first, int(block) + 1)
    elif event == "ended":
        one.blocks.pop(block, None)
    elif block in one.blocks:
        entry = one.blocks[block]
        if event == "submitted":
            entry.job = line["job"]
        elif event == "joined":
            entry.came = True
        elif event == "draining":
            entry.draining = True
        elif event == "held":
            entry.held = line["held"]
