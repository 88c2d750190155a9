"""MPI tasks on one host: side by side on cores of their own, never too many, cancelled, killed and explained.

Their managers and their DataFlowKernel are killed, too.

The ``mpiexec`` of these tests is a script that starts the ranks as processes, so that no MPI is needed.  A rank counts
how many ranks are alive while it runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

import parslab
from parslab import Config, LocalProvider, MPIExecutor, ThreadPoolExecutor, bash_app, python_app
from parslab.errors import InvalidResourceSpecification, WorkerLost
from parslab.records.panel import BlockActionRequest, CommandReply, TaskDetail, TaskDetailRequest
from tests.process.blocks import managers
from tests.process.restarted_run import RestartedRun
from tests.process.sandbox import error_of, is_gone, patience, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import AppFuture, DataFlowKernel
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])

CORES = 8
MPIEXEC = """#!/bin/sh
[ "$1" = --version ] && { echo "HYDRA build details:"; exit; }
[ "$1" = -n ] && [ "$3" = -ppn ] && [ "$5" = -hosts ] || { echo "unknown options: $*" >&2; exit 2; }
ranks=$2; shift 6
rank=0
while [ $rank -lt $ranks ]; do
    PMI_RANK=$rank "$@" &
    rank=$((rank + 1))
done
wait
"""
RANK = """#!/bin/sh
# Is alive from here on; writes how many are, then waits for the gate.
folder=$1 gate=$2
touch "$folder/alive-$$"
ls "$folder" | grep -c alive >> "$folder/counts"
until [ -e "$folder/$gate" ]; do sleep 0.02; done
rm "$folder/alive-$$"
"""


@bash_app
def ranks(folder: Path, gate: str, stdout: str | None = None, **options: Any) -> str:
    return f"echo $PARSL_MPI_PREFIX; exec $PARSL_MPI_PREFIX {folder}/rank {folder} {gate}"


@python_app
def variables(**options: Any) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("PARSL_")}


@python_app
def leaves_ranks(folder: Path, cores: int, **options: Any) -> None:
    """Start ranks, and fail while they run."""
    import subprocess
    import time

    subprocess.Popen([*os.environ["PARSL_MPI_PREFIX"].split(), f"{folder}/rank", str(folder), "never"])
    while len(list(folder.glob("alive-*"))) < cores:
        time.sleep(0.01)
    raise ValueError("the app has a fault")


@python_app
def plain() -> int:
    return os.getpid()


def asked(**keys: Any) -> dict[str, Any]:
    return {"parsl_resource_specification": keys}


@pytest.fixture
def folder(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for ranks, with the scripts; eight cores and this mpiexec are what managers find."""
    programs = sandbox.root / "bin"
    programs.mkdir()
    ranks_folder = sandbox.root / "ranks"
    ranks_folder.mkdir()
    for path, text in ((programs / "mpiexec", MPIEXEC), (ranks_folder / "rank", RANK)):
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PARSLAB_CORES", str(CORES))
    for variable in ("SLURM_JOB_NODELIST", "SLURM_NODELIST", "PBS_NODEFILE", "PE_HOSTFILE", "LSB_HOSTS"):
        monkeypatch.delenv(variable, raising=False)
    return ranks_folder


@contextlib.contextmanager
def loaded(sandbox: Sandbox, *executors: Any) -> Iterator[DataFlowKernel]:
    dfk = parslab.load(Config(executors=list(executors), run_dir=sandbox.runs))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


@pytest.fixture
def run(sandbox: Sandbox, folder: Path) -> Iterator[DataFlowKernel]:
    with loaded(sandbox, MPIExecutor(label="mpi", max_workers_per_block=4)) as dfk:
        yield dfk


def alive(folder: Path) -> list[int]:
    return [int(path.name.partition("-")[2]) for path in folder.glob("alive-*")]


def counts(folder: Path) -> list[int]:
    path = folder / "counts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def result(future: AppFuture, seconds: float = 30.0) -> Any:
    return future.result(seconds * patience())


def detail(dfk: DataFlowKernel, future: AppFuture) -> TaskDetail:
    found = dfk.ask(TaskDetailRequest("", future.task_id))
    assert isinstance(found, TaskDetail)
    return found


def test_four_tasks_of_two_ranks_run_at_once_and_no_more(run: DataFlowKernel, folder: Path) -> None:
    tasks = [ranks(folder, "open", **asked(num_ranks=2)) for _ in range(10)]
    until(lambda: len(alive(folder)) == CORES, 30, "eight ranks run")
    assert "waits for" in tasks[-1].explain()
    (folder / "open").touch()
    for task in tasks:
        assert result(task) == 0
    assert len(counts(folder)) == 20
    assert max(counts(folder)) <= CORES


