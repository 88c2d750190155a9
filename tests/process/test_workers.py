"""Workers that die, stop or never come: only the task that ran is lost, the sentence says all, work goes on."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from parslab import python_app
from parslab.errors import WorkerLost
from tests.process.blocks import blocks_run
from tests.process.panel import notices, picture
from tests.process.sandbox import Sandbox, alive, error_of, is_gone, until, within, workers_of

if TYPE_CHECKING:
    from pathlib import Path

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app
def pid() -> int:
    return os.getpid()


@python_app
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@python_app
def die(how: str) -> None:
    print("last words", file=sys.stderr)
    if how == "SIGSEGV":
        import ctypes

        ctypes.string_at(0)
    elif how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(30)
    else:
        os._exit(int(how))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("SIGKILL", "was killed by SIGKILL (often the out-of-memory killer)"),
        ("SIGSEGV", "was killed by SIGSEGV"),
        ("SIGABRT", "was killed by SIGABRT"),
        ("3", "exited with status 3"),
        ("0", "exited with status 0"),
    ],
)
def test_a_death_is_explained_and_costs_only_the_task_that_ran(sandbox: Sandbox, how: str, said: str) -> None:
    with sandbox.load(workers=1) as dfk:
        victim = pid().result()
        assert nap(0).result() == 0  # known to be short: the next ones are sent ahead
        doomed = die(how)
        later = [nap(0) for _ in range(50)] + [pid()]
        error = error_of(doomed)
        assert isinstance(error, WorkerLost)
        text = str(error)
        assert text.startswith(
            f"The worker of task {doomed.task_id} (host {socket.gethostname()}, pid {victim}) {said}; its last words:\n"
        )
        assert "last words" in error.stderr_tail
        assert [future.result(10) for future in later[:-1]] == [0] * 50
        assert later[-1].result() != victim
        assert "last words" in doomed.logs("stderr")
        assert any("another one takes its place" in text for text in notices(dfk))
        until(lambda: len(workers_of(dfk.pid)) == 1)


def test_a_worker_that_eats_all_memory(sandbox: Sandbox) -> None:
    """An address-space limit replaces the out-of-memory killer: the task gets MemoryError, or its worker dies."""

    @python_app
    def eat() -> int:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        return len(bytearray(4 << 30))

    with sandbox.load(workers=1):
        assert isinstance(error_of(eat()), (MemoryError, WorkerLost))
        assert isinstance(pid().result(10), int)


def test_tasks_sent_ahead_run_elsewhere(sandbox: Sandbox) -> None:
    with sandbox.load(workers=2) as dfk:
        assert [nap(0).result() for _ in range(20)] == [0] * 20
        doomed = die("SIGKILL")
        futures = [nap(0) for _ in range(500)]
        assert isinstance(error_of(doomed), WorkerLost)
        assert [future.result(10) for future in futures] == [0] * 500
        until(lambda: len(workers_of(dfk.pid)) == 2)


def test_a_worker_killed_while_idle_is_replaced(sandbox: Sandbox) -> None:
    with sandbox.load(workers=1) as dfk:
        for _ in range(5):  # also when its death is only found out while a task is being sent
            victim = pid().result(10)
            os.kill(victim, signal.SIGKILL)
            assert pid().result(10) != victim
        assert alive(dfk.pid)


def test_killing_all_workers_under_load(sandbox: Sandbox) -> None:
    with sandbox.load(workers=2) as dfk:
        assert nap(0).result() == 0
        futures = [nap(0) for _ in range(3000)]
        for victim in workers_of(dfk.pid):
            os.kill(victim, signal.SIGKILL)
        errors = [future.exception(15) for future in futures]
        lost = [error for error in errors if error is not None]
        assert all(isinstance(error, WorkerLost) for error in lost)
        # What ran, and outcomes that were ready but had not left yet (half a millisecond of work).
        assert len(lost) < 200
        assert pid().result(10) > 0


def test_a_stopped_worker_lets_go_of_a_cancelled_task(sandbox: Sandbox) -> None:
    with sandbox.load(workers=1) as dfk:
        victim = pid().result()
        future = nap(60)
        until(future.running)
        os.kill(victim, signal.SIGSTOP)
        with within(0.5):
            assert future.cancel()
        assert future.cancelled()
        assert pid().result(10) != victim
        until(is_gone(victim))
        assert alive(dfk.pid)


def test_a_task_that_ignores_the_interrupt_is_cancelled_all_the_same(sandbox: Sandbox) -> None:
    @python_app
    def stubborn() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(60)

    with sandbox.load(workers=1):
        victim = pid().result()
        future = stubborn()
        until(future.running)
        future.cancel()
        with within(5):
            assert pid().result(10) != victim


def test_a_cancelled_task_that_runs_costs_no_worker(sandbox: Sandbox) -> None:
    with sandbox.load(workers=1):
        before = pid().result()
        future = nap(60)
        until(future.running)
        assert future.cancel()
        with within(2):
            assert pid().result(10) == before


@pytest.mark.parametrize("lowest", [0, 3])
def test_a_task_that_closes_every_descriptor(sandbox: Sandbox, lowest: int) -> None:
    """The error said no more than a status, or named the out-of-memory killer."""

    @python_app
    def close() -> None:
        os.closerange(lowest, 256)

    with sandbox.load(workers=1):
        error = error_of(close())
        assert isinstance(error, WorkerLost)
        assert "exited with status 120, because the task closed descriptors of its worker" in str(error)
        assert pid().result(10) > 0


@python_app
def lower_limit() -> int:
    """Lower a limit so that this process may not raise it again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard - 1))
    if os.getuid() == 0:
        os.setuid(65534)
    return os.getpid()


