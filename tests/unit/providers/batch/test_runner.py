"""The runner of batch providers where it decides between the scheduler, the accounting, and what a job has left."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from parslab.providers import CondorProvider, GridEngineProvider, PBSProProvider, SlurmProvider
from parslab.providers.base import SubmitError, exit_file
from parslab.providers.batch.runner import PATIENCE, BatchRunner, KnownJobs
from parslab.providers.commands import CommandHung, CommandResult
from parslab.records.states import BlockState
from parslab.testing.conformance.batch_schedulers import FakeCommands
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from parslab.providers.batch.base import BatchProvider

SUBMITTED = CommandResult(0, "Submitted batch job 7\n")


class Bench:
    """A runner of Slurm with commands that are played, and a clock that is set."""

    def __init__(self, **answers: CommandResult | OSError | list[CommandResult | OSError]) -> None:
        self.now = 0.0
        self.commands = FakeCommands({name: a if isinstance(a, list) else [a] for name, a in answers.items()})
        self.runner = BatchRunner(SlurmProvider(), self.commands, lambda: self.now, KnownJobs())

    def status(self, job: str = "7") -> tuple[str, str]:
        found = self.runner.status([job]).get(job)
        return (found.state.value, found.reason) if found else ("", "")


def test_nothing_is_asked_when_there_is_nothing_to_ask() -> None:
    bench = Bench()
    assert bench.runner.status([]) == {}
    bench.runner.cancel([])
    assert bench.commands.calls == []


def test_a_command_that_hangs_may_have_submitted(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    bench = Bench(sbatch=CommandHung("sbatch did not answer"), squeue=CommandResult(0, f"7|{job.name}\n"))
    assert bench.runner.submit(job) == "7"
    bench = Bench(
        sbatch=CommandResult(1, "", "sbatch: error: Socket timed out on send/recv"),
        squeue=CommandResult(0, "9|other\n"),
    )
    with pytest.raises(SubmitError, match=r"Slurm refused the job .*Socket timed out"):
        bench.runner.submit(a_job(tmp_path))


@pytest.mark.parametrize(
    ("provider", "said", "advice"),
    [
        (
            SlurmProvider(),
            "sbatch: error: Batch job submission failed: Invalid account or account/partition",
            "sacctmgr",
        ),
        (SlurmProvider(), "sbatch: error: invalid partition specified: nosuch", "sinfo lists partitions"),
        (GridEngineProvider(), 'job requests unknown queue "x"', "qconf -sql lists queues"),
        (PBSProProvider(), "qsub: Unknown queue", "qstat -Q lists queues"),
    ],
)
def test_a_refusal_says_what_to_do(tmp_path: Path, provider: BatchProvider, said: str, advice: str) -> None:
    command = provider.submit_command("")[0]
    runner = BatchRunner(provider, FakeCommands({command: [CommandResult(1, "", said)]}), known=KnownJobs())
    with pytest.raises(SubmitError) as caught:
        runner.submit(a_job(tmp_path))
    assert f"({command}): {said} ({advice}" in str(caught.value)


def test_what_was_known_stays_while_a_job_is_not_listed() -> None:
    bench = Bench(
        squeue=[CommandResult(0, "7|RUNNING|None|n1\n"), CommandResult(0, "")], sacct=CommandResult(1, "", "disabled")
    )
    assert bench.status() == ("running", "")
    bench.now = 10
    assert bench.status() == ("running", "")
    bench.now = 10 + PATIENCE - 0.1
    assert bench.status() == ("running", "")
    bench.now = 10 + PATIENCE
    state, reason = bench.status()
    assert state == "missing"
    assert reason.startswith("Slurm does not know job 7 any more")


def test_patience_begins_anew_when_a_job_is_seen_again() -> None:
    listed, lost = CommandResult(0, "7|RUNNING|None|n1\n"), CommandResult(0, "")
    bench = Bench(squeue=[lost, listed, lost, lost], sacct=lost)
    assert bench.status() == ("", "")
    bench.now = PATIENCE - 1
    assert bench.status() == ("running", "")
    bench.now = PATIENCE + 1
    assert bench.status() == ("running", "")


def test_the_accounting_knows_better_than_the_exit_status(tmp_path: Path) -> None:
    bench = Bench(sbatch=SUBMITTED, squeue=CommandResult(0, ""), sacct=CommandResult(0, "7|TIMEOUT|0:0|n1\n"))
    job = a_job(tmp_path)
    bench.runner.submit(job)
    Path(exit_file(job.script)).write_text("143\n")
    assert bench.status() == ("finished", "TIMEOUT, it reached its walltime")


def test_an_unreadable_exit_status_is_none(tmp_path: Path) -> None:
    bench = Bench(sbatch=SUBMITTED, squeue=CommandResult(0, ""), sacct=FileNotFoundError("command not found: sacct"))
    job = a_job(tmp_path)
    bench.runner.submit(job)
    Path(exit_file(job.script)).write_text("")
    assert bench.status() == ("", "")


def test_a_single_job_that_squeue_does_not_know_is_no_failure() -> None:
    unknown = CommandResult(1, "", "slurm_load_jobs error: Invalid job id specified\n")
    bench = Bench(squeue=unknown, sacct=CommandResult(0, "7|COMPLETED|0:0|n1\n"))
    assert bench.status()[0] == "finished"


def test_a_job_that_we_cancelled_was_scaled_in_however_it_ended() -> None:
    bench = Bench(scancel=CommandResult(0), squeue=CommandResult(0, "7|FAILED|NonZeroExitCode|n1\n"))
    bench.runner.cancel(["7"])
    assert bench.status()[0] == "scaled_in"


def test_a_cancel_that_is_too_late_is_no_error() -> None:
    bench = Bench(
        scancel=CommandResult(1, "", "scancel: error: Kill job error on job id 7: Invalid job id specified\n")
    )
    bench.runner.cancel(["7"])
    ended = Bench(squeue=CommandResult(0, "7|COMPLETED|None|n1\n"))
    ended.status()
    ended.runner.cancel(["7"])
    assert ended.commands.count("scancel") == 0


def test_a_job_that_never_can_run_and_cannot_be_cancelled_now_is_tried_again() -> None:
    never = CommandResult(0, "7|PENDING|PartitionTimeLimit|\n")
    bench = Bench(squeue=never, scancel=[CommandHung("scancel did not answer"), CommandResult(0)])
    state, reason = bench.status()
    assert state == "queued"
    assert "it cannot be cancelled now: scancel did not answer" in reason
    assert bench.status()[0] == "failed"
    assert bench.commands.count("scancel") == 2


def test_numbers_that_are_given_a_second_time_are_new_jobs(tmp_path: Path) -> None:
    bench = Bench(
        sbatch=SUBMITTED, squeue=[CommandResult(0, "7|COMPLETED|None|n1\n"), CommandResult(0, "7|PENDING|Priority|\n")]
    )
    bench.runner.submit(a_job(tmp_path))
    assert bench.status() == ("finished", "")
    bench.runner.submit(a_job(tmp_path, "2"))
    assert bench.status() == ("queued", "Priority")


def test_runners_of_one_group_answer_for_each_other(tmp_path: Path) -> None:
    commands = FakeCommands({"sbatch": [SUBMITTED], "squeue": [CommandResult(0, "")], "sacct": [CommandResult(0, "")]})
    one, other = (BatchRunner(SlurmProvider(partition=name), commands) for name in "ab")
    assert one.group == other.group != BatchRunner(SlurmProvider(clusters="c"), commands).group
    job = a_job(tmp_path)
    one.submit(job)
    Path(exit_file(job.script)).write_text("0\n")
    assert other.status(["7"])["7"].state is BlockState.finished


def test_a_block_has_not_ended_while_one_of_its_processes_is_on_its_way_to_the_history(tmp_path: Path) -> None:
    """The process that failed may leave HTCondor's queue first."""
    one_left = CommandResult(0, "7.0\t4\t0\tundefined\tundefined\tundefined\tundefined\tundefined\n")
    both = CommandResult(0, one_left.stdout + "7.1\t4\t4\tundefined\tundefined\tundefined\tundefined\tundefined\n")
    commands = FakeCommands(
        {
            "condor_submit": [CommandResult(0, "2 job(s) submitted to cluster 7.\n")],
            "condor_q": [one_left, CommandResult(0)],
            "condor_history": [one_left, both],
        }
    )
    runner = BatchRunner(CondorProvider(nodes_per_block=2), commands, known=KnownJobs())
    assert runner.submit(a_job(tmp_path)) == "7"
    assert runner.status(["7"]) == {}
    assert runner.status(["7"])["7"].reason == "exit status 4"
    assert runner.group != BatchRunner(CondorProvider(nodes_per_block=3), commands, known=KnownJobs()).group


