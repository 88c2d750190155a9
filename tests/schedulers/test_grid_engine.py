"""GridEngineProvider on a real Grid Engine of one host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.launchers import MpiExecLauncher
from parslab.providers import SubmitError
from parslab.providers.base import Job, exit_file
from parslab.providers.batch.grid_engine import GridEngineProvider
from parslab.providers.batch.runner import BatchRunner, KnownJobs
from parslab.records.states import BlockState
from parslab.testing.conformance.executors import eventually
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite

if TYPE_CHECKING:
    from parslab.providers.base import Provider

NO_MPI = """\
while [ "$1" != --hostfile ]; do shift; done
cat "$2" > hosts; shift 2; "$@"
"""


@pytest.mark.usefixtures("sge")
class TestGridEngine(ProviderSuite):
    def provider(self, **options: Any) -> GridEngineProvider:
        return GridEngineProvider(**{"poll_interval": 1, "walltime": 300, **options})

    def refused(self) -> tuple[Provider, str]:
        return self.provider(queue="no-such.q"), "Grid Engine refused the job.*no-such.q"

    def test_what_would_wait_for_ever_is_refused(self, folder: Path) -> None:
        """No queue of this host has 99 slots."""
        runner = self.provider(scheduler_options="-pe smp 99").runner(folder)
        with pytest.raises(SubmitError, match="no suitable queues"):
            runner.submit(a_job(folder))

    def test_walltime(self, folder: Path) -> None:
        """Grid Engine kills the block; that is a good end."""
        with self.running(folder, walltime=3) as runner:
            status = self.until(runner, runner.submit(a_job(folder, command="sleep 300")))
        assert status.state is BlockState.finished
        assert "walltime" in status.reason

    def test_a_job_that_cannot_start(self, folder: Path) -> None:
        """Grid Engine keeps it in an error state, and says why; it is deleted."""
        job = a_job(folder, command="true")
        with self.running(folder) as runner:
            number = runner.submit(Job(job.name, job.command, job.script, "/no/such/folder/out", job.stderr))
            status = self.until(runner, number)
            assert status.state is BlockState.failed
            assert "/no/such" in status.reason, status
            listed = ["qstat", "-j", number]
            eventually(lambda: subprocess.run(listed, capture_output=True, check=False).returncode != 0)

    def test_deleted_behind_our_back(self, folder: Path) -> None:
        """By somebody's qdel."""
        with self.running(folder) as runner:
            number = runner.submit(a_job(folder, command="sleep 300"))
            self.until(runner, number, BlockState.running)
            subprocess.run(["qdel", number], check=True, capture_output=True)
            status = self.until(runner, number)
        assert status.state in (BlockState.scaled_in, BlockState.failed, BlockState.missing)
        assert status.reason

    def test_a_forgotten_job(self, folder: Path) -> None:
        """qstat names it no longer; qacct knows how it ended."""
        provider = self.provider()
        runner = BatchRunner(provider, known=KnownJobs())
        job = a_job(folder, command="exit 3")
        number = runner.submit(job)
        eventually(lambda: os.path.exists(exit_file(job.script)))
        os.unlink(exit_file(job.script))
        status = self.until(runner, number)
        assert (status.state, "exit status 3" in status.reason) == (BlockState.failed, True), status

    def test_a_parallel_environment(self, folder: Path) -> None:
        """The launcher gets the hosts of the job, whichever scheduler has written their list."""
        (bin_folder := folder / "bin").mkdir()
        (bin_folder / "mpiexec").write_text(f"#!/bin/bash\n{NO_MPI}")
        (bin_folder / "mpiexec").chmod(0o755)
        options = {"worker_init": f"cd {folder}; PATH={bin_folder}:$PATH", "launcher": MpiExecLauncher()}
        with self.running(folder, nodes_per_block=2, scheduler_options="-pe smp 2", **options) as runner:
            job = a_job(folder, command="echo $NSLOTS slots")
            assert self.until(runner, runner.submit(job)).state is BlockState.finished
        assert Path(job.stdout).read_text() == "2 slots\n"
        assert len((folder / "hosts").read_text().split()) == 1
