"""The process of a block on the notebook's host: it keeps one ssh for each host of the block [shell].

``python -m parslab.providers.ssh.session SETTINGS`` is a part of the block's script, and reads from stdin what each
host runs.  :class:`~parslab.providers.local.LocalRunner` starts, finds and ends it as a block of this host.

When this process dies, the stdin of each ssh ends.  When ssh dies, the stdin of the program on its host ends.  That
program (``node.py``) then ends what it has started.  So nothing is left, whichever process is killed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.addresses import is_loopback
from parslab.errors import ParslabError
from parslab.providers.ssh.command import (
    READY,
    allocated_port,
    explained,
    forward_refused,
    node_text,
    shared_forward_command,
    ssh_command,
)
from parslab.version import version
from parslab.wire import invitations

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SEPARATOR", "Login", "SessionSettings", "shared_port", "tunnel_target"]

_LOOK = 1.0
"""Seconds between two looks whether the run is over."""
_GRACE = 5.0
"""Seconds between asking what runs on a host to end and killing it there."""
_PATIENCE = 3.0
"""Seconds that an ssh has to end by itself; a link that is cut must not keep this process."""
_SHARED = 20.0
"""Seconds that a connection that others share has for its answer."""
_BROKEN = 255
"""The exit status of an ssh that could not connect or whose connection broke."""
NO_LOGIN, NO_CONNECTION = 5, 6
"""The exit statuses of a block for these two; those of what runs on its hosts are in ``node.py``."""
SEPARATOR = f"\n{'#' * 40} the command\n"
"""Divides the user's lines from the command in what the script passes on."""


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the process of a block needs to know; it is a part of the block's script, so nothing in it is secret."""

    job: str
    """The name of the block's job."""
    hosts: list[str]
    options: list[str]
    """Options of ssh."""
    tunnel: str
    """``auto``, ``always`` or ``never``."""
    invitation: str
    """The file by which managers find the run; empty: there is none."""
    python: str
    """The interpreter on the hosts."""
    connect_within: float


def tunnel_target(addresses: list[str]) -> str:
    """Return where on this host a tunnel leads, of the addresses ``tcp://HOST:PORT`` of the run.

    Examples
    --------
    >>> tunnel_target(["tcp://192.0.2.7:5000", "tcp://127.0.0.1:5000"])
    '127.0.0.1:5000'
    """
    plain = [address.removeprefix("tcp://") for address in addresses]
    inner = [address for address in plain if is_loopback(address.rpartition(":")[0].strip("[]"))]
    return (inner or plain)[0]


def shared_port(host: str, options: Sequence[str], target: str) -> tuple[int, str]:
    """Return the port of a tunnel through a connection that others share, or 0 and why there is none."""
    command = shared_forward_command(host, options, target)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SHARED, check=False, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 0, str(error)
    if done.stdout.strip().isdigit():
        return int(done.stdout), ""
    words = done.stderr.decode(errors="replace").strip().partition("\n")[0]
    return 0, words or "ssh did not name a port"


