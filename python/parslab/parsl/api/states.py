"""Parsl's states of tasks and of jobs, and its handlers of failed blocks."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from parslab.parsl.api.errors import TooManyJobFailuresError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "FINAL_FAILURE_STATES",
    "FINAL_STATES",
    "TERMINAL_STATES",
    "JobState",
    "ParslJobStatus",
    "States",
    "noop_error_handler",
    "simple_error_handler",
    "windowed_error_handler",
]


class States(IntEnum):
    """Parsl's states of a task; ``future.task_status()`` gives their names.

    parslab also has ``ready`` and ``cancelled`` (:class:`parslab.records.states.TaskState`).
    """

    pending = 0
    running = 2
    exec_done = 3
    failed = 4
    dep_fail = 5
    launched = 7
    fail_retryable = 8
    memo_done = 9
    joining = 10
    running_ended = 11


FINAL_FAILURE_STATES = [States.failed, States.dep_fail]
FINAL_STATES = [States.exec_done, States.memo_done, *FINAL_FAILURE_STATES]


class JobState(IntEnum):
    """The states that a provider of a user reports for its jobs."""

    UNKNOWN = 0
    PENDING = 1
    RUNNING = 2
    CANCELLED = 3
    COMPLETED = 4
    FAILED = 5
    TIMEOUT = 6
    HELD = 7
    MISSING = 8
    SCALED_IN = 9


TERMINAL_STATES = [
    JobState.CANCELLED,
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.TIMEOUT,
    JobState.MISSING,
    JobState.SCALED_IN,
]

_SUMMARY = 2048
"""The largest number of characters in a summary of a job's output."""


class ParslJobStatus:
    """The status of a job, as providers of users report it (Parsl: ``JobStatus``).

    Parameters
    ----------
    state
        The state.
    message
        A sentence for people.
    exit_code
        The exit status of the job.
    stdout_path, stderr_path
        The files with the output of the job.
    """

    def __init__(
        self,
        state: JobState,
        message: str | None = None,
        exit_code: int | None = None,
        stdout_path: str | None = None,
        stderr_path: str | None = None,
    ) -> None:
        self.state = state
        self.message = message
        self.exit_code = exit_code
        self.stdout_path = stdout_path
        self.stderr_path = stderr_path

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self.state in TERMINAL_STATES

    @property
    def status_name(self) -> str:
        """The name of the state."""
        return self.state.name

    @property
    def stdout(self) -> str | None:
        """The output of the job; None without a readable file."""
        return _content(self.stdout_path)

    @property
    def stderr(self) -> str | None:
        """The error output of the job; None without a readable file."""
        return _content(self.stderr_path)

    @property
    def stdout_summary(self) -> str | None:
        """The beginning and the end of the output."""
        return _summary(self.stdout)

    @property
    def stderr_summary(self) -> str | None:
        """The beginning and the end of the error output."""
        return _summary(self.stderr)

    def __repr__(self) -> str:
        return f"JobStatus({self.state.name}{f', {self.message!r}' if self.message else ''})"


def _content(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _summary(text: str | None) -> str | None:
    if text is None or len(text) <= _SUMMARY:
        return text
    half = _SUMMARY // 2
    return f"{text[:half]}\n...\n{text[-half:]}"


def simple_error_handler(executor: Any, status: Mapping[str, ParslJobStatus], threshold: int = 3) -> None:
    """Fail the executor when all of its blocks have failed, and at least ``init_blocks`` of them.

    parslab's own executors follow a rule of their own.

    Parameters
    ----------
    executor
        A ``BlockProviderExecutor``.
    status
        The statuses of its blocks.
    threshold
        The least number of failed blocks if the provider has no ``init_blocks``.
    """
    least = max(1, getattr(executor.provider, "init_blocks", threshold))
    if len(status) >= least and all(_failed(each) for each in status.values()):
        executor.set_bad_state_and_fail_all(_failure(status))


def windowed_error_handler(executor: Any, status: Mapping[str, ParslJobStatus], threshold: int = 3) -> None:
    """Fail the executor when its last ``threshold`` blocks have failed; see :func:`simple_error_handler`."""
    newest = [status[block] for block in sorted(status, key=int)[-threshold:]]
    if len(newest) == threshold and all(map(_failed, newest)):
        executor.set_bad_state_and_fail_all(_failure(status))


def noop_error_handler(executor: Any, status: Mapping[str, ParslJobStatus], threshold: int = 3) -> None:
    """Do nothing: tasks wait for as long as it takes."""


def _failed(status: ParslJobStatus) -> bool:
    return status.state in (JobState.FAILED, JobState.MISSING)


def _failure(status: Mapping[str, ParslJobStatus]) -> TooManyJobFailuresError:
    lines = []
    for block, each in status.items():
        told = [each.message, None if each.exit_code is None else f"exit status {each.exit_code}"]
        told += [each.stdout_summary, each.stderr_summary]
        lines.append(f"block {block}: {'; '.join(filter(None, told)) or each.status_name}")
    return TooManyJobFailuresError("\n".join(lines))