@python_app
def limit() -> tuple[int, tuple[int, int]]:
    return os.getpid(), resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.mark.parametrize("executor", ["low_latency", "high_throughput"])
def test_a_worker_whose_process_was_changed_for_good_is_replaced(sandbox: Sandbox, executor: str) -> None:
    """The tasks after it ran with the lower limit."""
    with sandbox.load(workers=1) if executor == "low_latency" else blocks_run(sandbox, workers=1) as dfk:
        _, before = limit().result(30)
        lowered = lower_limit()
        looks = [limit() for _ in range(5)]
        for look in looks:
            pid, now = look.result(30)
            assert pid != lowered.result(10)
            assert now == before
        reason = "exited, because a task changed its process in a way that cannot be undone: resource limits ("
        until(lambda: any(worker.reason.startswith(reason) for worker in picture(dfk).workers))


def test_a_broken_interpreter_stops_the_executor_and_says_so(sandbox: Sandbox) -> None:
    with sandbox.load(workers=2, environment={"PYTHONHOME": "/nonexistent"}) as dfk:
        futures = [pid() for _ in range(5)]
        for future in futures:
            error = error_of(future)
            assert isinstance(error, WorkerLost)
            text = str(error)
            assert f"Task {future.task_id} was not run: executor llex is stopped: its workers cannot start" in text
            assert "encodings" in text  # the interpreter's own words
        assert isinstance(error_of(pid()), WorkerLost)  # called after it was stopped
        said = [text for text in notices(dfk) if "is stopped" in text]
        assert len(said) == 1
        assert "its workers cannot start" in picture(dfk).run.stopped["llex"]
        until(lambda: not workers_of(dfk.pid))


def test_grandchildren_go_with_their_worker(sandbox: Sandbox) -> None:
    @python_app
    def start() -> list[int]:
        import subprocess

        return [subprocess.Popen(["sleep", "600"]).pid, os.getpid()]

    with sandbox.load(workers=1):
        sleep, victim = start().result()
        os.kill(victim, signal.SIGKILL)
        until(is_gone(sleep), 5)


def test_children_in_sessions_of_their_own_go_with_the_run(sandbox: Sandbox) -> None:
    @python_app
    def start() -> int:
        import subprocess

        return subprocess.Popen(["sleep", "600"], start_new_session=True).pid

    with sandbox.load(workers=1):
        sleep = start().result()
        assert alive(sleep)
    if sys.platform == "linux":
        until(is_gone(sleep), 5)
    elif alive(sleep):  # other systems have no way to find them again
        os.kill(sleep, signal.SIGKILL)


def test_a_daemon_of_a_killed_worker_goes_with_the_run(sandbox: Sandbox) -> None:
    @python_app
    def start() -> Any:
        import subprocess

        return [subprocess.Popen(["sleep", "600"], start_new_session=True).pid, os.getpid()]

    if sys.platform != "linux":
        pytest.skip("only Linux hands orphans to the DataFlowKernel")
    with sandbox.load(workers=1):
        sleep, victim = start().result()
        os.kill(victim, signal.SIGKILL)
        assert pid().result(10) != victim
    until(is_gone(sleep), 5)


def test_a_worker_that_cannot_be_written_to_costs_no_run(sandbox: Sandbox) -> None:
    """What the DataFlowKernel sends may meet a worker that is half dead: that is the worker's end, not the run's."""

    @python_app
    def deaf() -> None:
        import contextlib

        for number in range(3, 64):
            with contextlib.suppress(OSError):
                socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RD)

    with sandbox.load(workers=1) as dfk:
        before = pid().result()
        deaf().exception(10)
        assert pid().result(10) != before
        assert alive(dfk.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process the orphans of its children")
def test_what_left_the_group_of_a_worker_goes_with_it_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    """While the run goes on; what the tasks of others have started is not touched."""

    @python_app
    def daemon(folder: Path, wait_for: int, fatal: bool) -> int:
        command = "sleep 600 & echo $!; wait"
        shell = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, start_new_session=True)
        assert shell.stdout is not None
        (folder / str(shell.pid)).write_bytes(shell.stdout.readline())
        while len(list(folder.iterdir())) < wait_for:
            time.sleep(0.01)
        if fatal:
            os._exit(1)
        return shell.pid

    with sandbox.load(workers=2):
        kept = [future.result(20) for future in [daemon(tmp_path, 2, False) for _ in range(2)]]
        assert isinstance(error_of(daemon(tmp_path, 3, True)), WorkerLost)
        (lost,) = (path for path in tmp_path.iterdir() if int(path.name) not in kept)
        for pid in (int(lost.name), int(lost.read_text())):
            until(is_gone(pid))
        until(lambda: sum(map(alive, kept)) == 1, what="what the same worker had started before is gone, too")
