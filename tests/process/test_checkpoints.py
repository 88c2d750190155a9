"""Results outlive their runs: real kernels share a checkpoint, are killed at any moment, begin with what is there."""

from __future__ import annotations

import os
import random
import signal
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import Config, LowLatencyExecutor, get_all_checkpoints, get_last_checkpoint, join_app, python_app
from parslab.client.process.connection_file import find_runs
from parslab.errors import ConfigurationError
from parslab.records.panel import Snapshot, SnapshotRequest
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import AppFuture, DataFlowKernel
    from tests.process.sandbox import Sandbox, Script

cloudpickle.register_pickle_by_value(sys.modules[__name__])

DONE, REMEMBERED = TaskState.exec_done, TaskState.memo_done


@python_app(cache=True)
def double(x: int) -> int:
    return 2 * x


@python_app(cache=True)
def large(x: int) -> bytes:
    return bytes([x]) * 300_000


@join_app(cache=True)
def doubles(n: int) -> list[AppFuture]:
    return [double(i) for i in range(n)]


class Runs:
    """One run after the other in one run directory."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def load(self, **options: Any) -> DataFlowKernel:
        return parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=self.sandbox.runs, **options))


@pytest.fixture
def runs(sandbox: Sandbox) -> Iterator[Runs]:
    yield Runs(sandbox)
    parslab.clear()


def notices(dfk: DataFlowKernel) -> list[str]:
    answer = dfk.ask(SnapshotRequest(subscribe=False))
    assert isinstance(answer, Snapshot)
    return [notice.text for notice in answer.notices]


def test_a_later_run_begins_with_what_was_computed(runs: Runs) -> None:
    with runs.load(checkpoint_mode="task_exit") as dfk:
        first = [double(4), double(double(4)), doubles(3), large(7)]
        values = [future.result() for future in first]
        run = dfk.run
    with runs.load(checkpoint_mode="task_exit") as dfk:
        again = [double(4), double(double(4)), doubles(3), large(7)]
        assert [future.result() for future in again] == values
        assert {future.state for future in again} == {REMEMBERED}
        assert f"run {run} had computed its result" in again[0].explain()
        assert str(runs.sandbox.runs / "000" / "checkpoint") in dfk.explain(again[3].task_id)
        assert double(5).result() == 10
    assert get_all_checkpoints(runs.sandbox.runs) == [
        str(runs.sandbox.runs / number / "checkpoint") for number in ("000", "001")
    ]
    assert get_last_checkpoint(runs.sandbox.runs) == [str(runs.sandbox.runs / "001" / "checkpoint")]


def test_without_a_mode_nothing_is_loaded_or_written_but_on_demand(runs: Runs) -> None:
    with runs.load() as dfk:
        assert [double(1).result(), double(1).state] == [2, REMEMBERED]
        folder = dfk.checkpoint()
    with runs.load():
        assert (double(1).result(), double(1).state) == (2, REMEMBERED)
        assert get_all_checkpoints(runs.sandbox.runs) == [folder]
    with runs.load(checkpoint_files=[folder]):
        assert double(1).state is REMEMBERED
    with runs.load(checkpoint_files=[folder], app_cache=False):
        future = double(1)
        assert (future.result(), future.state) == (2, DONE)
        assert "app_cache=False" in future.explain()


def test_damaged_checkpoint_and_one_of_parsl_are_reported(runs: Runs) -> None:
    with runs.load(checkpoint_mode="dfk_exit"):
        assert [double(n).result() for n in range(3)] == [0, 2, 4]
    file = runs.sandbox.runs / "000" / "checkpoint" / "results.parslab"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    (file.parent / "tasks.pkl").write_bytes(b"")
    with runs.load(checkpoint_mode="dfk_exit") as dfk:
        futures = [double(n) for n in range(3)]
        assert [future.result() for future in futures] == [0, 2, 4]
        assert [future.state for future in futures] == [REMEMBERED, REMEMBERED, DONE]
        reported = "\n".join(notices(dfk))
    assert f"The checkpoint {file} is damaged at 1 place" in reported
    assert f"{file.parent / 'tasks.pkl'}: a checkpoint of Parsl is not read" in reported


@pytest.mark.parametrize("name", ["tasks.pkl", "dfk.pkl"])
def test_a_named_checkpoint_of_parsl_is_refused(runs: Runs, name: str) -> None:
    folder = runs.sandbox.runs / "000" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"")
    for place in (folder, folder / name):
        with pytest.raises(ConfigurationError, match=f"^{place} is a checkpoint of Parsl: parslab does not read"):
            runs.load(checkpoint_files=[place])
    with pytest.raises(ConfigurationError, match="is a checkpoint of Parsl"):
        runs.load(checkpoint_dir=folder / name)
    with runs.load(checkpoint_mode="dfk_exit") as dfk:
        assert double(1).result() == 2
        assert f"{folder / name}: a checkpoint of Parsl is not read" in "\n".join(notices(dfk))


WORK = """
    @python_app(cache=True)
    def work(run, n, payload):
        return (run, n, payload)
