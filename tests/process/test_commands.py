"""Commands of schedulers as real processes: answers, limits, environments."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from parslab.providers.commands import CommandHung, CommandResult, run
from parslab.remote.pool.processes import collect_orphans

if TYPE_CHECKING:
    from pathlib import Path


def test_an_answer_is_all_that_a_command_said(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text("asked")
    answer = run(["bash", "-c", "cat; echo no >&2; exit 3"], 10, str(source))
    assert answer == CommandResult(3, "asked", "no\n")
    assert run(["cat"], 10) == CommandResult(0)


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    begun = time.monotonic()
    with pytest.raises(CommandHung, match=r"bash did not answer within 0\.5 s"):
        run(["bash", "-c", f"sleep 60 & echo $! > {pid}; wait"], 0.5)
    assert time.monotonic() - begun < 5
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(pid.read_text())).wait(5)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are adopted on Linux only")
def test_the_status_of_a_command_is_not_lost_to_who_buries_orphans() -> None:
    """As the DataFlowKernel's loop does, while another thread waits for the command."""
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.extend(run(["false"], 10).status for _ in range(50)))
    thread.start()
    while thread.is_alive():
        collect_orphans(set())
    thread.join()
    assert answers == [1] * 50


def test_a_command_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="command not found: no-such-sbatch"):
        run(["no-such-sbatch", "x"], 10)
    tmp_path.joinpath("plain").write_text("")
    with pytest.raises(PermissionError, match="plain may not be executed"):
        run([str(tmp_path / "plain")], 10)


def test_the_notebooks_own_job_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_CONF", "/etc/one")
    assert run(["bash", "-c", "echo ${SLURM_JOB_ID-none} $SLURM_CONF"], 10).stdout == "none /etc/one\n"
