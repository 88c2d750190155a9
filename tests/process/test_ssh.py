"""Runs on hosts that are reached by ssh: what managers say goes through the ssh that started them."""

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
from parslab import File, python_app
from parslab.errors import ManagerLost
from tests.process.panel import notices, picture
from tests.process.restarted_run import RestartedRun
from tests.process.sandbox import until
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import DataFlowKernel
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE = 60.0
pytestmark = pytest.mark.timeout(180)  # each test waits for logins of a real ssh


@pytest.fixture(scope="module")
def server() -> Iterator[SSHServer]:
    with SSHServer.ready() as server:
        yield server


def config(server: SSHServer, sandbox: Sandbox, retries: int = 0, **options: Any) -> parslab.Config:
    """One block at a time, on one host."""
    provider = parslab.SSHProvider(
        **{"hosts": ["here"], "ssh_options": server.options, "tunnel": "always", "init_blocks": 1, **options}
    )
    executor = parslab.HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=1)
    return parslab.Config(executors=[executor], run_dir=sandbox.runs, retries=retries, strategy_period=0.2)


@contextlib.contextmanager
def ssh_run(server: SSHServer, sandbox: Sandbox, **options: Any) -> Iterator[DataFlowKernel]:
    """A run on a host, of which nothing may be left there."""
    dfk = parslab.load(config(server, sandbox, **options))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()
        until(lambda: not server.processes() and not server.files(), PATIENCE, "the end of all on the host")


def process() -> int:
    import os

    return os.getpid()


def mark(path: str, seconds: float) -> int:
    """Say that the task runs, and stay a while the first time."""
    import os
    import time

    first = not os.path.exists(path)
    with open(path, "a"):
        time.sleep(seconds if first else 0)
    return os.getpid()


def test_tasks_and_their_files_go_through_ssh(server: SSHServer, sandbox: Sandbox, tmp_path: Path) -> None:
    @python_app
    def double(inputs: Any = (), outputs: Any = ()) -> int:
        with open(inputs[0]) as source, open(outputs[0], "w") as target:
            return target.write(source.read() * 2)

    (tmp_path / "given").write_text("word ")
    with ssh_run(server, sandbox) as dfk:
        task = double(inputs=[File(tmp_path / "given")], outputs=[File(tmp_path / "made")])
        assert task.result(PATIENCE) == 10
        assert (tmp_path / "made").read_text() == "word word "
        assert python_app(process)().result(PATIENCE) in server.processes()
        (port,) = {
            (connection.laddr.ip, connection.laddr.port)
            for connection in psutil.Process(dfk.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert port[0] == "127.0.0.1"


def test_a_host_that_allows_no_tunnel_is_reached_directly(server: SSHServer, sandbox: Sandbox) -> None:
    with ssh_run(server, sandbox, hosts=["closed"], tunnel="auto"):
        assert python_app(process)().result(PATIENCE) in server.processes()


def test_an_ssh_that_dies_costs_an_attempt_and_ends_its_manager(
    server: SSHServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    with ssh_run(server, sandbox, retries=1):
        path = tmp_path / "begun"
        task = python_app(mark)(str(path), 600)
        until(path.exists, PATIENCE, "the task")
        before = set(server.processes())
        (ssh,) = clients(server)
        os.kill(ssh, signal.SIGKILL)
        assert task.result(PATIENCE) not in before
        until(lambda: not before & set(server.processes()), PATIENCE, "the end of the first manager")


def test_a_manager_that_is_killed_leaves_no_file_on_its_host(
    server: SSHServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "given").write_text("word " * 1000)
    path = tmp_path / "begun"

    @python_app
    def keep(path: str, inputs: Any = ()) -> None:
        import time

        with open(inputs[0]), open(path, "w"):
            time.sleep(600)

    with ssh_run(server, sandbox) as dfk:
        task = keep(str(path), inputs=[File(tmp_path / "given")])
        until(path.exists, PATIENCE, "the task")
        assert server.files()
        (manager,) = [row.pid for row in picture(dfk).managers]
        os.kill(manager, signal.SIGKILL)
        assert isinstance(task.exception(PATIENCE), ManagerLost)


def clients(server: SSHServer) -> list[int]:
    """The processes of ssh."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words[:1] == ["ssh"] and str(server.config) in words:
                found.append(process.pid)
    return found


def test_a_link_that_stands_still_loses_no_task(server: SSHServer, sandbox: Sandbox, tmp_path: Path) -> None:
    """As a link that is cut: nobody closes a connection, and nothing arrives."""
    with ssh_run(server, sandbox) as dfk:
        path = tmp_path / "begun"
        task = python_app(mark)(str(path), 2)
        until(path.exists, PATIENCE, "the task")
        (ssh,) = clients(server)
        os.kill(ssh, signal.SIGSTOP)
        try:
            # The task ends meanwhile, and nobody hears of it.
            with pytest.raises(TimeoutError):
                task.result(4)
        finally:
            os.kill(ssh, signal.SIGCONT)
        assert task.result(PATIENCE) in server.processes()
        assert [row.state for row in picture(dfk).managers] == ["ready"]


def test_the_next_dataflowkernel_takes_the_block_over(server: SSHServer, sandbox: Sandbox) -> None:
    run = RestartedRun(config(server, sandbox))
    try:
        assert python_app(process, data_flow_kernel=run.dfk)().result(PATIENCE) in server.processes()
        (manager,) = [row.pid for row in picture(run.dfk).managers]
        run.kill()
        run.revive()
        assert python_app(process, data_flow_kernel=run.dfk)().result(PATIENCE) in server.processes()
        assert [row.pid for row in picture(run.dfk).managers if row.state == "ready"] == [manager]
        assert [block.block for block in picture(run.dfk).blocks] == ["0"]
    finally:
        run.end()
    until(lambda: not server.processes(), PATIENCE, "the end of all on the host")


def test_nothing_is_left_of_a_run_that_was_killed(server: SSHServer, sandbox: Sandbox) -> None:
    run = RestartedRun(config(server, sandbox))
    try:
        assert python_app(process, data_flow_kernel=run.dfk)().result(PATIENCE) in server.processes()
        run.kill()
        run.bury()
        until(lambda: not server.processes(), PATIENCE, "the end of all on the host")
    finally:
        run.end()


def test_a_login_that_fails_is_a_notice_that_says_what_to_do(server: SSHServer, sandbox: Sandbox) -> None:
    with ssh_run(server, sandbox, hosts=["stranger"]) as dfk:
        sentence = until(lambda: [text for text in notices(dfk) if "Block 0" in text], PATIENCE, "the notice")[0]
        assert "could not start: exit status 5: its output: parslab: stranger refuses the login (" in sentence
        assert "load a key with ssh-add" in sentence
        assert sentence.endswith("and load again.")
