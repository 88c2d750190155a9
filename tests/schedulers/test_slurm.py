"""SlurmProvider on a real Slurm of four virtual nodes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.launchers import SrunLauncher, SrunMPILauncher
from parslab.providers.base import exit_file
from parslab.providers.batch.runner import BatchRunner, KnownJobs
from parslab.providers.batch.slurm import SlurmProvider
from parslab.records.states import BlockState
from parslab.testing.conformance.executors import eventually
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Provider
    from tests.schedulers.conftest import Scheduler


SMALL: dict[str, Any] = {"exclusive": False, "cores_per_node": 1, "poll_interval": 1, "walltime": 300}
"""Blocks that leave room for others on their nodes."""


def small(**options: Any) -> SlurmProvider:
    return SlurmProvider(**{**SMALL, **options})


class Forgetful(SlurmProvider):
    """Of a Slurm that forgets jobs as soon as they end, as others do after some minutes."""

    def status_command(self, jobs: list[str]) -> list[str]:
        command = super().status_command(jobs)
        return ["--states=PENDING,RUNNING" if word == "--states=all" else word for word in command]


def queue(number: str) -> str:
    """What squeue says of a job that waits or runs."""
    done = subprocess.run(["squeue", "-h", "-o", "%T", "-j", number], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def short_block(slurm_up: Scheduler, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BatchRunner, str]]:
    """A block that Slurm kills at its walltime, a minute after it began; other tests run meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm_up.variables.items():
            patch.setenv(name, value)
        runner = small(walltime=60).runner(tmp_path_factory.mktemp("short"))
        number = runner.submit(a_job(tmp_path_factory.mktemp("short"), command="sleep 600"))
        yield runner, number
        runner.cancel([number])


