"""Real batch schedulers on this host: a virtual Slurm, a Grid Engine and an HTCondor, started once for all tests here.

The scripts that start them are no part of this project.  They are looked for in ``PARSLAB_TESTBED``, else in
``../shared/testbed`` beside the checkout; where they are not, or we are not root on Linux, these tests are skipped and
say so.  A scheduler that ran before is used as it is and left running.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTBED = Path(os.environ.get("PARSLAB_TESTBED") or Path(__file__).parents[3] / "shared" / "testbed")
START = 400
"""Seconds that packages and a start may take; the first test of each scheduler waits for them."""


CONDOR = {"_CONDOR_USE_PROCD": "True"}
"""A setting of HTCondor.  Without its condor_procd, version 23.9.6 dereferences null in ``KillFamily::takesnapshot``:
one of its daemons dies of SIGSEGV now and then when a job is cancelled."""


@dataclass(frozen=True)
class Scheduler:
    """One that is up."""

    name: str
    variables: dict[str, str]
    """What its commands need in their environment."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the time that the start of its scheduler may take."""
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(START + 80))


@contextlib.contextmanager
def brought_up(name: str) -> Iterator[Scheduler]:
    """A scheduler, for as long as it is needed."""
    script = TESTBED / f"{name}-up.sh"
    if not script.exists():
        pytest.skip(f"no {script}: name the folder of the testbed in PARSLAB_TESTBED")
    if sys.platform != "linux" or os.geteuid():
        pytest.skip(f"{name} is started by root on Linux only")
    with tempfile.TemporaryFile("w+") as errors:
        # Its daemons keep stderr open, so that it cannot be a pipe.
        # Each node of Slurm has a network of its own, which tests cut, where this host lets us make one.
        done = started(script, errors, "1")
        if done.returncode and name == "slurm":
            done = started(script, errors, "0")
        errors.seek(0)
        output = errors.read()
    if done.returncode:
        # Not every container can: Slurm needs a cgroup mount, all need their packages.
        pytest.skip(f"{name} cannot be started here; {script} ended with {done.returncode}: {output[-600:].strip()}")
    try:
        yield Scheduler(name, variables_of(done.stdout.strip().splitlines()[-1]))
    finally:
        if "already up" not in output:
            subprocess.run(
                ["bash", TESTBED / f"{name}-down.sh"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=60,
                check=True,
            )


def started(script: Path, errors: IO[str], networks: str) -> subprocess.CompletedProcess[str]:
    """Run the script that starts a scheduler."""
    return subprocess.run(
        ["bash", script],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        timeout=START,
        start_new_session=True,
        env={**os.environ, "SLURM_NETNS": networks, **CONDOR},
        check=False,
    )


def variables_of(path: str) -> dict[str, str]:
    """The variables that a shell file sets or changes."""
    text = subprocess.run(
        ["bash", "-c", '. "$0" && env -0', path], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    found = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
    return {
        name: value for name, value in found.items() if os.environ.get(name) != value and name not in ("_", "SHLVL")
    }


@pytest.fixture(scope="package")
def slurm_up() -> Iterator[Scheduler]:
    # With accounting, so that jobs are known which squeue has forgotten.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_ACCT", os.environ.get("SLURM_ACCT", "1"))
        with brought_up("slurm") as scheduler:
            yield scheduler


@pytest.fixture(scope="package")
def sge_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    with brought_up("sge") as scheduler:
        # Its jobs run in login shells.  What root's own profile does (pyenv takes a lock, and a job that is killed
        # leaves it behind for the next) is none of these tests' matter, so the queue starts them otherwise.
        starter = tmp_path_factory.mktemp("sge") / "starter"
        starter.write_text('#!/bin/bash\nexec /bin/bash "$@"\n')
        starter.chmod(0o755)
        queue_starts_by(str(starter), scheduler)
        yield scheduler
        queue_starts_by("NONE", scheduler)


def queue_starts_by(program: str, scheduler: Scheduler) -> None:
    """Let all.q start its jobs by a program; NONE: as Grid Engine does."""
    command = ["qconf", "-mattr", "queue", "starter_method", program, "all.q"]
    subprocess.run(command, env={**os.environ, **scheduler.variables}, capture_output=True, check=True)


@pytest.fixture(scope="package")
def condor_up() -> Iterator[Scheduler]:
    with brought_up("condor") as scheduler:
        yield scheduler


def entered(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """Let commands of this process talk to a scheduler."""
    for name, value in scheduler.variables.items():
        monkeypatch.setenv(name, value)
    return scheduler


@pytest.fixture
def slurm(slurm_up: Scheduler, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """Slurm with nodes n1 to n4 of 4 cores each, for this test."""
    return entered(slurm_up, monkeypatch)


@pytest.fixture
def sge(sge_up: Scheduler, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """Grid Engine with 4 slots on this host, for this test."""
    return entered(sge_up, monkeypatch)


@pytest.fixture
def condor(condor_up: Scheduler, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """HTCondor with one slot of 4 cores that is divided as jobs need it, for this test."""
    return entered(condor_up, monkeypatch)


def mpi_lines(kind: str) -> str:
    """Return shell text that makes an MPI the one of a block: ``mpich`` or ``openmpi``, which the testbed installs."""
    script = TESTBED / "mpi-env.sh"
    if not script.exists():
        pytest.skip(f"no {script}: name the folder of the testbed in PARSLAB_TESTBED")
    done = subprocess.run(
        ["bash", script],
        capture_output=True,
        text=True,
        timeout=START,
        env={**os.environ, "MPI_IMPL": kind},
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{kind} cannot be had here: {done.stderr[-300:].strip()}")
    # The testbed lets Open MPI start more ranks than cores; parslab must never need that.
    return f". {done.stdout.strip().splitlines()[-1]}; unset PRTE_MCA_rmaps_default_mapping_policy"