def test_a_whole_node_is_not_shared(run: DataFlowKernel, folder: Path) -> None:
    small = ranks(folder, "small", **asked(num_ranks=2))
    until(lambda: len(alive(folder)) == 2, 30, "the small task runs")
    whole = ranks(folder, "whole", **asked(num_nodes=1, ranks_per_node=2))
    later = ranks(folder, "later", **asked(num_ranks=2))
    # The node is closed to the later task, which would fit, because the task before it waits for all of the node.
    until(lambda: "waits for a whole node" in whole.explain(), 20)
    assert "waits for" in later.explain()
    (folder / "small").touch()
    assert result(small) == 0
    until(lambda: len(alive(folder)) == 2, 30, "the task of a whole node runs")
    assert "waits for" in later.explain()
    (folder / "whole").touch()
    assert result(whole) == 0
    (folder / "later").touch()
    assert result(later) == 0
    assert max(counts(folder)) == 2


def test_the_prefix_and_the_nodes_of_a_task_are_shown(run: DataFlowKernel, folder: Path) -> None:
    output = folder / "out.txt"
    task = ranks(folder, "open", stdout=str(output), **asked(num_nodes=1, num_ranks=3))
    until(lambda: len(alive(folder)) == 3, 30, "its ranks run")
    (folder / "open").touch()
    assert result(task) == 0
    (prefix,) = output.read_text().splitlines()
    until(lambda: detail(run, task).launch, 20, "the store has it")
    shown = detail(run, task)
    assert shown.launch == prefix == f"mpiexec -n 3 -ppn 3 -hosts {shown.nodes}"
    assert shown.nodes == os.uname().nodename


def test_variables_belong_to_one_task(run: DataFlowKernel) -> None:
    first = result(variables(**asked(num_nodes=1, ranks_per_node=3)))
    assert [first[f"PARSL_{name}"] for name in ("NUM_NODES", "NUM_RANKS", "RANKS_PER_NODE")] == ["1", "3", "3"]
    assert first["PARSL_SRUN_PREFIX"].startswith("srun --ntasks 3 ")
    found = [result(variables(**asked(num_ranks=count))) for count in (1, 2, 3, 4, 5)]
    assert [one["PARSL_NUM_RANKS"] for one in found] == ["1", "2", "3", "4", "5"]


def test_what_never_fits_fails_at_once(run: DataFlowKernel, folder: Path) -> None:
    error = error_of(ranks(folder, "open", **asked(num_nodes=2)))
    assert isinstance(error, WorkerLost)
    assert "it asks for 2 nodes with 1 rank on a core each, and no block of executor mpi has that" in str(error)
    assert "the largest block has 1 node, the largest node 8 cores" in str(error)
    error = error_of(ranks(folder, "open", **asked(num_ranks=9)))
    assert "it asks for 9 cores of one node for 9 ranks" in str(error)


def test_a_call_without_ranks_is_refused_where_all_executors_run_mpi_tasks(run: DataFlowKernel, folder: Path) -> None:
    with pytest.raises(InvalidResourceSpecification, match="executor mpi runs MPI tasks, so a call needs a resource"):
        plain()
    with pytest.raises(InvalidResourceSpecification, match="has no key 'nodes'"):
        ranks(folder, "open", **asked(nodes=2))


def test_each_call_finds_an_executor_of_its_kind(sandbox: Sandbox, folder: Path) -> None:
    with loaded(sandbox, MPIExecutor(label="mpi"), ThreadPoolExecutor(label="threads")):
        assert {result(plain()) for _ in range(10)} == {os.getpid()}
        assert [result(variables(**asked(num_ranks=2)))["PARSL_NUM_RANKS"] for _ in range(5)] == ["2"] * 5
        with pytest.raises(InvalidResourceSpecification, match="asks for 2 ranks, and executor threads runs tasks of"):
            python_app(os.getpid, executors=["threads"])(**asked(num_ranks=2))


def test_a_cancelled_task_frees_its_node_when_its_ranks_are_gone(run: DataFlowKernel, folder: Path) -> None:
    first = ranks(folder, "never", **asked(num_nodes=1, num_ranks=8))
    until(lambda: len(alive(folder)) == 8, 30, "its ranks run")
    pids = alive(folder)
    second = variables(**asked(num_nodes=1))
    first.cancel()
    assert result(second)["PARSL_NUM_RANKS"] == "1"
    assert first.cancelled()
    assert all(is_gone(pid)() for pid in pids)


