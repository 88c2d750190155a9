"""The test suite that every provider must pass, on real jobs.

A member of the family makes a subclass in a test file of its own; pytest finds the rest::

    class TestMine(ProviderSuite):
        def provider(self, **options):
            return MyProvider(**options)

This module needs pytest.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest

from parslab.providers.base import FindsJobs, Job, JobStatus, SubmitError
from parslab.records.states import ENDED, BlockState
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab.providers.base import Provider, Runner

__all__ = ["ProviderSuite"]

T = TypeVar("T")


class ProviderSuite:
    """The suite of a runner on real jobs.

    Attributes
    ----------
    limit : float
        Seconds in which a job must start, and in which its end must be visible.
    one_output : bool
        Whether its jobs have one output for stdout and stderr, as the console of an instance.
    """

    limit: ClassVar[float] = 30.0
    one_output: ClassVar[bool] = False

    def provider(self, **options: Any) -> Provider:
        """Return the provider to test."""
        raise NotImplementedError

    def refused(self) -> tuple[Provider, str] | None:
        """Return a provider whose jobs are refused, and the words of the refusal; None if no job can be refused."""
        return None

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return the folder for files of jobs; it must exist on the nodes too."""
        return tmp_path

    @contextlib.contextmanager
    def running(self, folder: Path, **options: Any) -> Iterator[Runner]:
        """Yield a runner; all jobs that it has submitted are cancelled at the end."""
        runner = self.provider(**options).runner(folder)
        numbers: list[str] = []
        submit, status, cancel = runner.submit, runner.status, runner.cancel

        # A test that fails between submission and end must leave no job behind, so each submission is noted here.
        def noted(job: Job) -> str:
            numbers.append(self.patiently(lambda: submit(job)))
            return numbers[-1]

        runner.submit = noted  # type: ignore[method-assign]
        runner.status = lambda jobs: self.patiently(lambda: status(jobs))  # type: ignore[method-assign]
        runner.cancel = lambda jobs: self.patiently(lambda: cancel(jobs))  # type: ignore[method-assign]
        try:
            yield runner
        finally:
            runner.cancel(numbers)
            runner.close()

    def patiently(self, ask: Callable[[], T]) -> T:
        """Ask a scheduler again while it does not answer, as a run does: a daemon of a real one may restart."""
        deadline = time.monotonic() + self.limit
        while True:
            try:
                return ask()
            except (SubmitError, OSError) as error:
                passes = error.transient if isinstance(error, SubmitError) else True
                if not passes or time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def until(self, runner: Runner, number: str, *states: BlockState) -> JobStatus:
        """Wait until a job is in one of these states, or without states until it has ended."""
        deadline = time.monotonic() + self.limit
        while True:
            status = runner.status([number]).get(number)
            if status is not None and status.state in (states or ENDED):
                return status
            assert time.monotonic() < deadline, f"job {number} is still {status}"
            time.sleep(0.1)

    def test_a_block_runs_to_its_end(self, folder: Path) -> None:
        """The user's lines run first, and the output is in the files that the job names."""
        with self.running(folder, worker_init="export A=from-init") as runner:
            job = a_job(folder, command="env B=${A}-on bash -c 'echo $B; echo noted >&2'")
            status = self.until(runner, runner.submit(job))
        assert status.state is BlockState.finished, status
        if self.one_output:
            assert Path(job.stdout).read_text() == "from-init-on\nnoted\n"
        else:
            assert Path(job.stdout).read_text() == "from-init-on\n"
            assert Path(job.stderr).read_text() == "noted\n"

    def test_a_block_that_fails(self, folder: Path) -> None:
        """The status of a block that fails says how it failed."""
        with self.running(folder) as runner:
            job = a_job(folder, command="no-such-program-here")
            status = self.until(runner, runner.submit(job))
        assert status.state is BlockState.failed
        assert "exit status 127" in status.reason
        errors = Path(job.stdout if self.one_output else job.stderr).read_text()
        assert "no-such-program-here: command not found" in errors

    def test_blocks_that_are_cancelled(self, folder: Path) -> None:
        """Jobs can be cancelled in any state and more than once; the other jobs continue."""
        with self.running(folder) as runner:
            first, second = (runner.submit(a_job(folder, name, "sleep 300")) for name in "12")
            assert first != second
            assert self.until(runner, first, BlockState.running).hosts
            self.until(runner, second, BlockState.running)
            runner.cancel([first])
            assert self.until(runner, first).state is BlockState.scaled_in
            assert runner.status([second])[second].state is BlockState.running
            runner.cancel([first, second])
            assert self.until(runner, second).state is BlockState.scaled_in

    def test_jobs_of_a_process_that_was_killed(self, folder: Path) -> None:
        """Another runner finds, watches and ends such jobs; jobs that it has not adopted continue."""
        with self.running(folder) as first:
            jobs = [a_job(folder, name, "sleep 300") for name in "12"]
            numbers = [first.submit(job) for job in jobs]
            for number in numbers:
                self.until(first, number, BlockState.running)
            second = self.provider().runner(folder)
            assert isinstance(second, FindsJobs)
            assert [second.find(job.name) for job in jobs] == numbers
            assert second.find("parslab.run.label.none") is None
            second.adopt(numbers[0], jobs[0])
            assert second.status([numbers[0]])[numbers[0]].state is BlockState.running
            second.cancel([numbers[0]])
            assert self.until(second, numbers[0]).state is BlockState.scaled_in
            assert first.status([numbers[1]])[numbers[1]].state is BlockState.running
            third = self.provider().runner(folder)
            third.cancel([numbers[1]])  # this runner has never adopted it
            third.close()
            self.until(first, numbers[1])
            second.close()

    def test_unknown_jobs_have_no_status(self, folder: Path) -> None:
        """A runner reports no status of a job that does not exist."""
        with self.running(folder) as runner:
            assert runner.status([]) == {}
            assert all(status.state is BlockState.missing for status in runner.status(["7654321"]).values())

    def test_a_job_that_is_refused(self, folder: Path) -> None:
        """A refused job raises at once, with the words of the scheduler."""
        found = self.refused()
        if found is None:
            pytest.skip("it has nothing to refuse")
        provider, says = found
        runner = provider.runner(folder)
        with pytest.raises(SubmitError, match=says):
            runner.submit(a_job(folder))
        runner.close()
