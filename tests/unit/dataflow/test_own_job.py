"""The batch job that the DataFlowKernel runs in: which it is, and when it ends."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from parslab.clock import wall_clock_offset
from parslab.dataflow.own_job import OwnJob, _ask, end_of, look_for_own_job, own_job
from parslab.providers import commands
from parslab.providers.commands import CommandHung, CommandResult
from parslab.records.events import OwnJobFound
from tests.unit.dataflow.fake_host import FakeHost

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = time.mktime((2026, 11, 30, 12, 0, 0, 0, 0, -1))
PBS_PRO = """Job Id: 1234.server
    Job_Name = lab
    job_state = R
    Resource_List.ncpus = 4
    Resource_List.walltime = 02:30:00
    stime = Mon Nov 30 11:00:00 2026
"""
TORQUE = """Job Id: 77.server
    Resource_List.walltime = 01:00:00
    Walltime.Remaining = 1800
"""


@pytest.mark.parametrize(
    ("environment", "scheduler", "number", "ends"),
    [
        ({"SLURM_JOB_ID": "12", "SLURM_JOB_END_TIME": "1700000000"}, "Slurm", "12", 1.7e9),
        ({"SLURM_JOB_ID": "12"}, "Slurm", "12", None),
        ({"SLURM_JOB_ID": "12", "SLURM_JOB_END_TIME": "soon"}, "Slurm", "12", None),
        ({"SLURM_JOB_ID": "12", "SLURM_JOB_END_TIME": "0"}, "Slurm", "12", None),
        ({"SLURM_JOB_ID": "12", "SLURM_JOB_END_TIME": "inf"}, "Slurm", "12", None),
        ({"SLURM_JOB_ID": "12", "SLURM_JOB_END_TIME": "nan"}, "Slurm", "12", None),
        ({"SLURM_JOB_ID": "12", "PBS_JOBID": "7"}, "Slurm", "12", None),
        ({"PBS_JOBID": "1234.server"}, "PBS", "1234.server", None),
        ({"LSB_JOBID": "5"}, "LSF", "5", None),
    ],
)
def test_the_environment_names_the_job(
    environment: dict[str, str], scheduler: str, number: str, ends: float | None
) -> None:
    job = own_job(environment)
    assert job is not None
    assert (job.scheduler, job.number, job.ends) == (scheduler, number, ends)
    assert number in job.command


@pytest.mark.parametrize("environment", [{}, {"PATH": "/bin"}, {"SLURM_JOB_ID": ""}, {"SLURM_JOB_END_TIME": "1"}])
def test_outside_of_jobs_nothing_is_asked(environment: dict[str, str]) -> None:
    assert own_job(environment) is None
    host = FakeHost()
    look_for_own_job(host, environment)
    assert (host.events, host.posted) == ([], [])


@pytest.mark.parametrize(
    ("scheduler", "answer", "seconds"),
    [
        ("Slurm", "2026-11-30T13:30:00\n", 5400.0),
        ("Slurm", "N/A\n", None),
        ("Slurm", "", None),
        ("Slurm", "2026-11-30T13:30:00\n2026-11-30T14:30:00\n", None),  # an array, of which each job has its own end
        ("Slurm", "slurm_load_jobs error: Invalid job id specified", None),
        ("PBS", PBS_PRO, 5400.0),
        ("PBS", TORQUE, 1800.0),
        ("PBS", "qstat: Unknown Job Id", None),
        ("PBS", "", None),
        ("PBS", "    Resource_List.walltime = 02:30:00\n", None),  # it has not begun
        ("PBS", PBS_PRO.replace("02:30:00", "150:00"), 5400.0),
        ("PBS", PBS_PRO.replace("02:30:00", "unlimited"), None),
        ("PBS", PBS_PRO.replace("Nov 30", "Foo 99"), None),
        ("PBS", PBS_PRO.replace("02:30:00", "9" * 400 + ":00:00"), None),
        ("PBS", TORQUE.replace("1800", "9" * 400), None),
        ("LSF", "1:30 L\n", 5400.0),
        ("LSF", "-\n", None),
        ("LSF", "9" * 400 + ":30 L\n", None),
    ],
)
def test_the_scheduler_says_when_it_ends(scheduler: str, answer: str, seconds: float | None) -> None:
    ends = end_of(scheduler, answer, NOW)
    assert ends == (None if seconds is None else NOW + seconds)


def test_what_the_environment_says_needs_no_question() -> None:
    host = FakeHost()
    look_for_own_job(host, {"SLURM_JOB_ID": "12", "SLURM_JOB_END_TIME": "1700000000"})
    (event,) = host.events
    assert isinstance(event, OwnJobFound)
    assert event.job == "Slurm job 12"
    assert event.ends == pytest.approx(1.7e9 - wall_clock_offset(), abs=1)


@pytest.mark.parametrize(
    "answer",
    [
        OSError("command not found: squeue"),
        CommandHung("squeue did not answer within 20 s"),
        CommandResult(1, "2026-11-30T13:30:00\n", "slurm_load_jobs error: Unable to contact slurm controller"),
        CommandResult(0, "N/A\n"),
        CommandResult(0, "\ufffd\x00"),
        CommandResult(0, ""),
    ],
)
def test_a_scheduler_without_a_good_answer_leaves_the_end_open(
    answer: OSError | CommandResult, caplog: pytest.LogCaptureFixture
) -> None:
    def run(command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
        if isinstance(answer, OSError):
            raise answer
        return answer

    host = FakeHost()
    with caplog.at_level("INFO"):
        _ask(host, OwnJob("Slurm", "12", None, ("squeue",)), run)
    (report,) = host.posted
    report()
    (event,) = host.events
    assert isinstance(event, OwnJobFound)
    assert (event.job, event.ends) == ("Slurm job 12", None)
    (line,) = caplog.messages
    assert line.startswith("Slurm job 12: its end is not known: ")


def test_the_scheduler_is_asked_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end counts by the clock of the run, which is not that of the host."""
    asked: list[tuple[Sequence[str], str]] = []

    def run(command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
        asked.append((command, threading.current_thread().name))
        return CommandResult(0, "2026-11-30T12:00:00\n")

    monkeypatch.setattr(commands, "run", run)
    host = FakeHost()
    look_for_own_job(host, {"SLURM_JOB_ID": "12"})
    for thread in threading.enumerate():
        if thread.name == "parslab-own-job":
            thread.join()
    assert asked == [(("squeue", "-h", "-j", "12", "-o", "%e"), "parslab-own-job")]
    (report,) = host.posted
    report()
    (event,) = host.events
    assert isinstance(event, OwnJobFound)
    assert event.ends == pytest.approx(NOW - wall_clock_offset(), abs=1)
