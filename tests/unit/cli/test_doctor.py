"""The doctor's probe against a scheduler that is played, and what it makes of what comes back."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab import Config, LowLatencyExecutor
from parslab.cli import doctor, findings
from parslab.cli.doctor import Probe, Trouble, examine
from parslab.description import Text, Whole
from parslab.executors.high_throughput import HighThroughputExecutor
from parslab.providers.base import JobStatus, Provider, SubmitError
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import Job

REPORT: dict[str, Any] = {
    "host": "n7",
    "python": [3, 11, 4],
    "executable": "/opt/python",
    "modules": {"parslab": {"version": "1.0", "error": ""}, "zmq": {"version": "27", "error": ""}},
    "reached": "10.1.2.3:5000",
    "unreached": {},
    "cores": 64,
}


class Clock:
    """Time that passes when somebody sleeps; ``at`` makes something happen then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], object]]] = []

    def at(self, when: float, call: Callable[[], object]) -> None:
        self.due.append((when, call))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for entry in [entry for entry in self.due if entry[0] <= self.now]:
            self.due.remove(entry)
            entry[1]()

    def __call__(self) -> float:
        return self.now


class Scheduler:
    """A runner whose jobs are in the state that the test says."""

    def __init__(self) -> None:
        self.period, self.group = 10.0, "played"
        self.state: JobStatus | None = None
        self.refusal = ""
        self.asked: list[float] = []
        self.cancelled: list[str] = []
        self.closed = False
        self.clock = Clock()
        self.silent = False

    def submit(self, job: Job) -> str:
        if self.refusal:
            raise SubmitError(self.refusal)
        return "42"

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        self.asked.append(self.clock.now)
        if self.silent:
            raise OSError("slurmctld does not answer")
        return {} if self.state is None else {jobs[0]: self.state}

    def cancel(self, jobs: list[str]) -> None:
        self.cancelled += jobs

    def close(self) -> None:
        self.closed = True


class Played(Provider):
    """A provider for tests."""

    nodes_per_block = Whole(4, low=1)
    max_blocks = Whole(9, low=1)
    queue = Text("q")
    scheduler: Scheduler

    def runner(self, folder: Path) -> Any:
        return self.scheduler


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    made = Scheduler()
    monkeypatch.setattr(Played, "scheduler", made, raising=False)
    return made


@pytest.fixture
def probe(scheduler: Scheduler, tmp_path: Path) -> Probe:
    clock = scheduler.clock
    executor = HighThroughputExecutor(provider=Played(queue="big"), python="/opt/my python")
    return Probe(executor, tmp_path, ["10.1.2.3:5000"], sleep=clock.sleep, clock=clock)


def is_(state: BlockState, reason: str = "") -> JobStatus:
    return JobStatus(state, reason)


def test_the_job_is_one_node_of_the_users_provider(probe: Probe, tmp_path: Path) -> None:
    assert probe.provider == Played(queue="big", nodes_per_block=1, max_blocks=1)
    words = shlex.split(probe.job.command)
    assert words[-4:] == ["/opt/my python", str(tmp_path / "probe.py"), str(tmp_path), "10.1.2.3:5000"]
    compile((tmp_path / "probe.py").read_text(), "probe.py", "exec")


