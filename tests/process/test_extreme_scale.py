"""What becomes of the extreme-scale executor when ranks, workers, tasks or its DataFlowKernel die or hang.

Real MPI jobs on blocks of this host, with Open MPI and MPICH.  Every task ends once, and no rank is left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

import parslab
from parslab import Config, ExtremeScaleExecutor, LocalProvider, bash_app, python_app
from parslab.errors import AppTimeout, BadStateException, ManagerLost, WorkerLost
from parslab.remote.mpi.pool import HEARTBEAT, SILENCE
from tests.mpi_programs import KINDS, mpi_lines
from tests.process.blocks import Ends, managers_here, written
from tests.process.sandbox import alive, error_of, is_gone, patience, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import AppFuture, DataFlowKernel
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.timeout(240)
ONE_MPI = pytest.mark.parametrize("lines", ["mpich"], indirect=True)
"""For what does not depend on the implementation of MPI."""
SEEN = 10.0
"""Seconds within which the loss of a rank must be seen."""


@python_app
def plus(x: int) -> int:
    return x + 1


@python_app
def where() -> tuple[int, int, str]:
    """Return this process, the rank process that owns it, and its pool."""
    return os.getpid(), os.getppid(), os.environ["PARSLAB_WORKER_POOL_ID"]


@python_app
def begins(folder: Path, gate: str = "gate", **options: Any) -> int:
    """Say who runs this, then wait for the gate."""
    (folder / f"begun-{os.getpid()}").write_text(str(os.getppid()))
    while not (folder / gate).exists():
        time.sleep(0.01)
    return os.getpid()


@python_app
def stubborn(folder: Path, **options: Any) -> None:
    """Ignore every request to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f"begun-{os.getpid()}").write_text(str(os.getppid()))
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60)


@python_app
def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.fixture(params=KINDS)
def lines(request: pytest.FixtureRequest, sandbox: Sandbox) -> str:
    """Shell text that makes an MPI the one of a block."""
    return mpi_lines(request.param, sandbox.root / "mpi")


@contextlib.contextmanager
def pools(sandbox: Sandbox, lines: str, retries: int = 0, blocks: int = 1, **options: Any) -> Iterator[DataFlowKernel]:
    """A run with blocks of one MPI job each, of two workers if nothing else is said."""
    provider = LocalProvider(worker_init=lines, init_blocks=blocks, min_blocks=blocks, max_blocks=blocks)
    executor = ExtremeScaleExecutor(label="exex", provider=provider, **{"ranks_per_node": 3, **options})
    dfk = parslab.load(Config(executors=[executor], run_dir=sandbox.runs, retries=retries, strategy_period=0.2))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


def result(future: AppFuture, seconds: float = 30.0) -> Any:
    return future.result(seconds * patience())


def ranks(dfk: DataFlowKernel) -> list[int]:
    """All rank processes below the DataFlowKernel process."""
    found = []
    for process in psutil.Process(dfk.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:3] == ["-m", "parslab.remote.mpi"] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def begun(folder: Path) -> dict[int, int]:
    """The workers that have begun a task, and their ranks."""
    found = {}
    for path in folder.glob("begun-*"):
        text = path.read_text()
        if text:
            found[int(path.name.partition("-")[2])] = int(text)
    return found


# --- ranks ----------------------------------------------------------------------------------------------------------


def test_a_rank_that_is_killed_ends_its_pool_and_the_tasks_run_elsewhere(
    sandbox: Sandbox, lines: str, tmp_path: Path
) -> None:
    ends = Ends()
    with pools(sandbox, lines, retries=1) as dfk:
        result(plus(0))
        before = ranks(dfk)
        assert len(before) == 3
        tasks = [ends.watch(begins(tmp_path)) for _ in range(4)]
        (_, rank), *_ = until(lambda: len(found := begun(tmp_path)) == 2 and list(found.items()), 30)
        os.kill(rank, signal.SIGKILL)
        for pid in before:
            until(is_gone(pid), SEEN)
        until(lambda: len(begun(tmp_path)) == 4, 60, "another block has begun the tasks again")
        (tmp_path / "gate").touch()
        assert {result(task) in begun(tmp_path) for task in tasks} == {True}
        ends.must_be_one_each(dfk)


def test_the_error_of_a_lost_rank_says_what_has_happened(sandbox: Sandbox, lines: str, tmp_path: Path) -> None:
    with pools(sandbox, lines) as dfk:
        task = begins(tmp_path)
        ((_, rank),) = until(lambda: begun(tmp_path).items(), 30)
        os.kill(rank, signal.SIGKILL)
        error = error_of(task, SEEN)
        assert isinstance(error, ManagerLost)
        assert "the stderr of its block says which" in str(error)

        def stderr() -> str:
            return "".join(path.read_text() for path in (dfk.run_dir / "blocks").glob("*.stderr"))

        until(lambda: "signal 9" in stderr() or f"PID {rank} " in stderr(), 20, stderr())
        assert result(plus(1), 60) == 2


def test_a_rank_that_hangs_is_named_and_ends_its_pool(sandbox: Sandbox, lines: str, tmp_path: Path) -> None:
    with pools(sandbox, lines) as dfk:
        task = begins(tmp_path)
        ((_, rank),) = until(lambda: begun(tmp_path).items(), 30)
        before = ranks(dfk)
        os.kill(rank, signal.SIGSTOP)
        error = error_of(task, SEEN)
        assert isinstance(error, ManagerLost)
        assert f"process {rank}) was silent for" in str(error)
        assert "rank" in str(error)
        for pid in before:
            until(is_gone(pid), 10)
        assert result(plus(1), 60) == 2
    assert HEARTBEAT + SILENCE < SEEN