@pytest.mark.usefixtures("slurm", "short_block")
class TestSlurm(ProviderSuite):
    def provider(self, **options: Any) -> SlurmProvider:
        return small(**options)

    def refused(self) -> tuple[Provider, str]:
        return small(partition="no-such-partition"), "Slurm refused the job.*invalid partition"

    def test_a_whole_node(self, folder: Path) -> None:
        """Exclusive blocks get all of a node."""
        with self.running(folder, exclusive=True, cores_per_node=None) as runner:
            job = a_job(folder, command="nproc; echo $SLURM_CPUS_ON_NODE")
            assert self.until(runner, runner.submit(job)).state is BlockState.finished
        assert Path(job.stdout).read_text().split()[1] == "4"

    @pytest.mark.parametrize("launcher", [SrunLauncher(debug=True), SrunMPILauncher(debug=True)])
    def test_a_manager_on_each_node(self, folder: Path, launcher: SrunLauncher) -> None:
        """And the status of the block is that of the one that failed."""
        options = {"nodes_per_block": 3, "launcher": launcher, "worker_init": "export GREETING='it is'"}
        with self.running(folder, **options) as runner:
            good = a_job(folder, "good", 'echo "$GREETING $(hostname)"')
            bad = a_job(folder, "bad", "test $SLURM_NODEID = 0 && exit 7; exit 0")
            first, second = runner.submit(good), runner.submit(bad)
            status = self.until(runner, first)
            assert status.state is BlockState.finished, (status, Path(good.stderr).read_text())
            if isinstance(launcher, SrunLauncher):
                assert "exit status 7" in self.until(runner, second).reason
        words = Path(good.stdout).read_text()
        assert len({line.rpartition(" ")[2] for line in words.splitlines() if "it is n" in line}) == 3, words
        assert "parslab: starting" in Path(good.stderr).read_text()

    def test_one_manager_that_leaves_does_not_end_the_others(self, folder: Path) -> None:
        """Slurm's WaitTime kills the rest of an MPI program after some seconds, five here."""
        with self.running(folder, nodes_per_block=2, launcher=SrunLauncher()) as runner:
            job = a_job(folder, command="test $SLURM_NODEID = 0 || (sleep 8; echo alive)")
            assert self.until(runner, runner.submit(job)).state is BlockState.finished
        assert "alive" in Path(job.stdout).read_text()

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"walltime": "02:00:00"}, "(PartitionTimeLimit|PartitionConfig).*walltime"),
            (
                {"nodes_per_block": 9, "launcher": SrunLauncher()},
                "(PartitionNodeLimit|PartitionConfig).*nodes_per_block",
            ),
        ],
    )
    def test_what_would_wait_for_ever_has_failed(self, folder: Path, options: dict[str, Any], reason: str) -> None:
        """With Slurm's reason and what to do, and nothing is left in the queue."""
        with self.running(folder, **options) as runner:
            number = runner.submit(a_job(folder, command="true"))
            status = self.until(runner, number)
            assert status.state is BlockState.failed
            assert "never start it" in status.reason
            assert re.search(reason, status.reason), status
            eventually(lambda: not queue(number))

    def test_cancelled_behind_our_back(self, folder: Path) -> None:
        with self.running(folder) as runner:
            number = runner.submit(a_job(folder, command="sleep 300"))
            self.until(runner, number, BlockState.running)
            subprocess.run(["scancel", number], check=True)
            status = self.until(runner, number)
        assert status.state is BlockState.scaled_in
        assert "CANCELLED" in status.reason

    def test_a_forgotten_job_is_in_the_accounting(self, folder: Path) -> None:
        """However it ended, and what it left behind counts for nothing then."""
        if subprocess.run(["sacct"], capture_output=True, check=False).returncode:
            pytest.skip(
                "this Slurm, which ran before the tests, keeps no accounting: take it down, or set SLURM_ACCT=1"
            )
        runner = BatchRunner(Forgetful(**SMALL), known=KnownJobs())
        jobs = [a_job(folder, name, command) for name, command in (("bad", "exit 3"), ("cut", "sleep 300"))]
        bad, cut = numbers = [runner.submit(job) for job in jobs]
        try:
            self.until(runner, cut, BlockState.running)
            subprocess.run(["scancel", cut], check=True)
            eventually(lambda: os.path.exists(exit_file(jobs[0].script)) and not any(map(queue, numbers)))
            os.unlink(exit_file(jobs[0].script))
            status = self.until(runner, bad)
            assert (status.state, status.reason) == (BlockState.failed, "FAILED, exit status 3"), status
            status = self.until(runner, cut)
            assert (status.state, "CANCELLED by 0" in status.reason) == (BlockState.scaled_in, True), status
        finally:
            runner.cancel(numbers)

    def test_a_forgotten_job_without_accounting(self, folder: Path) -> None:
        """It is judged by the exit status that it left."""

        class Unaccounted(Forgetful):
            def accounting_commands(self, jobs: list[str]) -> list[list[str]]:
                return []

        runner = BatchRunner(Unaccounted(**SMALL), known=KnownJobs())
        job = a_job(folder, command="exit 3")
        number = runner.submit(job)
        eventually(lambda: os.path.exists(exit_file(job.script)) and not queue(number))
        status = self.until(runner, number)
        assert (status.state, status.reason) == (BlockState.failed, "exit status 3")

    def test_the_notebooks_own_job_does_not_leak(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run inside a job asks for blocks as anybody else does."""
        for name, value in {"SLURM_JOB_ID": "1", "SLURM_NNODES": "4", "SLURM_NTASKS": "9", "PBS_JOBID": "2"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OF_THE_USER", "kept")
        with self.running(folder) as runner:
            job = a_job(folder, command="echo $SLURM_JOB_ID $SLURM_NNODES $SLURM_NTASKS.$PBS_JOBID. $OF_THE_USER")
            number = runner.submit(job)
            assert self.until(runner, number).state is BlockState.finished
        assert Path(job.stdout).read_text() == f"{number} 1 1.. kept\n"

    def test_a_submission_that_hangs_leaves_no_job_behind(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The job was accepted, only the answer did not come: it is found by its name."""
        real = shutil.which("sbatch")
        (bin_folder := tmp_path / "bin").mkdir()
        (bin_folder / "sbatch").write_text(f'#!/bin/bash\n{real} "$@" > /dev/null\nsleep 60\n')
        (bin_folder / "sbatch").chmod(0o755)
        monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
        with self.running(folder, cmd_timeout=2) as runner:
            number = runner.submit(a_job(folder, f"hangs-{os.getpid()}", "sleep 300"))
            self.until(runner, number, BlockState.running)

    def test_many_blocks_are_one_question(self, folder: Path) -> None:
        """And each of them ends as it ended."""
        with self.running(folder) as runner:
            numbers = [runner.submit(a_job(folder, str(n), f"exit {n % 2}")) for n in range(8)]
            states = [self.until(runner, number).state for number in numbers]
        assert states == [BlockState.finished, BlockState.failed] * 4

    @pytest.mark.slow
    def test_walltime(self, short_block: tuple[BatchRunner, str]) -> None:
        """Slurm kills it after a minute and some seconds; that is a good end."""
        runner, number = short_block
        status = eventually(lambda: (s := runner.status([number])[number]).state is not BlockState.running and s, 120)
        assert status.state is BlockState.finished
        assert "walltime" in status.reason