def test_a_node_that_reports_is_believed_and_its_job_cancelled(
    probe: Probe, scheduler: Scheduler, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler.state = is_(BlockState.queued, "Priority")

    def start() -> None:
        scheduler.state = is_(BlockState.running)

    scheduler.clock.at(25, start)
    scheduler.clock.at(33, lambda: (probe.folder / "report-n7-1.json").write_text(json.dumps(REPORT)))
    assert probe.run(900) == REPORT
    assert (scheduler.cancelled, scheduler.closed) == (["42"], True)
    shown = capsys.readouterr().out
    assert "[ ok ] submitted: job 42" in shown
    assert shown.count("[ .. ] queued (Priority)") == 1
    assert "[ .. ] running" in shown
    assert "on n7 (64 cores) after 33 s" in shown
    assert all(later - earlier >= 10 for earlier, later in zip(scheduler.asked, scheduler.asked[1:], strict=False))


def test_a_job_that_is_refused_says_why(probe: Probe, scheduler: Scheduler) -> None:
    scheduler.refusal = "sbatch: error: invalid partition specified: nope."
    with pytest.raises(Trouble, match=r"^The job was not accepted: sbatch: error: invalid partition specified: nope\."):
        probe.run(900)
    assert (scheduler.cancelled, scheduler.closed) == ([], True)


def test_a_job_that_never_starts_says_why_and_goes(probe: Probe, scheduler: Scheduler) -> None:
    scheduler.state = is_(BlockState.queued, "PartitionTimeLimit")
    with pytest.raises(Trouble, match=r"still queued \(PartitionTimeLimit\) after 60 s: wait longer with --timeout"):
        probe.run(60)
    assert scheduler.cancelled == ["42"]


def test_a_scheduler_that_does_not_answer_is_no_end(probe: Probe, scheduler: Scheduler) -> None:
    scheduler.silent = True
    with pytest.raises(Trouble, match=r"still unknown to the scheduler after 60 s"):
        probe.run(60)
    assert len(scheduler.asked) >= 5


@pytest.mark.parametrize(
    ("stderr", "says"),
    [
        (
            "job.sh: line 7: nosuch: command not found\n",
            "a command is missing on the node.*\n.*nosuch: command not found$",
        ),
        ("Lmod has detected: The following module(s) are unknown: x\n", "look at worker_init; its last words"),
        (
            "python: can't open file '{folder}/probe.py': [Errno 2] No such file\n",
            "does not see {folder}: choose a shared",
        ),
        ("", "left nothing in {folder}: if it was started, its node does not see"),
    ],
)
def test_a_job_that_ends_without_a_report_says_its_last_words(
    probe: Probe, scheduler: Scheduler, stderr: str, says: str
) -> None:
    folder = str(probe.folder)
    scheduler.state = is_(BlockState.failed, "exit status 1")
    Path(probe.job.stderr).write_text(stderr.format(folder=folder))
    with pytest.raises(Trouble, match=says.format(folder=folder)) as caught:
        probe.run(900)
    assert str(caught.value).startswith("The job has failed (exit status 1) and ")


def test_a_report_that_a_slow_file_system_shows_late_counts(probe: Probe, scheduler: Scheduler) -> None:
    scheduler.state = is_(BlockState.finished)
    scheduler.clock.at(15, lambda: (probe.folder / "report-n7-1.json").write_text(json.dumps(REPORT)))
    assert probe.run(900)["host"] == "n7"


def test_a_job_that_runs_and_says_nothing_is_given_up(probe: Probe, scheduler: Scheduler) -> None:
    scheduler.state = is_(BlockState.running)
    with pytest.raises(Trouble, match=r"^The job runs, but it has sent no report for 60 s"):
        probe.run(30)
    assert scheduler.clock.now > 90


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"python": [3, 9, 1]}, "/opt/python on node n7 is Python 3.9.1, and here runs 3.11.7"),
        ({"modules": {"zmq": {"version": "", "error": "ModuleNotFoundError: x"}}}, "cannot import zmq (ModuleNotFound"),
        ({"modules": {"parslab": {"version": "0.9", "error": ""}}}, "has parslab 0.9, and here runs 1.0: install"),
    ],
)
def test_an_interpreter_that_does_not_fit_is_named(change: dict[str, Any], says: str) -> None:
    shown = findings.python_trouble({**REPORT, **change}, (3, 11, 7), "1.0")
    assert says in shown
    assert bool(shown) == bool(says)


def test_unreachable_host_is_reported_with_advice() -> None:
    assert findings.address_trouble(REPORT) == ""
    shown = findings.address_trouble({**REPORT, "reached": "", "unreached": {"10.1.2.3:5000": "timed out"}})
    assert shown.startswith("Node n7 reaches this host at none of 10.1.2.3:5000 (timed out): name an address")


def test_a_strategy_that_is_none_fails_before_a_job_is_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from parslab import Config, HighThroughputExecutor\n"
        "config = Config(executors=[HighThroughputExecutor()], strategy='smple')\n"
    )
    assert doctor.examine(str(file), "", False, 1.0) == 1
    assert capsys.readouterr().out.startswith("[FAIL] There is no strategy 'smple': choose one of none, simple,")


def test_a_name_that_is_none_fails_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.examine("nowhere", "", True, 1.0) == 1
    assert "[FAIL] There is no ready configuration 'nowhere'; there are laptop" in capsys.readouterr().out
    assert doctor.examine("laptop", "gpu", True, 1.0) == 1
    assert "[FAIL] There is no executor 'gpu'; this configuration has llex." in capsys.readouterr().out
    assert doctor.examine("laptop", "", True, 1.0) == 0
    assert "Nothing was submitted." in capsys.readouterr().out


def test_control_characters_are_shown_as_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal obeyed them."""
    config = Config(executors=[LowLatencyExecutor(label="a")], run_dir=str(tmp_path / "\x1b]0;t\x07"))
    monkeypatch.setattr("parslab.cli.doctor.named_config", lambda name: config)
    examine("x", "b\x1b[1m", dry_run=True, timeout=1)
    examine("x", "", dry_run=True, timeout=1)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\\x1b" in out
