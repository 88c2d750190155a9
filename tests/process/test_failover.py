"""The DataFlowKernel process is killed and the run goes on: it is started again on its record, and futures end."""

from __future__ import annotations

import collections
import os
import queue
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

import cloudpickle
import msgspec
import pytest

import parslab
from parslab import join_app, python_app
from parslab.client.reattach import attached, live_run
from parslab.dataflow.persistence.log_format import EndItem, entries, log_folder
from parslab.errors import DataFlowKernelLost
from parslab.executors import LowLatencyExecutor, ThreadPoolExecutor
from parslab.records import panel
from parslab.wire.notebooks import NotebookPlace
from tests.process.blocks import executor, written
from tests.process.panel import notices, picture
from tests.process.sandbox import Sandbox, error_of, is_gone, until, within

if TYPE_CHECKING:
    from pathlib import Path

    from parslab import AppFuture, DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app
def work(log: Path, number: int, seconds: float = 0.0) -> int:
    """Leaves a line for each execution."""
    with log.open("ab", 0) as file:
        file.write(b"%d\n" % number)
    time.sleep(seconds)
    return number


def total(*numbers: int) -> int:
    return sum(numbers)


def stay_until(path: Path) -> str:
    while not path.exists():
        time.sleep(0.01)
    return path.name


def zeros(size: int) -> bytes:
    return bytes(size)


add, wait_for = python_app(total), python_app(stay_until)


def kill(dfk: DataFlowKernel, number: signal.Signals = signal.SIGKILL) -> int:
    """Kill it; returns the number of the process that is gone."""
    pid = dfk.pid
    os.kill(pid, number)
    until(is_gone(pid))
    return pid


def executions(log: Path) -> collections.Counter[int]:
    return collections.Counter(map(int, log.read_text().split()))


def test_what_ran_runs_again_before_what_came_later(sandbox: Sandbox, tmp_path: Path) -> None:
    """Also before calls that the lost process had not seen, which its client sends again first."""
    log = tmp_path / "log"

    @python_app
    def stay(number: int) -> None:
        with log.open("ab", 0) as file:
            file.write(b"%d\n" % number)
        while not (tmp_path / "gate").exists():
            time.sleep(0.01)

    with sandbox.load() as dfk:
        ran = stay(0)
        until(lambda: log.exists() and log.read_text() == "0\n", 20, "it runs")
        os.kill(dfk.pid, signal.SIGSTOP)
        later = [stay(number) for number in (1, 2)]
        kill(dfk)
        until(lambda: log.read_text() != "0\n", 20, "one runs again")
        (tmp_path / "gate").touch()
        assert [future.result(20) for future in (ran, *later)] == [None] * 3
    assert log.read_text().split() == ["0", "0", "1", "2"]


