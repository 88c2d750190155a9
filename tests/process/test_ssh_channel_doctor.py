"""What ``parslab doctor`` finds on a login host."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from parslab.cli.login_hosts import examine_login_host
from tests.process.test_ssh_channel import kept, nothing_left_on_host
from tests.ssh.queue import Queue
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)  # each test waits for logins of a real ssh


@pytest.fixture(scope="module")
def server() -> Iterator[SSHServer]:
    with SSHServer.ready() as server, server.listening():
        yield server


def found(server: SSHServer, place: Path, host: str = "far", **options: Any) -> tuple[str, dict[str, str]]:
    """Return the trouble and the steps that went well."""
    queue = Queue(place / "queue")
    if "init" in options:
        options["init"] = queue.hidden()  # the host of the test may have a Slurm of its own
    steps: dict[str, str] = {}
    trouble = examine_login_host(queue.provider(queue.channel(server, host, **options)), place, steps.__setitem__)
    nothing_left_on_host(server)
    assert kept(server) == []
    return trouble, steps


def test_a_login_host_that_works(server: SSHServer, tmp_path: Path) -> None:
    trouble, steps = found(server, tmp_path, route="auto")
    assert trouble == ""
    assert steps["login host"].startswith(f"far ({socket.gethostname()}, ")
    assert steps["scheduler commands"].split(", ")[0] == str(tmp_path / "queue" / "sbatch")
    assert "/.parslab/channel/" in steps["folder there"]
    assert steps["managers connect"].startswith("directly, or else through tcp://")


def test_without_a_relay(server: SSHServer, tmp_path: Path) -> None:
    trouble, steps = found(server, tmp_path, route="direct")
    assert (trouble, steps["managers connect"]) == ("", "directly")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "stranger"}, "stranger refuses the login ("),
        ({"init": "hidden"}, "sbatch and squeue and scancel cannot be found on far: see that far is the host"),
        ({"folder": "/proc/nothing"}, "cannot be written to /proc/nothing/"),
        ({"relay_address": "192.0.2.77"}, "far cannot relay the connections of managers ("),
    ],
)
def test_what_does_not_work_is_one_sentence(
    server: SSHServer, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    trouble, _ = found(server, tmp_path, **options)
    assert words in trouble
    assert trouble.endswith(".")
