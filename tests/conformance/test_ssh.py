"""The provider of hosts that are reached by ssh, in the family's suite on real logins; and what it adds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import pytest

from parslab.errors import ConfigurationError
from parslab.providers.base import FindsJobs, JobStatus, SubmitError
from parslab.providers.ssh.provider import SSHProvider
from parslab.records.states import ENDED, BlockState
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite
from tests.process.sandbox import until
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from parslab.providers.base import Job, Runner


pytestmark = pytest.mark.timeout(180)  # each test waits for logins of a real ssh


@pytest.fixture(scope="module")
def server() -> Iterator[SSHServer]:
    with SSHServer.ready() as server:
        yield server


class TestSSH(ProviderSuite):
    """The suite's jobs have no program of their own for the host, so the Python of the tests runs them."""

    server: SSHServer

    @pytest.fixture(autouse=True)
    def _server(self, server: SSHServer) -> None:
        self.server = server

    def provider(self, **options: Any) -> SSHProvider:
        return SSHProvider(hosts=["here", "there"], ssh_options=self.server.options, **options)

    def test_nothing_is_left_whoever_is_killed(self, folder: Path) -> None:
        """Also not what the command has started in sessions of its own."""
        away = "setsid sleep 3005 & (setsid nohup sleep 3005 &); sleep 3005; true"
        for number, victim in enumerate(("parslab.providers.ssh.session", "ssh", "node", "bash", "sshd")):
            with self.running(folder) as runner:
                job = runner.submit(a_job(folder, f"{victim}-{number}", away))
                until(lambda: self._sleepers() == 3, 60, f"what {victim} shall take along")
                os.kill(self._victim(victim), signal.SIGKILL)
                until(lambda: not self.server.processes(), 60, f"the end of all behind {victim}")
                assert self.until(runner, job).state is BlockState.failed

    def _sleepers(self) -> int:
        return sum(words[:2] == ["sleep", "3005"] for words in self.server.processes().values())

    def _victim(self, name: str) -> int:
        """Return the oldest process of this name that belongs to the block."""
        if name in ("node", "bash"):
            wanted = "parslab-ssh-node" if name == "node" else "setsid"
            return oldest(pid for pid, words in self.server.processes().items() if wanted in " ".join(words))
        if name == "sshd":
            return psutil.Process(oldest(self.server.processes())).ppid()
        config = str(self.server.config.parent)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if config in " ".join(words) and (name in words or Path(words[0]).name.rstrip(":") == name):
                    return int(process.pid)
        raise AssertionError(f"no {name}")


def oldest(pids: Iterable[int]) -> int:
    return min(pids, key=lambda pid: psutil.Process(pid).create_time())


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("stranger", r"stranger refuses the login \(.*Permission denied \(publickey\)\.\): ssh may ask for nothing"),
        ("unseen", r"unseen is not in known_hosts \(.*\): log in once in a terminal"),
        ("changed", r"changed has another key than the one in known_hosts \(.*\): find out why"),
        ("nowhere.invalid", r"nowhere\.invalid is unknown by this name \(ssh: Could not resolve"),
    ],
)
def test_a_login_that_fails_is_one_sentence(server: SSHServer, tmp_path: Path, host: str, says: str) -> None:
    job = a_job(tmp_path, command="true")
    provider = SSHProvider(hosts=[host], ssh_options=server.options)
    assert ended(provider.runner(tmp_path), job) == "exit status 5"
    assert re.fullmatch(f"parslab: {says}.*, and load again\\.\n", Path(job.stderr).read_text())


def ended(runner: Runner, job: Job) -> str:
    """Run a job to its end, and return the reason."""
    number = runner.submit(job)
    try:
        status = until(lambda: one if (one := runner.status([number])[number]).state in ENDED else None, 60, "its end")
    finally:
        runner.cancel([number])
        runner.close()
    assert isinstance(status, JobStatus)
    return status.reason


