"""The description of a login host, and what it changes in a batch provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab import SSH, CondorProvider, HighThroughputExecutor, SlurmProvider
from parslab.description import decoded, encoded
from parslab.errors import ConfigurationError
from parslab.parsl.stand_ins.providers import OAuthSSHChannel, SSHChannel, SSHInteractiveLoginChannel
from parslab.providers.base import Job
from parslab.providers.channel.login_host import LoginHost

if TYPE_CHECKING:
    from parslab.description import Description

AGENT = {"home": "/home/me", "addresses": ["tcp://10.0.0.1:5000"], "trouble": ""}


def a_job(folder: Path, invitation: str = "") -> Job:
    stem = str(folder / "htex-0")
    return Job("parslab.r.htex.0", "run", f"{stem}.sh", f"{stem}.stdout", f"{stem}.stderr", invitation=invitation)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "host must be a login host as ssh takes it, not ''"),
        ({"host": "-oProxyCommand=x"}, "options of ssh go to ssh_options"),
        ({"host": "a b"}, "not 'a b'"),
        ({"host": "a", "folder": "scratch"}, "folder must begin with / or ~/"),
        ({"host": "a", "folder": "~/../other"}, "folder must begin with / or ~/"),
        ({"host": "a", "password": "x"}, "load a key with ssh-add"),
        ({"host": "a", "username": "me"}, "write it before the host"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        SSH(**options)
    assert words in str(error.value)


def test_a_provider_with_a_channel_shares_no_disk() -> None:
    provider = SlurmProvider(channel=SSH("login"))
    assert provider.remote
    assert not provider.tunnelled
    assert SlurmProvider(channel=SSH("login", route="relay")).tunnelled
    assert not SlurmProvider().remote
    assert decoded(encoded(provider)) == provider
    executor = HighThroughputExecutor(provider=provider)
    assert not executor.shared_filesystem
    assert executor.heartbeat_threshold == 120
    assert executor.settings().python == "python3"


@pytest.mark.parametrize("kind", [SlurmProvider, CondorProvider])
def test_the_script_names_the_invitation(kind: type[Description], tmp_path: Path) -> None:
    provider: Any = kind(channel=SSH("login"))
    line = "export PARSLAB_INVITATION=/far/manager-htex.json"
    assert line in provider.script(a_job(tmp_path, "/far/manager-htex.json")).splitlines()
    assert "PARSLAB_INVITATION" not in provider.script(a_job(tmp_path))


class FakeConnection:
    """A connection that answers at once."""

    connected = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}
        self.target = ("", 0)
        self.kept = False

    def agent(self, within: float) -> dict[str, Any]:
        return AGENT

    def keep(self) -> None:
        self.kept = True

    def post(self, do: str, **details: Any) -> None:
        self.calls.append((do, details))

    def call(self, do: str, within: float, **details: Any) -> dict[str, Any]:
        import base64

        self.calls.append((do, details))
        if do == "read":
            parts = {path: self.files[path][at : at + 4] for path, at in details["files"].items() if path in self.files}
            return {"files": {path: base64.b64encode(part).decode() for path, part in parts.items()}, "limit": 4}
        return {}

    def close(self, end_agent: bool) -> None:
        self.calls.append(("close", {"end_agent": end_agent}))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoginHost:
    monkeypatch.setattr(
        "parslab.providers.channel.login_host.Connection", lambda order, relay: FakeConnection(), raising=True
    )
    (tmp_path / "blocks").mkdir()
    return LoginHost(SSH("login", route="auto"), tmp_path / "blocks")


def invitation(folder: Path, **changes: Any) -> Path:
    path = folder / "manager-htex.json"
    content = {
        "addresses": ["tcp://192.0.2.1:5000", "tcp://127.0.0.1:5000"],
        "socket": "/run/x",
        "manager": {"heartbeat_threshold": 120},
        "reconnect_for": 30,
        **changes,
    }
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return path


def test_a_job_has_its_files_in_the_folder_of_the_run_there(host: LoginHost, tmp_path: Path) -> None:
    token = (tmp_path / "blocks" / "channel-token").read_text()
    there = host.job(a_job(tmp_path / "blocks", "/run/manager-htex.json"))
    folder = f"/home/me/.parslab/channel/{token}"
    assert (there.script, there.stderr) == (f"{folder}/htex-0.sh", f"{folder}/htex-0.stderr")
    assert there.invitation == f"{folder}/manager-htex.json"
    assert there.name == "parslab.r.htex.0"
    host.close()


def test_managers_are_invited_by_way_of_the_login_host(host: LoginHost, tmp_path: Path) -> None:
    connection: Any = host._connection
    job = a_job(tmp_path / "blocks", str(invitation(tmp_path)))
    host.write(job, {"/home/me/.parslab/channel/x/htex-0.sh": "#!/bin/bash\n"})
    assert connection.target == ("127.0.0.1", 5000)
    assert connection.kept
    assert (tmp_path / "blocks" / "htex-0.sh").read_text() == "#!/bin/bash\n"
    script, stay, invited = connection.calls
    assert (script[0], script[1]["mode"]) == ("write", 0o700)
    assert stay == ("stay", {"seconds": 180.0})
    assert invited[1]["mode"] == 0o600
    (text,) = invited[1]["files"].values()
    content = json.loads(text)
    # The loopback address of this host is not that of a node.
    assert content["addresses"] == ["tcp://192.0.2.1:5000"]
    assert (content["relays"], content["socket"]) == (["tcp://10.0.0.1:5000"], "")
    host.close()


def test_outputs_come_back_piece_by_piece(host: LoginHost, tmp_path: Path) -> None:
    connection: Any = host._connection
    job = a_job(tmp_path / "blocks")
    there = host.job(job)
    connection.files = {there.stdout: b"hello world", f"{there.script}.exit": b"0\n"}
    host.bring([job])
    assert Path(job.stdout).read_text() == "hello world"
    assert Path(f"{job.script}.exit").read_text() == "0\n"
    connection.files[there.stdout] += b"!"
    host.bring([job])
    assert Path(job.stdout).read_text() == "hello world!"
    host.close()


@pytest.mark.parametrize("over", [True, False])
def test_the_folder_there_is_removed_with_the_run(host: LoginHost, tmp_path: Path, over: bool) -> None:
    connection: Any = host._connection
    path = invitation(tmp_path)
    host.adopt(a_job(tmp_path / "blocks", str(path)))
    if over:
        path.write_text('{"over": "it has ended"}')
    host.close()
    assert ("remove" in [do for do, _ in connection.calls]) == over
    assert connection.calls[-1] == ("close", {"end_agent": over})


def test_executors_of_a_run_share_one_connection(host: LoginHost, tmp_path: Path) -> None:
    other = LoginHost(SSH("login", route="auto"), tmp_path / "blocks")
    connection: Any = host._connection
    assert other._connection is host._connection
    assert other.group == host.group
    host.close()
    assert "close" not in [do for do, _ in connection.calls]
    other.close()
    assert connection.calls[-1][0] == "close"


@pytest.mark.parametrize("kind", [SSHChannel, OAuthSSHChannel, SSHInteractiveLoginChannel])
def test_a_channel_of_parsl_means_a_login_host(kind: type[SSHChannel]) -> None:
    channel = kind("login.example", "me", script_dir="/scratch/me/scripts", port=2222, envs={"A": "b c"})
    provider = SlurmProvider(channel=channel)
    assert provider.channel == channel
    assert (channel.host, channel.folder) == ("me@login.example", "/scratch/me/scripts")
    assert channel.ssh_options == ("-p", "2222")
    assert channel.init == "export A='b c'\n"
    assert decoded(encoded(provider)) == provider
    assert kind(hostname="h", key_filename="/k").ssh_options == ("-i", "/k")
