"""A run is handed over step by step, and stays where it is when a step fails."""

from __future__ import annotations

import errno
import json
import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from parslab.clock import to_wall_time
from parslab.dataflow.clients.connection_file import ConnectionFile
from parslab.dataflow.persistence.log_format import LARGE
from parslab.dataflow.resume.handover import Handover, HandoverState
from parslab.errors import ConfigurationError
from parslab.records.executor_settings import HighThroughputSettings, ManagerSettings, ProviderSettings
from parslab.testing.fakes import run_settings
from parslab.wire.run_files import HANDOVER_REFUSED, HANDOVER_WANTED, ConnectionInfo, read_connection_info
from tests.unit.dataflow.fake_host import FakeHost
from tests.unit.dataflow.graph.test_table import Graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEGUN = "Run 000-abc is handed over: parslab.load() in the notebook's next job goes on with it."
LOCAL, CLUSTER, MPI = 0, 1, 2
"""The executors: workers of this host, blocks that outlive the process, and blocks that do not."""


class Log:
    """An event log that writes when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.broken = False
        self.folder = folder
        self.values: list[int] = []
        self.calls: list[Callable[[], None]] = []

    def keep_value(self, resolved: Any, value: Any) -> None:
        self.values.append(resolved.task)

    def when_written(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def writes(self, fails: bool = False) -> None:
        self.broken = fails
        self.calls.pop(0)()


class Service:
    """The managers of one executor."""

    def __init__(self, provider: ProviderSettings, manager: ManagerSettings) -> None:
        self.settings = HighThroughputSettings(label="htex", provider=provider, manager=manager)
        self.slot = SimpleNamespace(inflight=[])
        self.queue = SimpleNamespace(slots={b"m": self.slot})
        self.kept: list[float | None] = []

    def keep_tasks(self, seconds: float | None = None) -> None:
        self.kept.append(seconds)


class Run(Graph):
    """A run of three executors; the test moves its clock."""

    def __init__(self, folder: Path, *, log: bool = True, **options: Any) -> None:
        super().__init__()
        self.folder = folder
        self.host = FakeHost()
        self.host.time = 1000.0
        self.log = Log(folder / "event_log")
        self.path = folder / "parslab-000-abc.json"
        info = ConnectionInfo(run="000-abc", pid=os.getpid(), host=socket.gethostname(), socket="/x", run_dir="/x")
        self.file = ConnectionFile(self.path, info)
        self.worker = SimpleNamespace(inflight=[])
        provider = ProviderSettings(description={})  # type: ignore[arg-type]
        self.cluster = Service(provider, ManagerSettings())
        self.mpi = Service(provider, ManagerSettings(mpi_launcher="srun"))
        self.stays: list[float] = []
        self.given: list[list[int] | None] = []
        self.handover = Handover(
            self.host,
            run_settings(folder, **{"notebook": "/books/fit.ipynb", **options}),
            table=self.table,
            worker_pools={LOCAL: SimpleNamespace(peers=[self.worker])},  # type: ignore[dict-item]
            manager_services={CLUSTER: self.cluster, MPI: self.mpi},  # type: ignore[dict-item]
            log_writer=self.log if log else None,  # type: ignore[arg-type]
            presence=SimpleNamespace(stay=self.stays.append),  # type: ignore[arg-type]
            file=self.file,
        )
        self.handover.give_tasks_to = lambda numbers: self.given.append(None if numbers is None else sorted(numbers))

    def after(self, seconds: float) -> None:
        """Time passes; all timers that are due run."""
        self.host.time += seconds
        due = [call for when, call in self.host.timers if when <= self.host.time]
        self.host.timers = [timer for timer in self.host.timers if timer[0] > self.host.time]
        for call in due:
            call()

    def asks(self, text: str = "", **request: Any) -> None:
        """Another host writes a request, and the housekeeping finds it."""
        wanted = {"host": "n2", "wait": 60.0, "keep": 1800.0, **request}
        path = self.folder / HANDOVER_WANTED
        path.write_text(text or json.dumps(wanted))
        path.chmod(0o600)
        self.handover.look_for_request()

    def progress(self) -> HandoverState:
        return self.handover.state

    @property
    def asked(self) -> bool:
        return (self.folder / HANDOVER_WANTED).exists()

    @property
    def refusal(self) -> str:
        path = self.folder / HANDOVER_REFUSED
        return path.read_text() if path.exists() else ""

    def has_stayed(self) -> None:
        """Everything is as it was before."""
        assert self.progress() is HandoverState.idle
        assert self.handover.reason == self.host.end_reason == ""
        assert not self.asked
        assert self.refusal in self.host.notices
        if self.given:
            assert self.given[-1] is None
            assert self.stays[-1] == 0.0
            assert self.cluster.kept[-1] is None
            info = read_connection_info(self.path)
            assert not info.handing_over
            assert not info.handed_over
        assert sorted(path.suffix for path in self.folder.glob("parslab-*")) in ([], [".json"])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk that is full while ``full``."""
    disk = SimpleNamespace(full=False)
    write = ConnectionFile._write

    def written(file: ConnectionFile, path: Path, info: ConnectionInfo) -> None:
        if disk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, path, info)

    monkeypatch.setattr(ConnectionFile, "_write", written)
    return disk


