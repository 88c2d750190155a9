"""What is said to ssh and to a host, and what is made of their words."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from parslab import HighThroughputExecutor, LocalProvider, SlurmProvider, SSHProvider
from parslab.cli.findings import ways_trouble
from parslab.launchers import WrappedLauncher
from parslab.parsl.stand_ins.providers import AdHocProvider
from parslab.providers.base import Job
from parslab.providers.ssh import command, node
from parslab.providers.ssh.session import tunnel_target

JOB = Job("parslab.r.htex.0", "start-manager", "/run/b.sh", "/run/b.out", "/run/b.err", "python3", "/run/manager.json")


def test_ssh_asks_for_nothing_and_takes_the_options_of_the_user_first() -> None:
    words = command.ssh_command("me@h1", ["-F", "mine"], target="127.0.0.1:5000", connect_within=20.0)
    assert words[:5] == ["ssh", "-o", "BatchMode=yes", "-F", "mine"]
    assert words[-5:] == ["-R", "127.0.0.1:0:127.0.0.1:5000", "--", "me@h1", command.REMOTE_SHELL]
    assert "StrictHostKeyChecking" not in " ".join(words)  # how keys of hosts are checked is the user's choice
    assert "-R" not in command.ssh_command("h1", [], target="", connect_within=20.0)


def test_the_link_may_fail_for_as_long_as_the_heartbeats_may() -> None:
    words = command.ssh_command("h1", [], target="", connect_within=20.0)
    settings = dict(word.split("=") for word in words if word.startswith("ServerAlive"))
    executor = HighThroughputExecutor(provider=SSHProvider(hosts=["h1"]))
    waits = int(settings["ServerAliveInterval"]) * int(settings["ServerAliveCountMax"])
    assert waits >= executor.heartbeat_threshold == 120.0


def test_the_lines_of_the_user_cannot_read_what_follows_them() -> None:
    text = command.node_text("cat\nexport A=1", "python3")
    done = subprocess.run(
        ["bash", "-c", text],
        input=b"14\nprint('begun')the rest",
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"begun\n"
    assert done.stderr.decode() == f"{command.READY}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("a@h1: Permission denied (publickey,password).", "h1 refuses the login (a@h1: Permission denied (publickey,"),
        ("Received disconnect from 1.2.3.4: Too many authentication failures", "h1 refuses the login (Received"),
        ("Host key verification failed.", "h1 is not in known_hosts (Host key verification failed.): log in once"),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nadd it\nHost key verification failed.",
            "h1 has another key than the one in known_hosts (@ WARNING",
        ),
        ("ssh: connect to host h1 port 22: Connection refused", "h1 cannot be reached (ssh: connect"),
        ("kex_exchange_identification: banner\nConnection closed by 1.2.3.4", "h1 cannot be used (Connection closed"),
        ("bash: command not found", "h1 has no bash ("),
        ("", "h1 cannot be used (ssh ended without a word): try it in a terminal with ssh h1"),
    ],
)
def test_words_of_ssh(words: str, says: str) -> None:
    found = command.explained("h1", words)
    assert found.startswith(says)
    assert found.endswith(", and load again.")  # so no other advice is added
    assert "\n" not in found


def test_lines_about_tunnels() -> None:
    assert command.allocated_port("Allocated port 40123 for remote forward to 127.0.0.1:5000") == 40123
    assert command.allocated_port("allocated port 1") == 0
    assert command.forward_refused("Warning: remote port forwarding failed for listen port 0")
    assert tunnel_target(["tcp://10.0.0.1:5", "tcp://127.0.0.1:5"]) == "127.0.0.1:5"
    assert tunnel_target(["tcp://10.0.0.1:5"]) == "10.0.0.1:5"


def test_a_script_shows_what_each_host_runs() -> None:
    provider = SSHProvider(hosts=["h1"], worker_init="module load x", launcher=WrappedLauncher(prepend="nice"))
    text = provider.script(JOB)
    assert "\nmodule load x\n" in text
    assert "\nnice start-manager\n" in text
    assert '"hosts":["h1"]' in text
    assert '"invitation":"/run/manager.json"' in text


def test_versions_of_a_host() -> None:
    header: dict[str, Any] = {"python": "3.11", "parslab": "1.0"}
    assert node.trouble_of_python(header, (3, 11, 4), "1.0") == ""
    assert "is Python 3.9, and the notebook has 3.11" in node.trouble_of_python(header, (3, 9, 1), "1.0")
    assert "has no parslab: install parslab 1.0" in node.trouble_of_python(header, (3, 11, 4), "")
    assert "has parslab 0.9, and the notebook has 1.0" in node.trouble_of_python(header, (3, 11, 4), "0.9")


def test_what_follows_from_hosts_that_ssh_reaches() -> None:
    executor = HighThroughputExecutor(provider=SSHProvider(hosts=["h1", "h2"], tunnel="always"))
    settings = executor.settings()
    assert not settings.manager.shared_filesystem
    assert settings.python == "python3"
    assert settings.provider.remote
    assert settings.provider.tunnelled
    assert settings.provider.max_blocks == 2
    given = HighThroughputExecutor(
        provider=SSHProvider(hosts=["h1"]), shared_filesystem=True, heartbeat_threshold=30, python="/opt/python"
    )
    assert given.shared_filesystem
    assert given.heartbeat_threshold == 30
    assert given.settings().python == "/opt/python"
    for provider in (LocalProvider(), SlurmProvider()):
        other = HighThroughputExecutor(provider=provider)
        assert other.shared_filesystem
        assert other.heartbeat_threshold == 20
        assert not other.settings().provider.remote


@pytest.mark.parametrize(
    ("tunnel", "reached", "refusal", "says"),
    [
        ("auto", "10.0.0.1:5", "refused", ""),
        ("auto", "", "", ""),
        ("always", "", "", ""),
        ("never", "10.0.0.1:5", "", ""),
        ("never", "", "", "or let managers connect through ssh with SSHProvider(tunnel='auto')."),
        (
            "always",
            "",
            "refused",
            "h1 does not let managers connect through ssh (refused): have AllowTcpForwarding set",
        ),
        ("auto", "", "refused", "or let it reach this host with HighThroughputExecutor(address=..., port=...)."),
    ],
)
def test_ways_back(tunnel: str, reached: str, refusal: str, says: str) -> None:
    report = {"host": "n1", "reached": reached, "unreached": {"10.0.0.1:5": "timed out"}}
    found = ways_trouble("h1", tunnel, report, refusal)
    assert (says in found) if says else (found == "")


def test_the_provider_of_parsl_for_such_hosts_names_this_one() -> None:
    assert "SSHProvider" in AdHocProvider.unavailable
