"""What ``parslab doctor`` finds on hosts that are reached by ssh."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from parslab import SSHProvider
from parslab.cli.ssh_hosts import examine_hosts
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab.description import Description

LIMIT = 60.0
pytestmark = pytest.mark.timeout(180)  # each test waits for logins of a real ssh


@pytest.fixture(scope="module")
def server() -> Iterator[SSHServer]:
    with SSHServer.ready() as server:
        yield server


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def found(provider: Description, python: str, addresses: list[str]) -> tuple[str, dict[str, str]]:
    """Return the trouble and the steps that went well."""
    assert isinstance(provider, SSHProvider)
    steps: dict[str, str] = {}
    return examine_hosts(provider, python, addresses, LIMIT, steps.__setitem__), steps


def test_both_ways_of_each_host(server: SSHServer, port: int) -> None:
    provider = SSHProvider(hosts=["here", "here", "there"], ssh_options=server.options)
    # Nobody may listen at an address that is reserved for documentation.
    trouble, steps = found(provider, "python3", ["192.0.2.1:1", f"127.0.0.1:{port}"])
    assert trouble == ""
    for host in ("here", "there"):
        assert steps[f"{host}: Python"].startswith(sys.prefix)
        assert steps[f"{host}: directly"].startswith("no (192.0.2.1:1: ")
        assert steps[f"{host}: through ssh"] == "yes"
        assert steps[f"{host}: managers connect"] == "through ssh"


def test_a_host_without_a_tunnel(server: SSHServer, port: int) -> None:
    options = {"hosts": ["closed"], "ssh_options": server.options}
    trouble, steps = found(SSHProvider(tunnel="always", **options), sys.executable, [f"127.0.0.1:{port}"])
    assert trouble.startswith("closed does not let managers connect through ssh (Warning: remote port forwarding")
    assert "closed: directly" not in steps
    # The loopback address of another host is not this one's.
    trouble, steps = found(SSHProvider(tunnel="never", **options), sys.executable, [f"127.0.0.1:{port}"])
    assert "reaches this host at none of" in trouble
    assert "closed: through ssh" not in steps


def test_a_login_that_fails_and_a_python_that_is_not_there(server: SSHServer, port: int, tmp_path: Path) -> None:
    trouble, steps = found(SSHProvider(hosts=["stranger"], ssh_options=server.options), "python3", [])
    assert trouble.startswith("stranger refuses the login (")
    assert steps == {}
    trouble, _ = found(SSHProvider(hosts=["here"], ssh_options=server.options), "/no/python", [f"127.0.0.1:{port}"])
    assert trouble.startswith("/no/python on here ended before it ran the probe (")
    assert "No such file" in trouble
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/bash\nexec {sys.executable} -I -S "$@"\n')
    os.chmod(bare, 0o755)
    trouble, _ = found(SSHProvider(hosts=["here"], ssh_options=server.options), str(bare), [f"127.0.0.1:{port}"])
    assert "cannot import parslab" in trouble