# ----- in order


def test_a_run_without_tasks_is_handed_over_at_once(run: Run) -> None:
    assert run.handover.begin(60.0, 1800.0) == BEGUN
    assert run.progress() is HandoverState.finishing
    assert read_connection_info(run.path).handing_over
    run.after(0.0)
    assert run.progress() is HandoverState.writing
    assert run.host.end_reason == ""
    run.log.writes()
    assert run.progress() is HandoverState.ready
    assert run.host.end_reason == run.handover.reason
    assert run.handover.reason == "it was handed over; parslab.load() in the notebook's next job goes on with it"
    assert not read_connection_info(run.path).handed_over
    run.handover.finish()
    info = read_connection_info(run.path)
    assert (info.handed_over, info.owners) == (True, [])
    assert info.ends == pytest.approx(to_wall_time(2860.0))
    assert [path.name for path in run.folder.glob("parslab-*")] == [run.path.name]


def test_workers_that_end_with_the_process_get_no_more_tasks(run: Run) -> None:
    run.handover.begin(60.0, 1800.0)
    assert run.given == [[CLUSTER]]
    assert run.cluster.kept == [1860.0]
    assert run.mpi.kept == []
    assert run.stays == [1860.0]  # longer than any client of the notebook


@pytest.mark.parametrize("number", [LOCAL, MPI])
def test_tasks_of_this_host_may_finish(run: Run, number: int) -> None:
    inflight = (run.worker if number == LOCAL else run.mpi.slot).inflight
    inflight += [1, 2]
    assert run.handover.begin(60.0, 1800.0) == f"{BEGUN} 2 running tasks of this host may finish before."
    run.after(30.0)
    inflight.pop()
    run.after(1.0)
    assert run.progress() is HandoverState.finishing
    inflight.pop()
    run.after(1.0)
    assert run.progress() is HandoverState.writing


def test_tasks_of_blocks_that_stay_need_not_finish(run: Run) -> None:
    run.cluster.slot.inflight.append(1)
    assert run.handover.begin(60.0, 1800.0) == BEGUN
    run.after(0.0)
    assert run.progress() is HandoverState.writing


