"""CondorProvider on a real HTCondor of one host.

HTCondor takes no jobs of root, so its commands run as another user here, who is given the files of the jobs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.providers.batch.condor import CondorProvider
from parslab.records.states import BlockState
from parslab.testing.conformance.executors import eventually
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Provider
    from tests.schedulers.conftest import Scheduler

SUBMIT = """\
#!/bin/bash
chown -R {user} "$(dirname "$1")"
exec {real} "$@"
"""


@pytest.mark.usefixtures("condor")
class TestCondor(ProviderSuite):
    limit = 60.0

    @pytest.fixture
    def folder(self, condor: Scheduler, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A folder that the other user can reach, and a condor_submit that gives it to them."""
        with tempfile.TemporaryDirectory(prefix="parslab-condor-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            folder.chmod(0o755)
            (folder / "bin").mkdir()
            submit = folder / "bin" / "condor_submit"
            user = condor.variables["TESTBED_CONDOR_USER"]
            submit.write_text(SUBMIT.format(user=user, real=shutil.which("condor_submit")))
            submit.chmod(0o755)
            monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
            (jobs := folder / "jobs").mkdir()
            yield jobs

    def provider(self, **options: Any) -> CondorProvider:
        return CondorProvider(**{"poll_interval": 1, "walltime": 300, **options})

    def refused(self) -> tuple[Provider, str]:
        return self.provider(scheduler_options="universe = nowhere"), "HTCondor refused the job.*nowhere"

    def test_walltime(self, folder: Path) -> None:
        """HTCondor holds the block, and it is removed; that is a good end."""
        with self.running(folder, walltime=2) as runner:
            number = runner.submit(a_job(folder, command="sleep 300"))
            status = self.until(runner, number)
            assert status.state is BlockState.finished
            assert "walltime" in status.reason
            eventually(lambda: number not in self.listed())

    def test_a_block_that_is_held_has_failed(self, folder: Path) -> None:
        """With HTCondor's reason, and it is removed."""
        hold = 'periodic_hold = JobStatus == 2\nperiodic_hold_reason = "it is Monday"'
        with self.running(folder, scheduler_options=hold) as runner:
            number = runner.submit(a_job(folder, command="sleep 300"))
            status = self.until(runner, number)
            assert status.state is BlockState.failed
            assert status.reason == "HTCondor holds it: it is Monday"
            eventually(lambda: number not in self.listed())

    def test_what_waits_can_be_cancelled(self, folder: Path) -> None:
        """No slot has 99 cores."""
        with self.running(folder, cores_per_slot=99) as runner:
            number = runner.submit(a_job(folder, command="true"))
            assert runner.status([number])[number].state is BlockState.queued
            runner.cancel([number])
            assert self.until(runner, number).state is BlockState.scaled_in

    def test_removed_behind_our_back(self, folder: Path) -> None:
        with self.running(folder) as runner:
            number = runner.submit(a_job(folder, command="sleep 300"))
            self.until(runner, number, BlockState.running)
            subprocess.run(["condor_rm", number], check=True, capture_output=True)
            status = self.until(runner, number)
        assert status.state is BlockState.scaled_in
        assert "condor_rm" in status.reason

    def test_slots(self, folder: Path) -> None:
        """A block of two slots runs twice, and has failed when one of them has."""
        with self.running(folder, nodes_per_block=2, environment={"A": 'it\'s "so"'}) as runner:
            job = a_job(folder, command='echo "$A"')
            assert self.until(runner, runner.submit(job)).state is BlockState.finished
            assert Path(job.stdout).read_text() == Path(f"{job.stdout}.1").read_text() == 'it\'s "so"\n'
            bad = a_job(folder, "bad", f"mkdir {folder}/one || exit 4")
            status = self.until(runner, runner.submit(bad))
            assert (status.state, status.reason) == (BlockState.failed, "exit status 4")

    @staticmethod
    def listed() -> list[str]:
        done = subprocess.run(["condor_q", "-af", "ClusterId"], capture_output=True, text=True, check=True)
        return done.stdout.split()
