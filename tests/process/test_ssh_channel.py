"""Runs whose blocks are jobs of a scheduler that only a login host reaches: everything goes through one ssh."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

import parslab
from parslab import File, python_app
from tests.process.panel import notices, picture
from tests.process.restarted_run import RestartedRun
from tests.process.sandbox import until
from tests.ssh.queue import Queue
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import SSH, DataFlowKernel
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE = 60.0
pytestmark = pytest.mark.timeout(240)  # each test waits for logins of a real ssh, and some for the silence of a link


@pytest.fixture(scope="module")
def server() -> Iterator[SSHServer]:
    with SSHServer.ready() as server, server.listening():
        yield server


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


def config(queue: Queue, channel: SSH, sandbox: Sandbox, retries: int = 0, **options: Any) -> parslab.Config:
    """One block at a time, of one node."""
    executor = parslab.HighThroughputExecutor(
        label="htex",
        provider=queue.provider(channel, **{"init_blocks": 1, **options}),
        max_workers_per_node=1,
        python=sys.executable,
    )
    return parslab.Config(executors=[executor], run_dir=sandbox.runs, retries=retries, strategy_period=0.2)


@contextlib.contextmanager
def channel_run(
    queue: Queue, server: SSHServer, sandbox: Sandbox, channel: SSH | None = None, **options: Any
) -> Iterator[DataFlowKernel]:
    """A run through a login host, where nothing of it may be left."""
    dfk = parslab.load(config(queue, channel or queue.channel(server), sandbox, **options))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()
        nothing_left(queue, server)


def nothing_left_on_host(server: SSHServer) -> None:
    until(lambda: not server.processes() and not server.files(), PATIENCE, "the end of all on the host")


def nothing_left(queue: Queue, server: SSHServer) -> None:
    until(lambda: not queue.jobs(), PATIENCE, "the end of all jobs")
    nothing_left_on_host(server)
    assert kept(server) == []


def kept(server: SSHServer) -> list[Path]:
    """What is left in the folders of runs on the login host."""
    return list((server.config.parent / ".parslab" / "channel").glob("*"))


def clients(server: SSHServer) -> list[int]:
    """The processes of ssh."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words[:1] == ["ssh"] and str(server.config) in words:
                found.append(process.pid)
    return found


def wait_for_another_login(server: SSHServer, before: list[int]) -> None:
    until(lambda: set(clients(server)) - set(before), PATIENCE, "another login")


def agents(server: SSHServer) -> list[int]:
    """The processes that stay on the login host; the ends of ssh lead sessions of their own."""
    found = []
    for pid, words in server.processes().items():
        with contextlib.suppress(ProcessLookupError):
            if "parslab-agent" in "".join(words[2:3]) and os.getsid(pid) != pid:
                found.append(pid)
    return found


def process() -> int:
    import os

    return os.getpid()


def mark(path: str, seconds: float) -> int:
    """Say that the task runs, and stay a while."""
    import os
    import time

    with open(path, "a"):
        time.sleep(seconds)
    return os.getpid()


