"""Which processes of a run are killed when its DataFlowKernel starts again: those whose manager or pool is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from parslab.cleanup.dead_runs import end_processes
from parslab.remote.pool.control_group import worker_mark

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = f"lost-{os.getpid()}"
WORKER = """
    import os, subprocess, sys
    from parslab.remote.pool.control_group import worker_mark

    worker = subprocess.Popen(
        ["sleep", "600"], env=os.environ | {"PARSLAB_RUN": sys.argv[1], "PARSLAB_WORKER_OF": worker_mark("w-0")}
    )
    print(flush=True)
    print(worker.wait(10) if sys.stdin.read() else worker.poll(), flush=True)
    worker.kill()
    worker.wait()
"""


def manager(*prefix: str) -> subprocess.Popen[str]:
    """Start a process that has a worker, and reports how it ended when its input is closed; wait for the worker."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", textwrap.dedent(WORKER), RUN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if not process.stdout.readline():
        _, error = process.communicate()
        pytest.skip(f"no namespace can be made here: {error}")
    return process


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    gone = subprocess.Popen(["true"])
    gone.wait()
    mark = worker_mark("w-1").replace(str(os.getpid()), str(gone.pid), 1)
    with subprocess.Popen(["sleep", "600"], env={"PARSLAB_RUN": RUN, "PARSLAB_WORKER_OF": mark}) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    "prefix", [(), ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")], ids=["this host", "a container"]
)
def test_a_worker_whose_manager_lives_is_spared(prefix: tuple[str, ...], orphan: subprocess.Popen[bytes]) -> None:
    """A container on this host counts its processes anew: one restart in six killed the workers of virtual nodes."""
    with manager(*prefix) as process:
        end_processes(RUN, lost=True)
        assert orphan.wait(10) < 0
        assert process.communicate()[0] == "None\n"


def test_the_end_of_a_run_spares_none(orphan: subprocess.Popen[bytes]) -> None:
    with manager() as process:
        end_processes(RUN)
        assert orphan.wait(10) < 0
        assert process.communicate("wait")[0] == "-9\n"
