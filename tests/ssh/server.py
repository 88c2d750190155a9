"""A real ssh and a real sshd, joined by a pipe: no port, no daemon, and nothing of the user's own ``~/.ssh``."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SSHServer"]

_SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
LogLevel ERROR
SetEnv HOME={folder} TMPDIR={folder}/tmp PATH={path}
{more}
"""

_HOST = """\
Host {name}
    ProxyCommand {sshd} -i -f {folder}/sshd-{name} -E {folder}/log-{name}
    HostKeyAlias {name}
    User {user}
    IdentityFile {folder}/{key}
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ControlPath none
"""

_FAR = """\
Host far
    HostName 127.0.0.1
    Port {port}
    HostKeyAlias far
    User {user}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ControlPath none
"""


def _sshd() -> str:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or ""


def _answers(port: int, sshd: subprocess.Popen[bytes]) -> bool:
    """Return whether this sshd serves a port, and nobody else."""
    while sshd.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sock:
            return sock.recv(3) == b"SSH" and sshd.poll() is None
        time.sleep(0.02)
    return False


@dataclass(frozen=True)
class SSHServer:
    """Some hosts that ssh reaches; all are this host.

    Attributes
    ----------
    config
        The configuration of ssh, for its option ``-F``.
    """

    config: Path

    @classmethod
    @contextlib.contextmanager
    def ready(cls) -> Iterator[SSHServer]:
        """Yield hosts whose processes have the folder as their home."""
        # A short path, because those of sockets have a limit.
        with tempfile.TemporaryDirectory(prefix="plh-ssh-", dir="/tmp") as folder:
            yield cls.in_folder(Path(folder))

    @classmethod
    def in_folder(cls, folder: Path) -> SSHServer:
        """Make keys and configurations; skip the test where there is no sshd."""
        (folder / "tmp").mkdir()
        sshd = _sshd()
        if not sshd or shutil.which("ssh") is None:
            pytest.skip("no ssh and sshd on this host")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)  # sshd of root wants it
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        for name in ("host_key", "key", "unknown_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copyfile(folder / "key.pub", folder / "authorized_keys")
        server = cls(folder / "config")
        host_key = (folder / "host_key.pub").read_text()
        # Name, key, what known_hosts has, more settings of its sshd.
        for name, key, known, more in (
            ("here", "key", host_key, ""),
            ("there", "key", host_key, ""),
            ("closed", "key", host_key, "AllowTcpForwarding no"),
            ("stranger", "unknown_key", host_key, ""),
            ("unseen", "key", "", ""),
            ("changed", "key", (folder / "unknown_key.pub").read_text(), ""),
        ):
            (folder / f"sshd-{name}").write_text(_SSHD.format(folder=folder, path=path, more=more))
            with open(folder / "known_hosts", "a") as file:
                file.write(f"{name} {known}" if known else "")
            with open(server.config, "a") as file:
                file.write(_HOST.format(name=name, sshd=sshd, folder=folder, user=getpass.getuser(), key=key))
        # Reached by way of another one, as through a jump host.
        behind = f"ssh -F {server.config} here {sshd}"
        (folder / "sshd-behind").write_text(_SSHD.format(folder=folder, path=path, more=""))
        with open(folder / "known_hosts", "a") as file:
            file.write(f"behind {host_key}")
        with open(server.config, "a") as file:
            file.write(_HOST.format(name="behind", sshd=behind, folder=folder, user=getpass.getuser(), key="key"))
        return server

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Have the host ``far``, whose sshd accepts connections: its processes are no descendants of those of ssh."""
        folder = self.config.parent
        log = folder / "log-far"
        for _ in range(10):
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            with open(log, "wb") as errors:
                sshd = subprocess.Popen(
                    [
                        _sshd(),
                        "-D",
                        "-e",
                        "-f",
                        folder / "sshd-here",
                        "-o",
                        f"Port {port}",
                        "-o",
                        "ListenAddress 127.0.0.1",
                    ],
                    stdin=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,
                )
            try:
                if _answers(port, sshd):
                    host_key = (folder / "host_key.pub").read_text()
                    with open(folder / "known_hosts", "a") as file:
                        file.write(f"far {host_key}")
                    with open(self.config, "a") as file:
                        file.write(_FAR.format(port=port, folder=folder, user=getpass.getuser()))
                    yield
                    return
            finally:
                sshd.terminate()
                sshd.wait()
        pytest.skip(f"sshd does not listen: {log.read_text()[-300:]}")

    def files(self) -> list[str]:
        """Return what processes on the hosts have left among temporary files."""
        return [path.name for path in (self.config.parent / "tmp").iterdir()]

    def processes(self) -> dict[int, list[str]]:
        """Return the command lines of all processes that were started by way of ssh, by their numbers."""
        home = f"HOME={self.config.parent}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if home in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().decode().split("\0")
        return found

    @property
    def options(self) -> list[str]:
        """The options by which ssh finds the hosts."""
        return ["-F", str(self.config)]