def test_rank_0_takes_all_others_with_it(sandbox: Sandbox, lines: str, tmp_path: Path) -> None:
    with pools(sandbox, lines, retries=1) as dfk:
        task = begins(tmp_path)
        until(lambda: begun(tmp_path), 30)
        before = ranks(dfk)
        rank_0 = next(pid for pid in before if not psutil.Process(pid).children())
        worker = next(iter(begun(tmp_path)))
        os.kill(rank_0, signal.SIGKILL)
        for pid in (*before, worker):
            until(is_gone(pid), SEEN)
        (tmp_path / "gate").touch()
        assert result(task, 60) != worker


@ONE_MPI
def test_each_pool_of_a_block_ends_for_itself(sandbox: Sandbox, lines: str, tmp_path: Path) -> None:
    with pools(sandbox, lines, retries=1, ranks_per_node=4, pools_per_block=2) as dfk:
        until(lambda: len({result(task)[2] for task in [where() for _ in range(20)]}) == 2, 30, "both pools work")
        before = ranks(dfk)
        tasks = [begins(tmp_path) for _ in range(2)]
        workers = until(lambda: len(found := begun(tmp_path)) == 2 and found, 30)
        lost, kept = workers.values()
        os.kill(lost, signal.SIGKILL)
        until(lambda: sum(map(alive, before)) == 2, SEEN)
        assert alive(kept)
        (tmp_path / "gate").touch()
        assert {result(task) for task in tasks} <= set(begun(tmp_path))


# --- tasks and workers ----------------------------------------------------------------------------------------------


def test_a_crash_and_a_stubborn_task_cost_one_worker_each(sandbox: Sandbox, lines: str, tmp_path: Path) -> None:
    with pools(sandbox, lines) as dfk:
        result(plus(0))
        before = ranks(dfk)
        hangs = stubborn(tmp_path)
        ((worker, _),) = until(lambda: begun(tmp_path).items(), 30)
        error = error_of(crashes(), 30)
        assert isinstance(error, WorkerLost)
        assert "was killed by SIGSEGV" in str(error)
        assert hangs.cancel()
        until(is_gone(worker), 10)
        assert [result(plus(n)) for n in range(20)] == list(range(1, 21))
        assert ranks(dfk) == before
        again = stubborn(tmp_path)
        until(lambda: len(begun(tmp_path)) == 2, 30)
    assert again.cancelled() or again.exception() is not None
    for pid in (*before, *begun(tmp_path)):
        until(is_gone(pid), SEEN)


@ONE_MPI
def test_a_task_that_runs_too_long_is_stopped(sandbox: Sandbox, lines: str, tmp_path: Path) -> None:
    with pools(sandbox, lines) as dfk:
        result(plus(0))
        before = ranks(dfk)
        tasks = [begins(tmp_path, walltime=1), stubborn(tmp_path, walltime=1)]
        assert [type(error_of(task, 30)) for task in tasks] == [AppTimeout, AppTimeout]
        assert result(plus(1)) == 2
        assert ranks(dfk) == before


def test_tasks_know_nothing_of_the_job_and_can_run_mpi_programs(sandbox: Sandbox, lines: str, tmp_path: Path) -> None:
    @bash_app
    def program(stdout: str, stderr: str) -> str:
        code = "from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1), flush=True)"
        python = f"{sys.executable} -c '{code}'"
        return f"{python} && mpiexec -n 2 {python}"

    with pools(sandbox, lines):
        out, err = tmp_path / "out", tmp_path / "err"
        error = program(stdout=str(out), stderr=str(err)).exception(30 * patience())
        assert error is None, f"{error}: {err.read_text()}"
        # Both ranks of the second program write at the same time.
        assert "".join(out.read_text().split()) == "122"


# --- the run --------------------------------------------------------------------------------------------------------


def test_a_pool_goes_on_when_its_run_is_killed(sandbox: Sandbox, lines: str, tmp_path: Path) -> None:
    with pools(sandbox, lines) as dfk:
        task = begins(tmp_path)
        ((worker, _),) = until(lambda: begun(tmp_path).items(), 30)
        until(lambda: written(dfk, task))
        before, killed = ranks(dfk), dfk.pid
        os.kill(killed, signal.SIGKILL)
        until(is_gone(killed))
        until(lambda: managers_here(dfk), 30)
        (tmp_path / "gate").touch()
        assert result(task) == worker
        assert result(plus(1)) == 2
        assert all(map(alive, before))
    for pid in (*before, worker):
        until(is_gone(pid), SEEN)


@ONE_MPI
def test_ranks_that_are_no_world_say_why(sandbox: Sandbox, lines: str) -> None:
    """The usual fault: mpi4py was made for another MPI than that of ``mpiexec``."""
    with pools(sandbox, f'{lines}\nmpiexec() {{ bash -c "${{@: -1}}"; }}'):
        error = error_of(plus(1), 60)
    assert isinstance(error, BadStateException)
    assert "the only rank of its MPI job" in str(error)


@ONE_MPI
def test_nodes_without_mpi4py_say_what_to_install(sandbox: Sandbox, lines: str) -> None:
    hidden = sandbox.root / "hidden"
    (hidden / "mpi4py").mkdir(parents=True)
    (hidden / "mpi4py" / "__init__.py").write_text("raise ImportError('hidden by a test')\n")
    with pools(sandbox, f"{lines}\nexport PYTHONPATH={hidden}"):
        error = error_of(plus(1), 60)
    assert isinstance(error, BadStateException)
    assert "mpi4py is not installed: pip install 'parslab[mpi]'" in str(error)
