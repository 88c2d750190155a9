"""Large values in shared memory: whoever dies, nothing is left, and what is needed is made again."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import psutil
import pytest

import parslab
from parslab import python_app
from parslab.dataflow.persistence.postponed_files import DELAY
from parslab.executors import LowLatencyExecutor
from parslab.wire.shared_memory import shares_memory
from tests.process.panel import notices
from tests.process.sandbox import Sandbox, Script, alive, blocks_of, is_gone, until, within, workers_of
from tests.process.test_run_folders import filesystem, fill

if TYPE_CHECKING:
    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.skipif(not shares_memory, reason="this system has no sealed shared memory")

MB = 1_000_000


def _made(log: Path, size: int, number: int) -> Any:
    with log.open("ab", 0) as file:
        file.write(b"made %d\n" % number)
    return np.full(size, number, dtype=np.uint8)


def _grown(log: Path, array: Any) -> Any:
    with log.open("ab", 0) as file:
        file.write(b"grown %d\n" % array[0])
    return array + 1


def _total(array: Any) -> int:
    return int(array.sum(dtype=np.int64))


made, grown, total = python_app(_made), python_app(_grown), python_app(_total)


def kill(dfk: DataFlowKernel) -> None:
    pid = dfk.pid
    os.kill(pid, signal.SIGKILL)
    until(is_gone(pid))


def lines(log: Path) -> list[str]:
    return sorted(log.read_text().splitlines()) if log.exists() else []


# --- the DataFlowKernel is lost --------------------------------------------------------------------------------------


def test_lost_results_are_made_again_by_exactly_their_producers(sandbox: Sandbox, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with sandbox.load() as dfk:
        second = grown(log, made(log, 2 * MB, 1))
        third = grown(log, second)
        counted = total(third)
        other = made(log, 2 * MB, 50)
        unused = made(log, 2 * MB, 90)
        assert counted.result(20) == 6 * MB
        until(lambda: other.done() and unused.done())
        before = lines(log)
        assert len(before) == 5
        gc.collect()
        kill(dfk)
        with within(30):
            assert counted.result() == 6 * MB  # a small result is in the event log
            assert int(third.result()[0]) == 3
        # ``third`` needs ``second``, and that needs the first one, although nobody holds the future of the first one.
        assert lines(log) == sorted([*before, "made 1", "grown 1", "grown 2"])
        with within(30):
            assert total(other).result() == 100 * MB
        assert lines(log) == sorted([*before, "made 1", "grown 1", "grown 2", "made 50"])
        assert lines(log).count("made 90") == 1
    sandbox.assert_empty()


@pytest.mark.parametrize("wait", [False, True])
def test_arguments_of_unfinished_tasks_survive(sandbox: Sandbox, tmp_path: Path, wait: bool) -> None:
    """Whether the client still keeps them, or they are on the disk."""
    gate = tmp_path / "gate"

    @python_app
    def slow(array: Any, gate: Path) -> int:
        import time

        while not gate.exists():
            time.sleep(0.01)
        return int(array.sum(dtype=np.int64))

    with sandbox.load() as dfk:
        array = np.full(5 * MB, 3, dtype=np.uint8)
        futures = [slow(array, gate) for _ in range(3)]
        array[:] = 0
        if wait:
            values = Path(dfk.run_dir) / "event_log" / "values"
            until(lambda: len(list(values.glob("*"))) == 3, 20, "the arguments are written")
        kill(dfk)
        gate.touch()
        with within(30):
            assert [future.result() for future in futures] == [15 * MB] * 3
    sandbox.assert_empty()


def test_results_are_on_the_disk_where_the_user_asks(sandbox: Sandbox, tmp_path: Path) -> None:
    log = tmp_path / "log"
    config = parslab.Config(executors=[LowLatencyExecutor(workers=1)], run_dir=sandbox.runs, keep_large_results=True)
    with parslab.load(config) as dfk:
        future = made(log, 2 * MB, 1)
        until(future.done)
        values = Path(dfk.run_dir) / "event_log" / "values"
        until(lambda: any(path.stat().st_size >= 2 * MB for path in values.glob("*")), 20)
        kill(dfk)
        with within(30):
            assert int(future.result()[0]) == 1
        assert lines(log) == ["made 1"]
    sandbox.assert_empty()


def test_large_values_of_short_tasks_are_not_on_the_disk(sandbox: Sandbox) -> None:
    with sandbox.load() as dfk:
        total(np.ones(10)).result(60)  # a worker has started
        slow = 0
        for _ in range(10):
            begun = time.monotonic()
            future = total(np.ones(5 * MB, dtype=np.uint8))
            assert future.result() == 5 * MB
            del future
            gc.collect()
            slow += time.monotonic() - begun > DELAY / 2
        values = Path(dfk.run_dir) / "event_log" / "values"
        # Each slow moment may cost the files of its own task and of the one before.
        assert sum(path.stat().st_size for path in values.glob("*")) <= slow * 2 * 5 * MB
    sandbox.assert_empty()


# --- too much for the memory ------------------------------------------------------------------------------------------


def loaded(sandbox: Sandbox, **options: Any) -> DataFlowKernel:
    return parslab.load(parslab.Config(executors=[LowLatencyExecutor(workers=2)], run_dir=sandbox.runs, **options))


def test_values_beyond_the_limit_go_to_the_disk(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "spill"
    with loaded(sandbox, value_memory=0.03, spill_dir=str(folder)) as dfk:
        futures = [made(tmp_path / "log", 5 * MB, number) for number in range(20)]
        until(lambda: all(future.done() for future in futures))
        until(lambda: sum(blocks_of(dfk.pid).values()) <= 30 * MB, 60, "what is too much moves to the disk")
        # The files have no names, so nothing of them can be left.
        until(lambda: not list(folder.iterdir()), 60)
        sums = [total(future) for future in futures]
        assert [one.result(60) for one in sums] == [5 * MB * number for number in range(20)]
        assert [int(future.result()[-1]) for future in futures] == list(range(20))
        assert len(lines(tmp_path / "log")) == 20
    sandbox.assert_empty()


def test_a_disk_that_takes_no_values_costs_none(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with loaded(sandbox, value_memory=0.01, spill_dir=str(tmp_path / "file")) as dfk:
        futures = [made(tmp_path / "log", 5 * MB, number) for number in range(6)]
        assert [total(future).result(60) for future in futures] == [5 * MB * number for number in range(6)]
        until(lambda: any("stay in memory" in text for text in notices(dfk)), 60, "the user is warned")
        assert [int(future.result()[-1]) for future in futures] == list(range(6))
    sandbox.assert_empty()


def test_a_disk_that_is_full_costs_no_value(sandbox: Sandbox, tmp_path: Path) -> None:
    """What finds no room stays in memory, the user is warned once, and values move again when there is room."""

    def failures() -> int:
        return (Path(dfk.run_dir) / "dfk.log").read_text().count("a value cannot be moved")

    def warnings() -> list[str]:
        return [text for text in notices(dfk) if "stay in memory" in text]

    def in_memory() -> int:
        return sum(blocks_of(dfk.pid).values())

    with filesystem(tmp_path / "disk", "size=40m") as disk:
        ballast = fill(disk)
        os.truncate(ballast, ballast.stat().st_size - 7 * MB)  # one value has room, and a part of the next one
        with loaded(sandbox, value_memory=0.03, spill_dir=str(disk)) as dfk:
            futures = [made(tmp_path / "log", 5 * MB, number) for number in range(8)]
            until(lambda: all(future.done() for future in futures), 60)
            # With the seventh value there is too much: three are to move, of which one has room.
            until(lambda: failures() > 1, 60, "values find no room on the disk")
            (warning,) = until(warnings, 60)
            assert str(disk) in warning
            assert os.strerror(errno.ENOSPC) in warning
            assert [total(future).result(60) for future in futures] == [5 * MB * number for number in range(8)]
            assert in_memory() >= 7 * 5 * MB
            ballast.unlink()
            until(lambda: in_memory() <= 30 * MB, 60, "they move when there is room")
            assert [int(future.result()[-1]) for future in futures] == list(range(8))
            assert [total(future).result(60) for future in futures] == [5 * MB * number for number in range(8)]
            assert warnings() == [warning]
            assert len(lines(tmp_path / "log")) == 8
        sandbox.assert_empty()


# --- every death -----------------------------------------------------------------------------------------------------


def test_a_killed_worker_costs_no_value(sandbox: Sandbox, tmp_path: Path) -> None:
    with sandbox.load() as dfk:
        future = made(tmp_path / "log", 20 * MB, 4)
        until(future.done)
        for pid in workers_of(dfk.pid):
            os.kill(pid, signal.SIGKILL)
            until(is_gone(pid))
        assert total(future).result(20) == 80 * MB
        assert lines(tmp_path / "log") == ["made 4"]
    sandbox.assert_empty()


def is_manager(process: psutil.Process) -> bool:
    try:
        return "parslab.remote.manager" in process.cmdline()
    except psutil.Error:
        return False


def test_a_killed_manager_costs_no_value(sandbox: Sandbox, tmp_path: Path) -> None:
    provider = parslab.LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
    executor = parslab.HighThroughputExecutor(max_workers_per_node=1, provider=provider)
    with parslab.load(parslab.Config(executors=[executor], run_dir=sandbox.runs)) as dfk:
        future = made(tmp_path / "log", 20 * MB, 4)
        until(future.done, 60)
        managers = [child for child in psutil.Process(dfk.pid).children(recursive=True) if is_manager(child)]
        assert managers
        for manager in managers:
            manager.kill()
            until(is_gone(manager.pid))
        assert total(future).result(60) == 80 * MB
        assert int(future.result()[-1]) == 4
        assert lines(tmp_path / "log") == ["made 4"]
    sandbox.assert_empty()


def test_nothing_is_left_after_the_death_of_client_and_dataflowkernel(sandbox: Sandbox) -> None:
    source = """
        @python_app
        def hold(array):
            import time
            time.sleep(600)
        @python_app
        def made():
            return bytes(5_000_000)
        dfk = load(2)
        futures = [hold(bytes(5_000_000)), made()]
        while not futures[1].done(): time.sleep(0.01)
        emit(pid=dfk.pid)
        time.sleep(600)
    """
    shm = set(os.listdir("/dev/shm"))
    with Script(sandbox, source) as script:
        pid = script.read_json(30)["pid"]
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        assert blocks_of(pid)
        for one in (pid, script.popen.pid):
            os.kill(one, signal.SIGKILL)
        script.popen.wait()
        until(lambda: not any(map(alive, (process.pid for process in processes))), 20, "the whole run ends")
    assert set(os.listdir("/dev/shm")) <= shm
    sandbox.assert_empty()