def invited(tmp_path: Path, python: str = "", command: str = "true") -> Job:
    """Return a job that needs parslab on the host, and a way to a run at a port where nobody listens."""
    (tmp_path / "manager.json").write_text(json.dumps({"addresses": ["tcp://127.0.0.1:9"], "secret_key": "hush"}))
    os.chmod(tmp_path / "manager.json", 0o600)
    return msgspec.structs.replace(
        a_job(tmp_path, command=command), invitation=str(tmp_path / "manager.json"), python=python or sys.executable
    )


def interpreter(tmp_path: Path, words: str) -> str:
    path = tmp_path / "python3"
    path.write_text(f"#!/bin/bash\n{words}\n")
    path.chmod(0o755)
    return str(path)


def test_a_host_without_parslab_is_one_sentence(server: SSHServer, tmp_path: Path) -> None:
    job = invited(tmp_path, interpreter(tmp_path, f'exec {sys.executable} -I -S "$@"'))
    provider = SSHProvider(hosts=["here"], ssh_options=server.options)
    assert ended(provider.runner(tmp_path), job) == "exit status 3"
    assert re.fullmatch(
        r"parslab: \S+ on \S+ has no parslab: install parslab .* in that environment, or activate another one in "
        r"worker_init, and load again\.\n",
        Path(job.stderr).read_text(),
    )


def test_a_host_with_another_parslab_is_one_sentence(server: SSHServer, tmp_path: Path) -> None:
    (tmp_path / "old" / "parslab").mkdir(parents=True)
    (tmp_path / "old" / "parslab" / "__init__.py").touch()
    (tmp_path / "old" / "parslab" / "version.py").write_text("def version():\n    return '0.0.1'\n")
    job = invited(tmp_path, interpreter(tmp_path, f'PYTHONPATH={tmp_path}/old exec {sys.executable} "$@"'))
    provider = SSHProvider(hosts=["here"], ssh_options=server.options)
    assert ended(provider.runner(tmp_path), job) == "exit status 3"
    assert re.search(
        r"has parslab 0\.0\.1, and the notebook has \S+: install the same version on both sides, and load again\.\n$",
        Path(job.stderr).read_text(),
    )


def test_a_host_without_python_says_so(server: SSHServer, tmp_path: Path) -> None:
    job = invited(tmp_path, "no-such-python")
    provider = SSHProvider(hosts=["here"], ssh_options=server.options)
    assert ended(provider.runner(tmp_path), job) == "exit status 127 (command not found)"
    assert "no-such-python: not found" in Path(job.stderr).read_text().replace("command not found", "not found")


def test_a_host_that_allows_no_tunnel_and_reaches_nothing_is_one_sentence(server: SSHServer, tmp_path: Path) -> None:
    job = invited(tmp_path)
    provider = SSHProvider(hosts=["closed"], ssh_options=server.options, tunnel="always")
    assert ended(provider.runner(tmp_path), job) == "exit status 4"
    assert re.search(
        r"parslab: \S+ does not reach the notebook's host, neither directly at no address nor through ssh \(.*remote "
        r"port forwarding failed.*\): have AllowTcpForwarding set in the host's sshd.*, and load again\.\n$",
        Path(job.stderr).read_text(),
    )


def test_no_command_line_has_a_key_or_what_worker_init_says(server: SSHServer, tmp_path: Path) -> None:
    job = invited(tmp_path, command='cat "$PARSLAB_INVITATION"; echo $TOKEN; sleep 3006')
    provider = SSHProvider(hosts=["here"], ssh_options=server.options, worker_init="export TOKEN=hush-hush")
    runner = provider.runner(tmp_path)
    number = runner.submit(job)
    try:
        until(lambda: "hush-hush" in Path(job.stdout).read_text(), 60, "the command on the host")
        printed = json.loads(Path(job.stdout).read_text().splitlines()[0].removesuffix("hush-hush"))
        assert printed["secret_key"] == "hush"
        assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", *printed["addresses"])
        assert not [line for line in command_lines() if "hush" in line]
    finally:
        runner.cancel([number])
        runner.close()
    until(lambda: not server.processes(), 60, "the end on the host")