@pytest.mark.parametrize("order", [(0, 4), (4, 0)])
def test_the_exit_status_of_a_block_is_that_of_a_process_that_failed(order: tuple[int, int], tmp_path: Path) -> None:
    provider = CondorProvider(nodes_per_block=2)
    job = a_job(tmp_path)
    for status in order:
        Path(job.script).write_text(provider.script(a_job(tmp_path, command=f"exit {status}")))
        subprocess.run(["bash", job.script], check=False)
    assert Path(exit_file(job.script)).read_text() == "4\n"


@pytest.mark.parametrize(
    ("answer", "transient"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (CommandHung("sbatch did not answer within 20 s"), False),
        (FileNotFoundError("command not found: sbatch"), False),
        (CommandResult(1, "", "sbatch: error: Unable to contact slurm controller (connect failure)"), True),
        (CommandResult(1, "", "sbatch: error: Invalid account"), False),
        (CommandResult(1, "", "ERROR: Can't find address of local schedd"), True),
        (CommandResult(1, "", "ERROR: Failed to connect to local queue manager"), True),
        (CommandResult(1, "", 'error: commlib error: got select error; unable to send message to qmaster"'), True),
        (CommandResult(1, "", "qsub: cannot connect to server head (errno=111)"), True),
        (CommandResult(1, "", "Cannot connect to default server host 'head'"), True),
        (CommandResult(1, "", "LSF is down. Please wait ..."), True),
        (CommandResult(1, "", "ERROR: on Line 9 of submit file: unknown universe"), False),
        (CommandResult(1, "", "Queue does not exist: Job not submitted."), False),
    ],
)
def test_transient_reasons_are_distinguished_from_permanent_ones(
    answer: CommandResult | OSError, transient: bool, tmp_path: Path
) -> None:
    silent = CommandResult(0, "", "")
    runner = BatchRunner(SlurmProvider(), FakeCommands({"sbatch": [answer], "squeue": [silent]}), known=KnownJobs())
    with pytest.raises(SubmitError) as raised:
        runner.submit(a_job(tmp_path))
    assert raised.value.transient is transient
    assert (": load this where" in str(raised.value)) is isinstance(answer, FileNotFoundError)
