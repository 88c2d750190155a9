"""The journal of blocks: which jobs a run has submitted, so that they can be cancelled when it is gone.

[shell]  ``<run_dir>/blocks.jsonl`` is only appended to, one line a write, by the DataFlowKernel; a job stands in it as
soon as its number is known, before anything else is done with it.  After the DataFlowKernel was killed, whoever buries
it calls :func:`cancel_leftovers`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import Runner

__all__ = ["NAME", "Journal", "cancel_leftovers", "leftovers"]

log = logging.getLogger(__name__)

NAME = "blocks.jsonl"


class Journal:
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


class _Left:
    """What the journal says of one executor."""

    def __init__(self) -> None:
        self.provider: dict[str, Any] = {}
        self.jobs: dict[str, str] = {}
        self.names: dict[str, str] = {}


def leftovers(run_dir: Path) -> dict[str, dict[str, str]]:
    """Jobs that have not ended as far as the journal knows: by executor and block; empty: its number is not known."""
    return {
        label: {block: left.jobs.get(block, "") for block in left.names}
        for label, left in _read(run_dir).items()
        if left.names
    }


def cancel_leftovers(run_dir: Path) -> list[str]:
    """Cancel the jobs of a run that is gone; may take as long as the scheduler's commands.

    Returns
    -------
    list of str
        One sentence for each executor that had any: what was done, or what the user has to do.
    """
    said = []
    for label, left in _read(run_dir).items():
        unnamed = [name for block, name in left.names.items() if block not in left.jobs]
        if left.jobs:
            said.append(_cancel(run_dir, label, left))
        if unnamed:
            said.append(
                f"Executor {label}: {', '.join(unnamed)} {'was' if len(unnamed) == 1 else 'were'} being submitted when "
                "the run was killed; look in the scheduler's queue for jobs of such a name, and cancel them."
            )
            journal = Journal(run_dir, label)
            for block in left.names.keys() - left.jobs.keys():
                journal.ended(block, "unknown")
    return said


def _cancel(run_dir: Path, label: str, left: _Left) -> str:
    jobs = list(left.jobs.values())
    what = f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs)} of executor {label}"
    try:
        runner = _runner(left.provider, run_dir)
        try:
            runner.cancel(jobs)
        finally:
            runner.close()
    except Exception as error:  # of the scheduler's commands, or of a user's provider
        return f"The run was killed and its {what} could not be cancelled ({error}): cancel them in the scheduler."
    journal = Journal(run_dir, label)
    for block in left.jobs:
        journal.ended(block, "scaled_in")
    return f"The run was killed, so its {what} {'was' if len(jobs) == 1 else 'were'} cancelled."


def _runner(provider: dict[str, Any], run_dir: Path) -> Runner:
    from parslab.description import decoded
    from parslab.providers.base import Provider

    description = decoded(provider)
    assert isinstance(description, Provider)
    return description.runner(run_dir / "blocks")


def _read(run_dir: Path) -> dict[str, _Left]:
    """What is left of each executor; a line that was cut off by a crash is left out."""
    found: dict[str, _Left] = {}
    try:
        lines = (Path(run_dir) / NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for text in lines:
        try:
            line = json.loads(text)
            left = found.setdefault(line["executor"], _Left())
            event, block = line["event"], line.get("block", "")
            if event == "provider":
                left.provider = line["provider"]
            elif event == "requested":
                left.names[block] = line["name"]
            elif event == "submitted":
                left.jobs[block] = line["job"]
            elif event == "ended":
                left.names.pop(block, None)
                left.jobs.pop(block, None)
        except (ValueError, KeyError, TypeError):
            continue
    return found
