"""Runs whose tasks run on a Dask cluster of their own: lost workers, resources, and what is left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import DaskExecutor, python_app
from parslab.errors import WorkerLost
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, is_gone, patience, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import DataFlowKernel

pytestmark = pytest.mark.timeout(300)  # a cluster takes seconds to start, and each of its workers again
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@contextlib.contextmanager
def dask_run(sandbox: Sandbox, retries: int = 0, allowed_failures: int = 3) -> Iterator[DataFlowKernel]:
    environment = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures)}
    executor = DaskExecutor(workers=2, environment=environment)
    dfk = parslab.load(parslab.Config(executors=[executor], run_dir=sandbox.runs, retries=retries))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


def result(future: Any) -> Any:
    return future.result(120 * patience())


@python_app
def pid_here() -> int:
    return os.getpid()


@python_app(retries=0)
def die() -> None:
    os._exit(9)


def die_once(mark: str) -> str:
    if not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(9)
    return "the second time"


def test_a_task_that_dask_gives_up_is_lost(sandbox: Sandbox, tmp_path: Path) -> None:
    # Dask may count a death also for the next call, while it starts the worker again.
    with dask_run(sandbox, retries=5, allowed_failures=0) as dfk:
        until(lambda: any("has a dashboard: http" in notice.text for notice in picture(dfk).notices), 120)
        error = die().exception(120 * patience())
        assert type(error) is WorkerLost
        assert "KilledWorker" in str(error)
        assert result(python_app(die_once)(str(tmp_path / "mark"))) == "the second time"
        pid = result(pid_here())
    until(is_gone(pid), 30)


def test_a_task_that_dask_runs_again_is_not_lost(sandbox: Sandbox, tmp_path: Path) -> None:
    with dask_run(sandbox):
        assert result(python_app(die_once)(str(tmp_path / "mark"))) == "the second time"


def test_what_no_worker_has_is_refused(sandbox: Sandbox) -> None:
    @python_app
    def asks(parsl_resource_specification: Any = None) -> int:
        return 1

    with dask_run(sandbox):
        assert result(asks(parsl_resource_specification={"cores": 2, "priority": 1})) == 1
        error = asks(parsl_resource_specification={"gpus": 1}).exception(120 * patience())
        assert isinstance(error, WorkerLost)
        assert "0 accelerators" in str(error)


def test_nobody_answers_at_the_address() -> None:
    # Not here: Dask starts threads when it is imported.
    source = """
from parslab.errors import ConfigurationError
from parslab.remote.engines import dask
dask._PATIENCE = 0.5
try:
    dask.dask_calls("tcp://127.0.0.1:1", None)
except ConfigurationError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=120).stdout
    assert out.startswith("no Dask scheduler answers at tcp://127.0.0.1:1: ")
