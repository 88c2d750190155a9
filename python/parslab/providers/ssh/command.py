"""Makes the command lines of ssh and the text that starts a block on a host, and explains what ssh says [pure]."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "LOADER",
    "READY",
    "REMOTE_SHELL",
    "allocated_port",
    "explained",
    "forward_refused",
    "node_text",
    "shared_forward_command",
    "ssh_command",
]

READY = "parslab: logged in"
"""The line by which a host says that ssh is connected; all that ssh says of its forwards comes before it."""

REMOTE_SHELL = """exec bash -c 'IFS= read -r -d "" program && eval "$program"'"""
"""The command that ssh runs: it reads a program up to a NUL from stdin, so that the program is on no command line."""

LOADER = 'import sys; b = sys.stdin.buffer; exec(compile(b.read(int(b.readline())), "parslab-ssh-node", "exec"))'
"""Reads a Python program from stdin and runs it; stdin goes on with what the program reads."""

_ALIVE = (15, 8)
"""Seconds between two questions whether the host is alive, and how many may go unanswered: a link may fail for minutes.

The heartbeats of managers find a host that is lost; ssh must not give up earlier than they do.
"""


def ssh_command(host: str, options: Sequence[str], *, target: str, connect_within: float) -> list[str]:
    """Return the command that logs in to a host and runs what its stdin says.

    Parameters
    ----------
    host
        The host, as the user's ssh knows it.
    options
        More options of ssh.  They come before ours, and ssh takes the first value of an option.
    target
        The address ``HOST:PORT`` of this host to which a port of the other host's loopback shall lead; empty: none.
    connect_within
        Seconds within which a connection must be made.
    """
    interval, times = _ALIVE
    settings = [
        f"ConnectTimeout={max(1, round(connect_within))}",
        f"ServerAliveInterval={interval}",
        f"ServerAliveCountMax={times}",
        # A connection that others share ends with its owner; this one may use such a connection, but not become one.
        "ControlMaster=no",
        # Without a tunnel a block may still reach this host directly.
        "ExitOnForwardFailure=no",
        # The line that names the port of the tunnel has this level.
        "LogLevel=INFO",
        "RequestTTY=no",
        "RemoteCommand=none",
        "ForwardX11=no",
    ]
    words = ["ssh", "-o", "BatchMode=yes", *options, "-T"]
    for setting in settings:
        words += ["-o", setting]
    if target:
        words += ["-R", f"127.0.0.1:0:{target}"]
    return [*words, "--", host, REMOTE_SHELL]


def shared_forward_command(host: str, options: Sequence[str], target: str) -> list[str]:
    """Return the command that prints the port of a tunnel through a connection that others share (``ControlMaster``).

    Through such a connection ssh does not say which port a tunnel has got.  The command fails where there is none.
    """
    return ["ssh", "-o", "BatchMode=yes", *options, "-O", "forward", "-R", f"127.0.0.1:0:{target}", "--", host]


def node_text(worker_init: str, python: str) -> str:
    """Return the program of bash that runs ``worker_init`` and then the Python program that follows on stdin."""
    lines = [
        f"echo {shlex.quote(READY)} >&2",
        # A command of the user's lines that reads stdin must not eat what follows there.
        "exec 9<&0 0</dev/null",
        worker_init.strip("\n"),
        f"exec {shlex.quote(python)} -c {shlex.quote(LOADER)} <&9 9<&-",
    ]
    return "\n".join(line for line in lines if line)


def allocated_port(line: str) -> int:
    """Return the port that a line of ssh says is the host's end of the tunnel; 0 if the line says something else.

    Examples
    --------
    >>> allocated_port("Allocated port 40123 for remote forward to 127.0.0.1:5000")
    40123
    """
    match = re.match(r"Allocated port (\d+) for remote forward to ", line)
    return int(match[1]) if match else 0


def forward_refused(line: str) -> bool:
    """Return whether a line of ssh says that the host allows no tunnel."""
    return "remote port forwarding failed" in line


_LOGIN = (
    "ssh may ask for nothing here, neither a password nor a passphrase: load a key with ssh-add, name it in "
    "~/.ssh/config (IdentityFile), or share a connection that you open in a terminal (ControlMaster), and load again"
)

_MEANINGS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .* has changed",
        "has another key than the one in known_hosts",
        "find out why before you trust it, remove the old key with ssh-keygen -R, and load again",
    ),
    (
        r"Host key verification failed|No .* host key is known|authenticity of host",
        "is not in known_hosts",
        "log in once in a terminal to compare and accept its key, and load again",
    ),
    (
        r"Permission denied|Too many authentication failures|no mutual signature|No supported authentication",
        "refuses the login",
        _LOGIN,
    ),
    (
        r"Could not resolve hostname",
        "is unknown by this name",
        "correct the name in hosts, or add it to ~/.ssh/config, and load again",
    ),
    (
        r"timed out|Connection refused|No route to host|Network is unreachable",
        "cannot be reached",
        "see whether it is up, and whether ~/.ssh/config needs a jump host for it (ProxyJump), and load again",
    ),
    (
        r"bash: (command )?not found|bash: No such file",
        "has no bash",
        "install it there, and load again",
    ),
)
"""Words of ssh, what they mean for the host, and what the user can do."""


def explained(host: str, words: str) -> str:
    """Return one sentence about a login that failed: the host, what ssh said, and what the user can do.

    Examples
    --------
    >>> explained("h1", "ssh: Could not resolve hostname h1: Name or service not known")[:32]
    'h1 is unknown by this name (ssh:'
    """
    lines = [line.strip() for line in words.splitlines() if line.strip(" @\r")]
    for pattern, meaning, advice in _MEANINGS:
        said = [line for line in lines if re.search(pattern, line)]
        if said:
            return f"{host} {meaning} ({said[-1]}): {advice}."
    last = lines[-1] if lines else "ssh ended without a word"
    return f"{host} cannot be used ({last}): try it in a terminal with ssh {host}, and load again."