def test_the_ranks_of_a_killed_worker_end_before_its_node_is_given_to_another_task(
    run: DataFlowKernel, folder: Path
) -> None:
    first = ranks(folder, "never", **asked(num_nodes=1, num_ranks=8))
    until(lambda: len(alive(folder)) == 8, 30, "its ranks run")
    pids = alive(folder)
    worker = next(
        one for one in psutil.Process(pids[0]).parents() if "parslab.remote.worker" in " ".join(one.cmdline())
    )
    second = variables(**asked(num_nodes=1))
    os.kill(worker.pid, signal.SIGKILL)
    assert result(second)["PARSL_NUM_RANKS"] == "1"
    assert all(is_gone(pid)() for pid in pids)
    assert isinstance(error_of(first), WorkerLost)


def test_ranks_that_a_task_leaves_behind_end_before_its_node_is_given_to_another_task(
    run: DataFlowKernel, folder: Path
) -> None:
    first = leaves_ranks(folder, CORES, **asked(num_nodes=1, num_ranks=CORES))
    second = variables(**asked(num_nodes=1))
    assert "the app has a fault" in str(error_of(first, 30))
    assert result(second)["PARSL_NUM_RANKS"] == "1"
    assert all(is_gone(pid)() for pid in alive(folder))


def test_a_manager_that_is_killed_loses_its_tasks_with_their_ranks(sandbox: Sandbox, folder: Path) -> None:
    config = Config(executors=[MPIExecutor(label="mpi")], run_dir=sandbox.runs, retries=1, strategy_period=0.2)
    dfk = parslab.load(config)
    try:
        tasks = [ranks(folder, "open", **asked(num_ranks=4)) for _ in range(4)]
        until(lambda: len(alive(folder)) == CORES, 30, "eight ranks run")
        lost = alive(folder)
        (manager,) = managers(dfk.pid)
        os.kill(manager, signal.SIGKILL)
        for pid in lost:
            until(is_gone(pid), 10)
            (folder / f"alive-{pid}").unlink()
        until(lambda: len(alive(folder)) == CORES, 30, "eight ranks of the second attempts run")
        (folder / "open").touch()
        assert [result(task) for task in tasks] == [0] * 4
        assert [task.task_record["fail_count"] for task in tasks] == [1, 1, 0, 0]
    finally:
        dfk.cleanup()
        parslab.clear()


def test_the_ranks_of_a_lost_dataflowkernel_end_before_the_next_one_gives_out_their_nodes(
    sandbox: Sandbox, folder: Path
) -> None:
    lives = RestartedRun(Config(executors=[MPIExecutor(label="mpi")], run_dir=sandbox.runs, resume=False))
    try:
        app = bash_app(ranks.func, data_flow_kernel=lives.dfk)
        first = app(folder, "never", **asked(num_nodes=1, num_ranks=CORES))
        until(lambda: len(alive(folder)) == CORES, 30, "eight ranks run")
        lost = alive(folder)
        lives.kill()
        assert first.exception(10 * patience()) is not None
        lives.revive()
        second = python_app(variables.func, data_flow_kernel=lives.dfk)(**asked(num_nodes=1))
        assert result(second)["PARSL_NUM_RANKS"] == "1"
        assert all(is_gone(pid)() for pid in lost)
    finally:
        lives.end()


def test_a_block_that_is_drained_finishes_its_tasks_and_the_next_one_takes_over(sandbox: Sandbox, folder: Path) -> None:
    provider = LocalProvider(init_blocks=0, min_blocks=0, max_blocks=1)
    executor = MPIExecutor(label="mpi", provider=provider)
    config = Config(executors=[executor], run_dir=sandbox.runs, strategy_period=0.1, max_idletime=0.1)
    dfk = parslab.load(config)
    try:
        task = ranks(folder, "open", **asked(num_nodes=1, num_ranks=2))
        until(lambda: len(alive(folder)) == 2, 30, "its ranks run")
        (manager,) = managers(dfk.pid)
        assert isinstance(dfk.ask(BlockActionRequest("", "mpi", "0", "drain")), CommandReply)
        later = variables(**asked(num_ranks=1))
        (folder / "open").touch()
        assert result(task) == 0
        assert result(later)["PARSL_NUM_RANKS"] == "1"
        until(is_gone(manager), 30)
        until(lambda: not managers(dfk.pid), 30, "no block is left")
    finally:
        dfk.cleanup()
        parslab.clear()