def command_lines() -> list[str]:
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return lines


def test_no_two_blocks_get_the_same_host_and_a_bad_one_comes_last(server: SSHServer, tmp_path: Path) -> None:
    provider = SSHProvider(hosts=["stranger", "here", "there"], ssh_options=server.options)
    runner = provider.runner(tmp_path)
    numbers = [runner.submit(a_job(tmp_path, name, "sleep 3006")) for name in "123"]
    try:
        assert [runner.status(numbers)[number].hosts for number in numbers] == ["stranger", "here", "there"]
        with pytest.raises(SubmitError, match="waits for hosts, because other blocks use") as refused:
            runner.submit(a_job(tmp_path, "4"))
        assert refused.value.transient
        until(lambda: runner.status(numbers)[numbers[0]].state is BlockState.failed, 60, "the login that fails")
        runner.cancel([numbers[1]])
        until(lambda: runner.status(numbers)[numbers[1]].state is BlockState.scaled_in, 60, "the end of the second")
        numbers.append(runner.submit(a_job(tmp_path, "5", "sleep 3006")))
        assert runner.status(numbers)[numbers[-1]].hosts == "here"
        later = provider.runner(tmp_path)
        assert isinstance(later, FindsJobs)
        for number, name in zip(numbers[2:], "35", strict=True):
            later.adopt(number, a_job(tmp_path, name))
        numbers.append(later.submit(a_job(tmp_path, "6", "true")))
        assert later.status(numbers)[numbers[-1]].hosts == "stranger"
        later.cancel(numbers[-1:])
        later.close()
    finally:
        runner.cancel(numbers)
        runner.close()


def test_a_host_behind_another_one(server: SSHServer, tmp_path: Path) -> None:
    job = a_job(tmp_path, command="echo here")
    assert ended(SSHProvider(hosts=["behind"], ssh_options=server.options).runner(tmp_path), job) == "exit status 0"
    assert Path(job.stdout).read_text() == "here\n"


def test_a_connection_that_others_share(server: SSHServer, tmp_path: Path) -> None:
    """For hosts that want a second factor: the user has opened it in a terminal."""
    options = [*server.options, "-o", f"ControlPath={server.config.parent}/shared"]
    with subprocess.Popen(["ssh", *options, "-M", "-N", "here"], stdin=subprocess.DEVNULL) as shared:
        try:
            until((server.config.parent / "shared").exists, 60, "the connection")
            job = invited(tmp_path, command='cat "$PARSLAB_INVITATION"')
            provider = SSHProvider(hosts=["here"], ssh_options=options, tunnel="always")
            assert ended(provider.runner(tmp_path), job) == "exit status 0"
            assert "tcp://127.0.0.1:" in Path(job.stdout).read_text()
            assert shared.poll() is None
        finally:
            shared.kill()


def test_hosts_of_a_block(server: SSHServer, tmp_path: Path) -> None:
    """Each runs the command."""
    provider = SSHProvider(hosts=["here", "there"], ssh_options=server.options, nodes_per_block=2)
    assert provider.max_blocks == 1
    job = a_job(tmp_path, command="echo once")
    assert ended(provider.runner(tmp_path), job) == "exit status 0"
    assert Path(job.stdout).read_text() == "once\n" * 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "hosts must name at least one host"),
        ({"hosts": ["-oProxyCommand=evil"]}, "is no host; options of ssh go to ssh_options"),
        ({"hosts": ["a b"]}, "is no host"),
        ({"hosts": ["a"], "max_blocks": 2}, "needs 2 hosts, but hosts has 1"),
        ({"hosts": ["a"], "nodes_per_block": 2}, "needs 2 hosts, but hosts has 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        SSHProvider(**options)
