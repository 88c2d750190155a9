"""A notebook of another host: it reaches Slurm by ssh only, and the nodes reach it only through the login host."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import SSH, File, python_app
from parslab.launchers import SrunLauncher
from tests.process.sandbox import until
from tests.process.test_ssh_channel import clients, kept, nothing_left_on_host
from tests.schedulers.runs.cluster import htex, loaded, no_jobs, slurm_jobs, slurm_provider, wait_blocks
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process.sandbox import Sandbox
    from tests.schedulers.conftest import Scheduler

pytestmark = pytest.mark.usefixtures("nodes")
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[SSHServer]:
    with SSHServer.ready() as server, server.listening():
        yield server


@pytest.fixture
def channel(slurm: Scheduler, server: SSHServer, monkeypatch: pytest.MonkeyPatch) -> SSH:
    """A login host with Slurm, which this process does not have."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in slurm.variables.items()]
    return SSH("far", ssh_options=server.options, init="\n".join(lines), route="relay")


def executor(channel: SSH, **options: Any) -> parslab.HighThroughputExecutor:
    provider = slurm_provider(channel=channel, launcher=SrunLauncher(), **{"init_blocks": 1, **options})
    return htex(provider, python=sys.executable, heartbeat_threshold=120)


@python_app
def where(path: str = "", seconds: float = 0.0) -> str:
    import socket
    import time

    if path:
        with open(path, "a"):
            time.sleep(seconds)
    return socket.gethostname()


def test_blocks_of_several_nodes_and_their_files(
    channel: SSH, server: SSHServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    @python_app
    def double(inputs: Any = (), outputs: Any = ()) -> int:
        with open(inputs[0]) as source, open(outputs[0], "w") as target:
            return target.write(source.read() * 2)

    (tmp_path / "given").write_text("word ")
    with loaded(sandbox, executor(channel, nodes_per_block=2, worker_init="echo hello from init")) as dfk:
        wait_blocks(dfk, 1, seconds=PATIENCE)
        task = double(inputs=[File(tmp_path / "given")], outputs=[File(tmp_path / "made")])
        assert task.result(PATIENCE) == 10
        assert (tmp_path / "made").read_text() == "word word "
        hosts = {future.result(PATIENCE) for future in [where() for _ in range(100)]}
        assert hosts <= {"n1", "n2", "n3", "n4"}
        output = Path(dfk.run_dir, "blocks", "htex-0.stdout")
        until(lambda: output.exists() and "hello from init" in output.read_text(), PATIENCE, "the output of the block")
        assert len(clients(server)) == 1
    no_jobs()
    nothing_left_on_host(server)
    assert kept(server) == []


def test_an_ssh_that_dies_loses_no_task(channel: SSH, server: SSHServer, sandbox: Sandbox, tmp_path: Path) -> None:
    with loaded(sandbox, executor(channel)) as dfk:
        tasks = [where(str(tmp_path / f"begun-{number}"), 0.2) for number in range(20)]
        tasks[0].result(PATIENCE)
        for ssh in clients(server):
            os.kill(ssh, signal.SIGKILL)
        assert {task.result(PATIENCE) for task in tasks} <= {"n1", "n2", "n3", "n4"}
        assert len(slurm_jobs(dfk.run)) == 1
        assert [block.block for block in wait_blocks(dfk, 1)] == ["0"]
    no_jobs()
    nothing_left_on_host(server)


def test_a_job_that_slurm_refuses_is_explained(channel: SSH, server: SSHServer, sandbox: Sandbox) -> None:
    with loaded(sandbox, executor(channel, partition="nowhere")):
        error = where().exception(PATIENCE)
        assert error is not None
        assert "invalid partition specified: nowhere" in str(error)
    nothing_left_on_host(server)