"""

SHARING = """
    dfk = parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=RUNS, checkpoint_mode="task_exit",
                              checkpoint_files=[], checkpoint_dir={shared!r}, resume=False))
    emit(pid=dfk.pid)
    n = 0
    while os.getppid() == {parent}:
        futures = [work({which}, n + i, bytes(i * 700)) for i in range(20)]
        for future in futures:
            future.result()
            emit(done=n)
            n += 1
"""

CHECKING = """
    from parslab.records.panel import SnapshotRequest
    with parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=RUNS, checkpoint_files=[{shared!r}],
                             resume=False)) as dfk:
        for which, last in {reported!r}.items():
            futures = [work(which, n, bytes(n % 20 * 700)) for n in range(last + 1)]
            right = [future.result() == (which, n, bytes(n % 20 * 700)) for n, future in enumerate(futures)]
            emit(which=which, right=all(right), states=sorted({{str(future.state) for future in futures}}))
        emit(notices=[notice.text for notice in dfk.ask(SnapshotRequest(subscribe=False)).notices])
"""


def test_killed_kernels_that_share_a_file_lose_no_reported_result(runs: Runs, tmp_path: Path) -> None:
    """Two runs append to one file; one of them is killed again and again, its DataFlowKernel, too."""
    dice = random.Random(7)
    reported: dict[int, int] = {}

    def script(which: int) -> Script:
        return runs.sandbox.script(WORK + SHARING.format(shared=str(tmp_path), parent=os.getpid(), which=which))

    def kill(victim: Script, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        victim.signal(signal.SIGKILL)

    with script(0) as steady:
        steady_pid = steady.read_json(30)["pid"]
        for which in range(1, 6):
            with script(which) as victim:
                pid = victim.read_json(30)["pid"]
                for _ in range(dice.randrange(1, 60)):
                    reported[which] = victim.read_json(30)["done"]
                kill(victim, pid)
        reported[0] = steady.read_json(30)["done"]
        kill(steady, steady_pid)
    with runs.sandbox.script(WORK + CHECKING.format(shared=str(tmp_path), reported=reported)) as check:
        for which in reported:
            assert check.read_json(30) == {"which": which, "right": True, "states": ["memo_done"]}
        assert all("is damaged at" in text for text in check.read_json(30)["notices"])
        assert check.wait(30) == 0
    find_runs()  # buries the dead


def test_runs_that_name_one_folder_begin_with_what_is_there(runs: Runs, tmp_path: Path) -> None:
    """And add to it, whatever earlier runs of the run directory left elsewhere."""
    shared = tmp_path / "of the group" / "checkpoint"
    with runs.load(checkpoint_mode="task_exit", checkpoint_dir=shared) as dfk:
        assert double(1).result() == 2
        assert not (dfk.run_dir / "checkpoint").exists()
    with runs.load(checkpoint_dir=shared) as dfk:
        known, new = double(1), double(2)
        assert (known.result(), new.result(), known.state, new.state) == (2, 4, REMEMBERED, DONE)
        assert dfk.checkpoint() == str(shared)
        large(3).result()
    with runs.load(checkpoint_dir=shared):
        known, new = double(2), large(3)
        assert (known.result(), new.result()) == (4, bytes([3]) * 300_000)
        assert (known.state, new.state) == (REMEMBERED, DONE)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no file that is always full")
def test_a_full_disk_costs_a_notice(runs: Runs) -> None:
    with runs.load(checkpoint_mode="task_exit") as dfk:
        (dfk.run_dir / "checkpoint").mkdir()
        (dfk.run_dir / "checkpoint" / "results.parslab").symlink_to("/dev/full")
        assert [double(n).result() for n in range(10)] == [2 * n for n in range(10)]
        assert double(3).state is REMEMBERED
        reported = [text for text in notices(dfk) if "cannot be written" in text]
        with pytest.raises(parslab.errors.ParslabError, match="cannot be written"):
            dfk.checkpoint()
    assert len(reported) == 1
    assert "(No space left on device): they are in the memory of this run alone" in reported[0]