def test_tasks_and_their_files_go_through_the_login_host(
    queue: Queue, server: SSHServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    @python_app
    def double(inputs: Any = (), outputs: Any = ()) -> int:
        with open(inputs[0]) as source, open(outputs[0], "w") as target:
            return target.write(source.read() * 2)

    (tmp_path / "given").write_text("word ")
    with channel_run(queue, server, sandbox, worker_init="echo hello from init") as dfk:
        task = double(inputs=[File(tmp_path / "given")], outputs=[File(tmp_path / "made")])
        assert task.result(PATIENCE) == 10
        assert (tmp_path / "made").read_text() == "word word "
        assert python_app(process)().result(PATIENCE) in server.processes()
        # One login serves all, and the run listens for this host only.
        assert len(clients(server)) == 1
        listening = {
            connection.laddr.ip
            for connection in psutil.Process(dfk.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        output = Path(dfk.run_dir, "blocks", "htex-0.stdout")
        until(lambda: output.exists() and "hello from init" in output.read_text(), PATIENCE, "the output of the block")
        assert "SBATCH" in output.with_suffix(".sh").read_text()
        (folder,) = kept(server)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "manager-htex.json").stat().st_mode & 0o777 == 0o600


def test_an_ssh_that_dies_again_and_again_loses_no_task(
    queue: Queue, server: SSHServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    with channel_run(queue, server, sandbox) as dfk:
        app = python_app(mark)
        first = app(str(tmp_path / "first"), 0).result(PATIENCE)
        for number in range(3):
            path = tmp_path / f"begun-{number}"
            task = app(str(path), 1)
            until(path.exists, PATIENCE, "the task")
            before = clients(server)
            for ssh in before:
                os.kill(ssh, signal.SIGKILL)
            # Without retries: the connection of the manager went on as if nothing had happened.
            assert task.result(PATIENCE) == first
            wait_for_another_login(server, before)
        assert [row.state for row in picture(dfk).managers] == ["ready"]
        assert [block.block for block in picture(dfk).blocks] == ["0"]


def test_a_link_that_stands_still_is_replaced(
    queue: Queue, server: SSHServer, sandbox: Sandbox, tmp_path: Path
) -> None:
    """As a laptop that was moved to another network: nobody closes the connection, and nothing arrives."""
    with channel_run(queue, server, sandbox) as dfk:
        path = tmp_path / "begun"
        task = python_app(mark)(str(path), 1)
        until(path.exists, PATIENCE, "the task")
        (ssh,) = clients(server)
        os.kill(ssh, signal.SIGSTOP)
        assert task.result(2 * PATIENCE) in server.processes()
        assert ssh not in clients(server)
        assert [row.state for row in picture(dfk).managers] == ["ready"]


def test_an_agent_that_dies_is_replaced_and_the_manager_comes_back(
    queue: Queue, server: SSHServer, sandbox: Sandbox
) -> None:
    """As on a login host that is booted, or that ends all processes of a user who logs out."""
    with channel_run(queue, server, sandbox, retries=2) as dfk:
        app = python_app(process)
        assert app().result(PATIENCE)
        (agent,) = agents(server)
        os.kill(agent, signal.SIGKILL)
        until(lambda: agents(server) and agent not in agents(server), PATIENCE, "another agent")
        assert app().result(PATIENCE) in server.processes()
        assert [block.block for block in picture(dfk).blocks] == ["0"]


def test_the_next_dataflowkernel_takes_the_block_over(queue: Queue, server: SSHServer, sandbox: Sandbox) -> None:
    run = RestartedRun(config(queue, queue.channel(server), sandbox))
    try:
        assert python_app(process, data_flow_kernel=run.dfk)().result(PATIENCE) in server.processes()
        (manager,) = [row.pid for row in picture(run.dfk).managers]
        run.kill()
        run.revive()
        assert python_app(process, data_flow_kernel=run.dfk)().result(PATIENCE) in server.processes()
        assert [row.pid for row in picture(run.dfk).managers if row.state == "ready"] == [manager]
        assert [block.block for block in picture(run.dfk).blocks] == ["0"]
        assert len(queue.jobs()) == 1
    finally:
        run.end()
    nothing_left(queue, server)


def test_nothing_is_left_of_a_run_that_was_killed(queue: Queue, server: SSHServer, sandbox: Sandbox) -> None:
    run = RestartedRun(config(queue, queue.channel(server), sandbox))
    try:
        assert python_app(process, data_flow_kernel=run.dfk)().result(PATIENCE) in server.processes()
        run.kill()
        run.bury()
        nothing_left(queue, server)
    finally:
        run.end()


def test_a_scheduler_that_cannot_be_asked_ends_no_block(queue: Queue, server: SSHServer, sandbox: Sandbox) -> None:
    with channel_run(queue, server, sandbox) as dfk:
        assert python_app(process)().result(PATIENCE)
        (queue.folder / "refuse").write_text("slurm_load_jobs error: Unable to contact slurm controller\n")
        seen = (queue.folder / "asked").read_text().count("squeue")
        until(lambda: (queue.folder / "asked").read_text().count("squeue") > seen + 2, PATIENCE, "three refusals")
        assert python_app(process)().result(PATIENCE) in server.processes()
        assert [(block.block, block.state) for block in picture(dfk).blocks] == [("0", "running")]
        (queue.folder / "refuse").unlink()


def first_notice(dfk: DataFlowKernel) -> str:
    found: list[str] = until(lambda: [text for text in notices(dfk) if "Block 0" in text], PATIENCE, "the notice")
    return found[0]


@pytest.mark.parametrize(
    ("host", "options", "words"),
    [
        ("stranger", {}, "stranger refuses the login ("),
        ("changed", {}, "changed has another key than the one in known_hosts ("),
        ("nowhere.invalid", {}, "nowhere.invalid is unknown by this name ("),
        ("far", {"python": "python-9"}, "far could not run python-9 ("),
        ("far", {"init": "hidden"}, "command not found: sbatch on far: see that far is the host where Slurm jobs are"),
        ("far", {"folder": "/proc/nothing"}, "The script of a block cannot be written to /proc/nothing/"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(
    queue: Queue, server: SSHServer, sandbox: Sandbox, host: str, options: dict[str, Any], words: str
) -> None:
    if "init" in options:
        options = {"init": queue.hidden()}  # the host of the test may have a Slurm of its own
    with channel_run(queue, server, sandbox, queue.channel(server, host, **options)) as dfk:
        sentence = first_notice(dfk)
        assert words in sentence
        assert sentence.count(words) == 1


def test_a_job_whose_submission_is_interrupted_is_found_by_its_name(
    queue: Queue, server: SSHServer, sandbox: Sandbox
) -> None:
    """The agent is lost while sbatch is under way, and with it the number of the job."""
    (queue.folder / "deaf").touch()
    with channel_run(queue, server, sandbox) as dfk:
        until(queue.jobs, PATIENCE, "the job")
        for agent in agents(server):
            os.kill(agent, signal.SIGKILL)
        (queue.folder / "deaf").unlink()
        assert python_app(process)().result(PATIENCE) in server.processes()
        assert len(queue.jobs()) == 1
        assert [block.block for block in picture(dfk).blocks] == ["0"]