def test_a_task_that_takes_too_long_runs_again(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.worker.inflight.append(1)
    assert run.handover.begin(60.0, 1800.0) == f"{BEGUN} 1 running task of this host may finish before."
    run.after(59.0)
    assert run.progress() is HandoverState.finishing
    run.after(1.0)
    assert run.progress() is HandoverState.writing
    assert "1 tasks did not finish in time, and run again in the next job" in caplog.text


def test_large_results_are_written_once(run: Run) -> None:
    for task in range(4):
        run.call(task)
    run.done(0, b"small")
    run.done(1, bytes(LARGE + 1))
    run.handover.begin(60.0, 1800.0)
    run.after(0.0)
    assert run.log.values == [1]
    run.done(2, bytes(LARGE + 1))  # from a block that stays, while the others are written
    run.handover.write_results()
    assert run.log.values == [1, 2]


# ----- more than once


def test_a_second_handover_may_shorten_the_time_of_tasks(run: Run) -> None:
    run.worker.inflight.append(1)
    run.handover.begin(3600.0, 10.0)
    assert run.handover.begin(5.0, 1800.0) == f"{BEGUN} 1 running task of this host may finish before."
    assert run.cluster.kept == [3610.0, 3610.0]
    run.handover.begin(100.0, 0.0)
    run.after(5.0)
    assert run.progress() is HandoverState.writing
    assert len(run.log.calls) == 1


@pytest.mark.parametrize("steps", [1, 2])
def test_a_second_handover_of_a_run_that_ends_says_the_same(run: Run, steps: int) -> None:
    run.handover.begin(60.0, 1800.0)
    run.after(0.0)
    if steps == 2:
        run.log.writes()
    state = run.progress()
    assert run.handover.begin(60.0, 1800.0) == BEGUN
    run.after(1.0)
    assert run.progress() is state


# ----- another host asks


def test_another_host_asks(run: Run) -> None:
    run.handover.look_for_request()
    assert run.progress() is HandoverState.idle
    run.asks()
    assert run.progress() is HandoverState.finishing
    assert run.host.notices == ["Host n2 has asked for this run: tasks of this host have 1 min to finish."]
    # A process that replaces this one, if it is killed, must find the request.
    assert run.asked
    run.after(0.0)
    run.log.writes()
    run.handover.look_for_request()
    run.handover.finish()
    assert not run.asked
    assert len(run.host.notices) == 1


def test_the_host_that_has_asked_keeps_the_run(run: Run) -> None:
    """The process that has handed the run over may have been killed before it removed the request."""
    run.asks(host=socket.gethostname())
    assert run.progress() is HandoverState.idle
    assert (run.asked, run.host.notices) == (False, [])


@pytest.mark.parametrize("text", ["[1", "[]", "{}", '{"host": "n2", "wait": "soon", "keep": 1}'])
def test_a_request_that_is_none_is_refused_once(run: Run, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run.asks(text)
    run.has_stayed()
    assert run.refusal.startswith("Another host asks for run 000-abc, which stays here: ")
    assert f"{HANDOVER_WANTED} holds no request (" in run.refusal
    monkeypatch.setattr(run.handover, "_remove", lambda name: None)
    for _ in range(3):
        run.asks(text)
    assert len(run.host.notices) == 1


def test_a_request_that_others_can_write_is_refused(run: Run) -> None:
    path = run.folder / HANDOVER_WANTED
    path.write_text("{}")
    path.chmod(0o666)
    run.handover.look_for_request()
    run.has_stayed()
    assert str(path) in run.refusal


def test_a_request_is_refused_in_one_sentence(tmp_path: Path) -> None:
    run = Run(tmp_path, log=False)
    run.asks()
    run.has_stayed()
    assert run.refusal == (
        "Another host asks for run 000-abc, which stays here: Run 000-abc has no event log, from which another host "
        "could go on with it: load it with Config(resume=True)."
    )


# ----- a run that stays


def test_a_run_without_an_event_log_stays(tmp_path: Path) -> None:
    run = Run(tmp_path, log=False)
    with pytest.raises(ConfigurationError, match=r"^Run 000-abc has no event log, .*Config\(resume=True\)\.$"):
        run.handover.begin(60.0, 1800.0)
    assert run.progress() is HandoverState.idle


def test_a_run_whose_event_log_was_given_up_stays(run: Run) -> None:
    run.log.broken = True
    with pytest.raises(ConfigurationError, match=r"event log in .*/event_log could not be written: wait for its res"):
        run.handover.begin(60.0, 1800.0)


def test_a_run_of_a_script_stays(tmp_path: Path) -> None:
    run = Run(tmp_path, notebook="")
    with pytest.raises(ConfigurationError, match=r"^Run 000-abc belongs to no notebook, whose next kernel"):
        run.handover.begin(60.0, 1800.0)


@pytest.mark.parametrize(("wait", "keep"), [(-1.0, 0.0), (0.0, float("nan")), (float("inf"), 1.0)])
def test_times_that_are_none_are_refused(run: Run, wait: float, keep: float) -> None:
    with pytest.raises(ConfigurationError, match="Run 000-abc cannot be handed over within "):
        run.handover.begin(wait, keep)
    assert run.progress() is HandoverState.idle


def test_a_full_disk_at_the_begin(run: Run, disk: SimpleNamespace) -> None:
    disk.full = True
    with pytest.raises(ConfigurationError, match=r"file .*\.json cannot be written \(No space left on device\): make"):
        run.handover.begin(60.0, 1800.0)
    assert run.progress() is HandoverState.idle
    assert run.given == []


def test_an_event_log_that_cannot_be_written(run: Run) -> None:
    run.asks()
    run.after(0.0)
    run.log.writes(fails=True)
    run.has_stayed()
    assert run.refusal == (
        f"Run 000-abc stays on {socket.gethostname()}, because its event log in {run.log.folder} cannot be written: "
        "wait for its results here."
    )


def test_a_connection_file_that_cannot_be_written(run: Run, disk: SimpleNamespace) -> None:
    """The disk has room again at the next attempt, which succeeds."""
    run.handover.begin(60.0, 1800.0)
    run.after(0.0)
    disk.full = True
    run.log.writes()
    disk.full = False
    assert run.progress() is HandoverState.idle
    assert run.refusal.endswith("cannot be written (No space left on device): make room on that disk.")
    assert run.given == [[CLUSTER], None]
    assert run.handover.begin(60.0, 1800.0) == BEGUN
    assert run.refusal == ""
    run.after(0.0)
    run.log.writes()
    assert run.progress() is HandoverState.ready


def test_a_disk_that_does_not_answer(run: Run) -> None:
    run.asks()
    run.after(0.0)
    run.after(599.0)
    assert run.progress() is HandoverState.writing
    run.after(1.0)
    run.has_stayed()
    assert run.refusal == (
        f"Run 000-abc stays on {socket.gethostname()}, because its results are not written within 600 s: look at the "
        f"disk of {run.folder}, and hand the run over again."
    )
    run.log.writes()  # in the end
    assert run.progress() is HandoverState.idle


def test_the_limit_of_an_earlier_handover_does_not_count(run: Run, disk: SimpleNamespace) -> None:
    run.handover.begin(60.0, 1800.0)
    run.after(0.0)
    disk.full = True
    run.log.writes()
    disk.full = False
    run.after(500.0)
    run.handover.begin(60.0, 1800.0)
    run.after(0.0)
    run.after(100.0)
    assert run.progress() is HandoverState.writing


# ----- the process is asked to end


def test_a_signal_ends_the_patience_with_tasks(run: Run) -> None:
    """The scheduler sends SIGTERM to all processes of a job that it ends."""
    assert not run.handover.hurry()
    run.worker.inflight.append(1)
    run.handover.begin(60.0, 1800.0)
    run.after(1.0)
    assert run.handover.hurry()
    run.after(0.1)
    assert run.progress() is HandoverState.writing
    assert not run.handover.hurry()  # whoever asks twice wants the end


def test_a_handover_without_time_for_tasks(run: Run) -> None:
    run.worker.inflight.append(1)
    run.handover.begin(0.0, 0.0)
    run.after(0.0)
    run.log.writes()
    assert run.progress() is HandoverState.ready
