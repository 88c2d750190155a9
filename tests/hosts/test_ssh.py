"""Blocks on hosts behind a firewall that lets in port 22 only: all that a manager says goes through its ssh."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import python_app
from tests.hosts.conftest import brought_up
from tests.process.panel import picture
from tests.process.sandbox import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts.cluster import Hosts
    from tests.process.sandbox import Sandbox

CUT = 30.0
"""Seconds for which the link is cut."""


@pytest.fixture(scope="module")
def hosts(scratch: Path) -> Iterator[Hosts]:
    with brought_up(scratch, 1, HOSTS_FW="sshonly", HOSTS_SSH="1") as hosts:
        yield hosts


def executor(hosts: Hosts, **options: Any) -> parslab.HighThroughputExecutor:
    config = Path(hosts.environment["TESTBED_ROOT"], "hosts", "ssh", "client")
    provider = parslab.SSHProvider(hosts=["h1"], ssh_options=["-F", str(config)], init_blocks=1, **options)
    return parslab.HighThroughputExecutor(
        label="htex", provider=provider, python=sys.executable, max_workers_per_node=4, cores_per_worker=0.1
    )


@python_app
def where(seconds: float = 0.0) -> str:
    import socket
    import time

    time.sleep(seconds)
    return socket.gethostname()


def cut(hosts: Hosts, action: str) -> None:
    subprocess.run(
        ["bash", hosts.scripts / "netns-fault.sh", action, "h1"],
        env={**os.environ, **hosts.environment},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def left_on(hosts: Hosts) -> list[str]:
    """What runs or lies on the host for parslab."""
    processes = hosts.run("h1", "ps", "-eo", "args").splitlines()
    files = hosts.run("h1", "sh", "-c", "ls -a /tmp /root /run /dev/shm | grep -i parslab || true").splitlines()
    return [line for line in processes if "parslab" in line] + files


def test_a_link_that_is_cut_loses_no_task(hosts: Hosts, load: Callable[..., Any]) -> None:
    with load(hosts, executor(hosts)) as dfk:
        assert where().result(120) == "h1"
        futures = [where(0.1) for _ in range(1000)]
        until(lambda: sum(future.done() for future in futures) > 50, 60, "the first tasks")
        cut(hosts, "cut")
        try:
            threading.Event().wait(CUT)
        finally:
            cut(hosts, "heal")
        assert not all(future.done() for future in futures)
        assert {future.result(240) for future in futures} == {"h1"}
        assert {row.state for row in picture(dfk).managers} == {"ready"}
        # Nobody ran twice: no attempt was lost.
        assert {future.task_record["try_id"] for future in futures} == {0}
    until(lambda: not left_on(hosts), 60, "the end of all on the host")


def test_the_doctor_says_which_way_works(hosts: Hosts, sandbox: Sandbox, tmp_path: Path) -> None:
    config = Path(hosts.environment["TESTBED_ROOT"], "hosts", "ssh", "client")
    (tmp_path / "far.py").write_text(
        "import sys\nfrom parslab import *\n"
        f"provider = SSHProvider(hosts=['h1'], ssh_options=['-F', {str(config)!r}])\n"
        "config = Config(executors=[HighThroughputExecutor(python=sys.executable, provider=provider)], "
        f"run_dir={str(tmp_path / 'runs')!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "parslab.cli", "doctor", str(tmp_path / "far.py")],
        capture_output=True,
        text=True,
        env={**os.environ, **sandbox.environment()},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\[ ok \] h1: directly: no \(.*timed out", done.stdout)
    assert "[ ok ] h1: through ssh: yes\n" in done.stdout
    assert "[ ok ] h1: managers connect: through ssh\n" in done.stdout
    assert "[ ok ] a task: ran on h1" in done.stdout
    assert "All is well." in done.stdout