def test_half_way_through_many_tasks(sandbox: Sandbox, tmp_path: Path) -> None:
    """What had ended is kept; only what workers had runs again."""
    log, count = tmp_path / "log", 10_000
    with sandbox.load(workers=2) as dfk:
        futures = [work(log, number) for number in range(count)]
        sums = [add(*futures[at : at + 10]) for at in range(0, count, 1000)]
        until(futures[count // 2 + 500].done, 30)  # half way between those that others need
        had = {number for number, future in enumerate(futures) if future.done()}
        kill(dfk)
        assert [future.result(60) for future in futures] == list(range(count))
        assert [future.result(10) for future in sums] == [sum(range(at, at + 10)) for at in range(0, count, 1000)]
        runs = executions(log)
        twice = [number for number, times in runs.items() if times > 1]
        assert set(runs) == set(range(count))
        assert not had.intersection(twice)
        # Two workers, and what was sent to them ahead: they go on for the milliseconds that a process takes to die.
        assert len(twice) <= 1100
        assert max(runs.values()) <= 2
        (notice,) = (text for text in notices(dfk) if "was killed by SIGKILL; it was started again within" in text)
        assert f"The DataFlowKernel of run {dfk.run}" in notice
        assert "results kept" in notice


def test_the_picture_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    """What ended before is counted still, with all that was known of it, also where nobody holds the future."""
    log = tmp_path / "log"

    def finished() -> int:
        answer = dfk.ask(panel.SnapshotRequest(subscribe=False))
        assert isinstance(answer, panel.Snapshot)
        assert len(answer.nodes) == answer.overview.tasks_total
        return answer.overview.counts.get("exec_done", 0)

    def began() -> float | None:
        answer = dfk.ask(panel.TaskDetailRequest("", 0))
        assert isinstance(answer, panel.TaskDetail)
        assert answer.row.state == "exec_done"
        return answer.row.started

    with sandbox.load() as dfk:
        assert [work(log, number).result() for number in range(20)] == list(range(20))
        held = [work(log, number) for number in range(20, 30)]
        assert [future.result() for future in held] == list(range(20, 30))
        until(lambda: finished() == 30)
        before = began()
        assert before is not None
        folder = log_folder(dfk.run_dir)
        until(lambda: sum(isinstance(item, EndItem) for _, item in entries(folder)) == 30)
        first = picture(dfk).run
        fed: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        dfk.on_feed = fed.put
        kill(dfk)
        snapshot = msgspec.json.decode(fed.get(timeout=20), type=panel.Snapshot)  # nobody has asked
        dfk.on_feed = None
        assert (snapshot.run.run, snapshot.run.started) == (first.run, first.started)
        assert snapshot.run.pid == dfk.pid != first.pid
        assert work(log, 30).result(30) == 30
        until(lambda: finished() == 31)
        assert began() == before


def test_all_that_waits_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    """Pending calls, joins, threads, futures of others, followers, parts of values, and calls made meanwhile."""
    gate = tmp_path / "gate"
    config = parslab.Config(
        executors=[LowLatencyExecutor(workers=2), ThreadPoolExecutor(max_threads=2)], run_dir=sandbox.runs
    )
    calls: list[int] = []
    add, wait_for, large = (python_app(f, executors=["llex"]) for f in (total, stay_until, zeros))

    @join_app
    def joined() -> list[AppFuture]:
        calls.append(0)
        return [held, add(5)]

    @python_app(executors=["threads"])
    def here(value: object) -> object:
        calls.append(1)
        gate_here.wait(20)
        return value

    @python_app(executors=["threads"])
    def later(value: object) -> object:
        calls.append(2)
        return value

    gate_here = threading.Event()
    foreign: Future[int] = Future()
    with parslab.load(config) as dfk:
        try:
            held = wait_for(gate)
            done = add(1, 2)
            big = large(3_000_000)
            join, thread, after = joined(), here(7), later(held)
            waiting = add(done, foreign, here(1))
            part = add(done)
            until(lambda: calls.count(0) == 1 and calls.count(1) == 2)
            until(lambda: big.done() and done.done())
            before = kill(dfk)
            more = [add(number, done) for number in range(100)]
            gate.touch()
            gate_here.set()
            foreign.set_result(10)
            assert [future.result(20) for future in more] == [number + 3 for number in range(100)]
            assert held.result(20) == "gate"
            assert join.result(20) == ["gate", 5]
            assert thread.result(20) == 7
            assert after.result(20) == "gate"
            assert waiting.result(20) == 14
            assert part.result(20) == 3
            assert len(big.result(20)) == 3_000_000
            assert sorted(calls) == [0, 1, 1, 2]
            assert dfk.pid != before
            dfk.wait_for_current_tasks()
        finally:
            gate_here.set()
            dfk.cleanup()
            parslab.clear()
    sandbox.assert_empty()


def test_a_value_that_lies_here_is_sent_to_the_next_one(sandbox: Sandbox) -> None:
    config = parslab.Config(
        executors=[LowLatencyExecutor(workers=1), ThreadPoolExecutor(max_threads=1)], run_dir=sandbox.runs
    )

    @python_app(executors=["threads"])
    def here() -> int:
        return 4

    @python_app(executors=["llex"])
    def there(value: int) -> int:
        return value + 1

    with parslab.load(config) as dfk:
        value = here()
        assert value.result(10) == 4
        kill(dfk)
        assert there(value).result(20) == 5


def test_a_thread_that_waits_for_an_answer_gets_it(sandbox: Sandbox) -> None:
    with sandbox.load() as dfk:
        future = add(1)
        assert future.result(10) == 1
        os.kill(dfk.pid, signal.SIGSTOP)
        got: list[object] = []
        thread = threading.Thread(target=lambda: got.append(dfk.ask(panel.SnapshotRequest(subscribe=False), 20)))
        thread.start()
        until(lambda: dfk._questions._asks)
        os.kill(dfk.pid, signal.SIGKILL)
        thread.join(20)
        assert isinstance(got[0], panel.Snapshot)


def test_guests_come_back(sandbox: Sandbox, tmp_path: Path) -> None:
    guest = """
        dfk = parslab.attach()
        @python_app
        def double(x): return 2 * x
        assert double(1).result(10) == 2
        emit(run=dfk.run)
        gate = os.path.join(RUNS, "gate")
        while not os.path.exists(gate): time.sleep(0.01)
        emit(value=double(4).result(20), unfinished=dfk.unfinished)
        dfk.cleanup()
    """
    with sandbox.load() as dfk:
        with sandbox.script(guest) as script:
            assert script.read_json()["run"] == dfk.run
            kill(dfk)
            (sandbox.runs / "gate").touch()
            assert script.read_json(30)["value"] == 8
            script.wait()
        assert add(1).result(20) == 1


def test_one_process_is_lost_once(sandbox: Sandbox) -> None:
    """A guest that connected to the dying process counted each connection: three of them, and it gave the run up."""
    with sandbox.load() as dfk:
        guest = attached(live_run(dfk.run), NotebookPlace(""))
        try:
            for number in range(5):
                stream = guest._link._stream
                stream.sock.shutdown(socket.SHUT_RDWR)
                until(lambda stream=stream: guest._link._stream is not stream or guest.state.ended, 20)  # type: ignore[misc]
                assert python_app(total, data_flow_kernel=guest)(number, 1).result(20) == number + 1
        finally:
            guest.cleanup()
        assert add(1).result(20) == 1
        assert dfk.state.ended is None


def test_killed_again_and_again_it_is_given_up(sandbox: Sandbox) -> None:
    with sandbox.load() as dfk:
        future = add(1)
        assert future.result(10) == 1
        for _ in range(2):
            kill(dfk)
            assert add(2).result(20) == 2
        last = wait_for_ever()
        until(last.running)
        with within(10):
            kill(dfk)
            error = error_of(last, 10)
        assert isinstance(error, DataFlowKernelLost)
        assert "was killed by SIGKILL, for the third time within a minute" in str(error)
    sandbox.assert_empty()


@python_app
def wait_for_ever() -> None:
    time.sleep(600)


def test_without_its_record_it_is_not_started_again(sandbox: Sandbox) -> None:
    with sandbox.load() as dfk:
        future = wait_for_ever()
        until(future.running)
        (log_folder(dfk.run_dir) / "incomplete").touch()
        kill(dfk)
        assert isinstance(error_of(future, 5), DataFlowKernelLost)


def test_a_record_that_was_damaged_costs_what_it_held(sandbox: Sandbox, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with sandbox.load() as dfk:
        first = wait_for(gate)
        until(first.running)
        os.kill(dfk.pid, signal.SIGSTOP)
        (segment,) = log_folder(dfk.run_dir).glob("*.log")
        content = segment.read_bytes()
        segment.write_bytes(content[: len(content) // 2] + b"\0" * 20 + content[len(content) // 2 + 20 :])
        kill(dfk)
        gate.touch()
        assert add(1).result(20) == 1
        error = error_of(first, 20) if first.exception(20) else None
        assert error is None or "CallLost" in str(error)
        assert any("of its event log could not be read" in text for text in notices(dfk))


def test_tasks_of_blocks_go_on_where_they_are(sandbox: Sandbox, tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    config = parslab.Config(executors=[executor(1, workers=2)], run_dir=sandbox.runs, strategy_period=0.2)

    @python_app
    def stay(path: Path, log: Path) -> str:
        with log.open("ab", 0) as file:
            file.write(b"1\n")
        while not path.exists():
            time.sleep(0.01)
        return path.name

    with parslab.load(config) as dfk:
        try:
            assert add(1).result(30) == 1
            blocks = [(row.block, row.job) for row in dfk.blocks()]
            going = stay(gate, log)
            until(lambda: log.exists() and written(dfk, going))
            more = [add(number) for number in range(100)]
            kill(dfk)
            gate.touch()
            assert going.result(30) == "gate"
            assert [future.result(30) for future in more] == list(range(100))
            assert log.read_text() == "1\n"
            assert [(row.block, row.job) for row in dfk.blocks() if row.state == "running"] == blocks
        finally:
            dfk.cleanup()
            parslab.clear()
    sandbox.assert_empty()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_however_it_was_killed(sandbox: Sandbox, number: signal.Signals) -> None:
    with sandbox.load() as dfk:
        future = add(1)
        assert future.result(10) == 1
        kill(dfk, number)
        assert add(future, 2).result(20) == 3
        assert any(f"was killed by {number.name}" in text for text in notices(dfk))
