"""Every executor of ours against the suite that all must pass."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab.records import panel
from parslab.testing.conformance.executors import ExecutorSuite, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.executors import Executor

DASK_CLUSTER = """
import sys
from distributed import LocalCluster
with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""
PACKAGE = Path(parslab.__file__).parents[1]


def workers_there(kernel: DataFlowKernel) -> list[panel.WorkerRow]:
    """The workers that have said hello."""
    answer = kernel.ask(panel.SnapshotRequest())
    assert isinstance(answer, panel.Snapshot)
    return [row for row in answer.workers if row.state in ("idle", "busy")]


def two_processes() -> concurrent.futures.Executor:
    """The executor of somebody else."""
    return concurrent.futures.ProcessPoolExecutor(2)


class TestLowLatencyExecutor(ExecutorSuite):
    """Workers of this host, over unix sockets."""

    def executor(self) -> Executor:
        return parslab.LowLatencyExecutor(workers=2)


class TestLowLatencyExecutorOverTcp(ExecutorSuite):
    """One worker of this host, and one that has joined over CurveZMQ as those of other hosts do."""

    def executor(self) -> Executor:
        return parslab.LowLatencyExecutor(workers=1, address="127.0.0.1")

    @contextlib.contextmanager
    def joined(self, kernel: DataFlowKernel) -> Iterator[subprocess.Popen[bytes]]:
        settings = kernel.run_dir / "worker-llex.json"
        assert settings.stat().st_mode & 0o777 == 0o600
        paths = [str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
        worker = subprocess.Popen(
            [sys.executable, "-m", "parslab.remote.worker", str(settings)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        try:
            eventually(lambda: len(workers_there(kernel)) == 2)
            yield worker
        finally:
            kernel.cleanup()
            worker.wait(10)

    def test_both_workers_are_used(self, kernel: DataFlowKernel) -> None:
        @parslab.python_app
        def pid(_: int) -> int:
            import os
            import time

            time.sleep(0.02)
            return os.getpid()

        futures = [pid(n) for n in range(20)]
        pids = {future.result() for future in futures}
        assert pids == {row.pid for row in workers_there(kernel)}
        assert len(pids) == 2


class TestThreadPoolExecutor(ExecutorSuite):
    """Threads of this very process."""

    by_reference = True
    interrupts = False
    captures_output = False

    def executor(self) -> Executor:
        return parslab.ThreadPoolExecutor(max_threads=4)

    def test_tasks_run_here(self, kernel: DataFlowKernel) -> None:
        @parslab.python_app
        def here() -> Any:
            import threading

            return os.getpid(), threading.current_thread().name

        pid, thread = here().result()
        assert pid == os.getpid()
        assert thread.startswith("parslab-threads-")


class TestHighThroughputExecutor(ExecutorSuite):
    """A block of this host, whose manager comes by the run's socket."""

    def executor(self) -> Executor:
        return parslab.HighThroughputExecutor(max_workers_per_node=2, provider=parslab.LocalProvider(init_blocks=1))


class TestHighThroughputExecutorOverTcp(ExecutorSuite):
    """Two blocks of one worker each, whose managers come by the run's port as those of other hosts do."""

    def executor(self) -> Executor:
        provider = parslab.LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)
        return parslab.HighThroughputExecutor(max_workers_per_node=1, provider=provider, address="127.0.0.1")


class TestPoolExecutor(ExecutorSuite):
    """A process pool of Python, which a helper process of this host keeps."""

    def executor(self) -> Executor:
        return parslab.PoolExecutor(two_processes)


class TestPoolExecutorWithThreads(ExecutorSuite):
    """A thread pool in the helper process: its tasks cannot get signals."""

    def executor(self) -> Executor:
        return parslab.PoolExecutor(lambda: concurrent.futures.ThreadPoolExecutor(2))


class TestDaskExecutor(ExecutorSuite):
    """A Dask cluster with two workers, which another process keeps for all tests."""

    address = ""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def cluster(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        environment = os.environ | {"DASK_TEMPORARY_DIRECTORY": str(tmp_path_factory.mktemp("dask"))}
        with subprocess.Popen(
            [sys.executable, "-c", DASK_CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            cls.address = process.stdout.readline().strip()
            yield
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()

    def executor(self) -> Executor:
        return parslab.DaskExecutor(self.address)
