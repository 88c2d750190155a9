"""What every provider is: a description of where blocks come from, and the runner that gets, watches and ends them.

A provider is a :class:`Description`; the DataFlowKernel process asks it for a :class:`Runner`, whose methods may block
and are called from the threads of ``scaling.controller``, never from the loop (paper section 4.2.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from parslab.description import Description
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Job", "JobStatus", "Provider", "Runner", "SubmitError"]


class Job(msgspec.Struct, frozen=True):
    """A block to be submitted."""

    name: str
    """``parslab.<run>.<label>.<block>``: what the scheduler's lists show."""
    command: str
    """Starts the manager on one node; the launcher runs it on each."""
    script: str
    """Path at which the job's script is written."""
    stdout: str
    stderr: str


class JobStatus(msgspec.Struct, frozen=True):
    """What is known of a job.

    ``state`` is one of queued, running, finished, failed, missing (finished: it ended with status 0; scaled_in when
    the scheduler says that somebody cancelled it).
    """

    state: BlockState
    reason: str = ""
    """In the scheduler's own words: why it waits, why it failed, its exit status."""
    hosts: str = ""


class SubmitError(Exception):
    """A job was not accepted: what the scheduler or the shell said, and what to do where that is known."""


class Runner(Protocol):
    """Gets, watches and ends jobs; made by :meth:`Provider.runner`."""

    period: float
    """Least seconds between two calls of ``status``."""
    group: str
    """Runners with the same group may be asked together: one ``status`` call for all their jobs."""

    def submit(self, job: Job) -> str:
        """Submit and return what the scheduler calls the job; SubmitError when it is not accepted."""

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        """The state of each of these jobs that is known; raises OSError when the scheduler cannot be asked now."""

    def cancel(self, jobs: list[str]) -> None:
        """End these jobs, queued or running; those that have ended already are no error.  OSError as above."""

    def close(self) -> None:
        """Give back what it holds; jobs are not touched."""


class Provider(Description):
    """Base of the descriptions of where blocks come from."""

    def runner(self, folder: Path) -> Runner:
        """The runner that carries this description out; its files go to ``folder``, which exists."""
        raise NotImplementedError