class Login:
    """One host of a block: an ssh, and a thread that reads what it says.

    Parameters
    ----------
    host
        The host.
    settings
        The settings of the block.
    program
        What bash runs on the host.
    header
        What ``node.py`` gets there, without the tunnel.
    target
        Where on this host the tunnel leads; empty: there is none.
    """

    def __init__(
        self, host: str, settings: SessionSettings, program: bytes, header: dict[str, Any], target: str
    ) -> None:
        self.host = host
        self.status = 1
        """The exit status of the block for this host; it counts once the thread has ended."""
        self._settings, self._program, self._header, self._target = settings, program, header, target
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Log in, run the command on the host, and wait for its end."""
        command = ssh_command(
            self.host, self._settings.options, target=self._target, connect_within=self._settings.connect_within
        )
        environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
        try:
            process = self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                bufsize=0,  # otherwise close() would send again what an ssh that has ended did not take, and fail
                start_new_session=True,  # no terminal, so that ssh for a jump host cannot ask there either
            )
        except OSError as error:
            self._say(f"ssh cannot be started ({error.strerror}): install it, and load again.")
            self.status = 127
            return
        if self._stopping:
            self.stop()  # somebody wanted that before there was a process
        with process:
            connected = self._attend(process)
            status = process.wait()
        self.status = status if status >= 0 else 128 - status
        if not connected:
            self.status = NO_LOGIN
        elif status == _BROKEN:
            self.status = NO_CONNECTION
            if not self._stopping:
                self._say(f"the connection to {self.host} broke, and what ran there for this block ends with it.")

    def stop(self) -> None:
        """Let the command on the host end."""
        self._stopping = True
        if self._process is not None and self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except OSError:
                return  # ssh is gone already

    def kill(self) -> None:
        """End ssh, which does not end by itself."""
        if self._process is not None:
            self._process.kill()

    def _attend(self, process: subprocess.Popen[bytes]) -> bool:
        """Pass on what ssh and the host say until both have ended; return whether the login succeeded."""
        assert process.stdin is not None
        assert process.stderr is not None
        self._send(process, self._program + b"\0")
        words, port, refusal = "", 0, "" if self._target else "there is none"
        for raw in process.stderr:
            line = raw.decode(errors="replace").rstrip("\r\n")
            if line == READY:
                break
            port = allocated_port(line) or port
            refusal = line if forward_refused(line) else refusal
            if not allocated_port(line):
                words += line + "\n"
        else:
            if not self._stopping:
                self._say(explained(self.host, words))
            return False
        os.write(2, words.encode())
        if self._target and not port and not refusal:
            port, refusal = shared_port(self.host, self._settings.options, self._target)
        node = Path(__file__).with_name("node.py").read_bytes()
        header = json.dumps({**self._header, "tunnel": port, "no_tunnel": refusal}).encode()
        self._send(process, b"%d\n%b%b\n" % (len(node), node, header))
        while chunk := process.stderr.read(65536):
            os.write(2, chunk)
        return True

    def _send(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        assert process.stdin is not None
        left = memoryview(data)
        try:
            # Without a buffer, a write that a signal interrupts takes only a part.
            while left:
                left = left[process.stdin.write(left) :]
        except (OSError, ValueError):
            return  # ssh has ended, or is about to: its exit status says so

    def _say(self, sentence: str) -> None:
        print(f"parslab: {sentence}", file=sys.stderr, flush=True)


def main(text: str, remote: str) -> int:
    """Keep the block of these settings until it ends; return its exit status.

    Parameters
    ----------
    text
        The settings, JSON.
    remote
        What each host runs: the lines of the user, ``SEPARATOR``, and the command.
    """
    settings = msgspec.json.decode(text, type=SessionSettings)
    worker_init, _, command = remote.partition(SEPARATOR)
    try:
        invitation = dict(invitations.read(settings.invitation)) if settings.invitation else None
    except invitations.RunOver:
        return 0
    addresses: list[str] = [] if invitation is None else invitation["addresses"]
    header = {
        "command": command,
        "mark": os.urandom(8).hex(),
        "grace": _GRACE,
        "invitation": invitation,
        "direct": [] if settings.tunnel == "always" else [a for a in addresses if not _inner(a)],
        "parslab": version(),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
    }
    target = tunnel_target(addresses) if addresses and settings.tunnel != "never" else ""
    program = node_text(worker_init, settings.python).encode("utf-8", "surrogateescape")
    return _serve(settings, [Login(host, settings, program, header, target) for host in settings.hosts])


def _inner(address: str) -> bool:
    return is_loopback(address.removeprefix("tcp://").rpartition(":")[0].strip("[]"))


def _serve(settings: SessionSettings, logins: list[Login]) -> int:
    wake, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    def attend(login: Login) -> None:
        login.run()
        os.write(signalled, b"\0")  # no number of a signal

    threads = [threading.Thread(target=attend, args=(one,), name="parslab-ssh", daemon=True) for one in logins]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not ended.is_set():
        ready = select.select([wake], [], [], _LOOK)[0]
        if (ready and os.read(wake, 512).strip(b"\0")) or _over(settings.invitation):
            ended.set()
    _end(logins, threads)
    return next((one.status for one in logins if one.status), 0)


def _end(logins: list[Login], threads: list[threading.Thread]) -> None:
    for login in logins:
        login.stop()
    deadline = time.monotonic() + _GRACE + _PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for login, thread in zip(logins, threads, strict=True):
        if thread.is_alive():
            login.kill()
            thread.join(_PATIENCE)


def _over(invitation: str) -> bool:
    """Return whether the run is over, or its folder was deleted."""
    if not invitation:
        return False
    try:
        invitations.read(invitation)
    except (invitations.RunOver, FileNotFoundError):
        return True
    except (OSError, ValueError, ParslabError):
        return False  # a file system that does not answer now
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.stdin.read()))
