"""Tries the hosts of an ``SSHProvider`` for ``parslab doctor``: the login, Python, and both ways back.

It logs in as a block does, and runs ``probe.py`` on the host in place of a manager.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.cli.findings import python_trouble, ways_trouble
from parslab.providers.ssh.command import READY, allocated_port, explained, forward_refused, node_text, ssh_command
from parslab.providers.ssh.session import shared_port
from parslab.version import version

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.ssh.provider import SSHProvider

__all__ = ["HostTrial", "examine_hosts"]


@dataclass
class HostTrial:
    """What a login to one host has shown.

    Attributes
    ----------
    target
        Where on this host the tunnel leads; empty if there shall be none.
    trouble
        Why the host cannot be used at all; empty if it can.
    report
        The report of the probe.
    refusal
        Why there is no tunnel; empty if there is one.
    """

    host: str
    target: str
    trouble: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    refusal: str = ""


def examine_hosts(
    provider: SSHProvider, python: str, addresses: list[str], timeout: float, good: Callable[[str, str], None]
) -> str:
    """Try each host, and show what works.

    Parameters
    ----------
    provider
        The provider.
    python
        The interpreter on the hosts.
    addresses
        Addresses ``HOST:PORT`` of this host, where somebody listens.
    timeout
        Seconds that a host may take.
    good
        Shows a step that went well: its name and details.

    Returns
    -------
    str
        Why the configuration cannot work, and what to do; empty if it can.
    """
    for host in dict.fromkeys(provider.hosts):
        trial = _try(host, provider, python, addresses, timeout)
        trouble = trial.trouble or python_trouble(trial.report, sys.version_info[:3], version())
        if trouble:
            return trouble
        report = trial.report
        good(f"{host}: Python", f"{report['executable']}, parslab {version()} ({report['cores']} cores)")
        if provider.tunnel != "always":
            good(f"{host}: directly", report["reached"] or f"no ({_words(report['unreached'])})")
        if provider.tunnel != "never":
            good(f"{host}: through ssh", f"no ({trial.refusal})" if trial.refusal else "yes")
        trouble = ways_trouble(host, provider.tunnel, report, trial.refusal)
        if trouble:
            return trouble
        good(f"{host}: managers connect", "directly" if report["reached"] else "through ssh")
    return ""


def _words(unreached: dict[str, str]) -> str:
    return ", ".join(f"{address}: {why}" for address, why in unreached.items()) or "not tried"


def _try(host: str, provider: SSHProvider, python: str, addresses: list[str], timeout: float) -> HostTrial:
    # The tunnel leads to the loopback address, where those who listen at all addresses listen, too.
    inner = [address for address in addresses if address.startswith("127.")]
    target = "" if provider.tunnel == "never" else next(iter(inner or addresses), "")
    command = ssh_command(host, provider.ssh_options, target=target, connect_within=provider.cmd_timeout)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
        bufsize=0,  # nobody may read ahead of the line that says that the login succeeded
        start_new_session=True,
    )
    guard = threading.Timer(timeout, process.kill)
    guard.start()
    try:
        with process:
            direct = [] if provider.tunnel == "always" else [one for one in addresses if one not in inner]
            try:
                return _probed(HostTrial(host, target), process, provider, python, direct)
            finally:
                # Another connection through this ssh, also one of the user's configuration, would keep it.
                process.kill()
    finally:
        guard.cancel()


def _probed(
    trial: HostTrial, process: subprocess.Popen[bytes], provider: SSHProvider, python: str, direct: list[str]
) -> HostTrial:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(OSError):  # ssh has ended, and says why
        process.stdin.write(node_text(provider.worker_init, python).encode() + b"\0")
    words, port = "", 0
    for raw in process.stderr:
        line = raw.decode(errors="replace").rstrip("\r\n")
        if line == READY:
            break
        port = allocated_port(line) or port
        trial.refusal = line if forward_refused(line) else trial.refusal
        words += line + "\n"
    else:
        trial.trouble = explained(trial.host, words)
        return trial
    if trial.target and not port and not trial.refusal:
        port, trial.refusal = shared_port(trial.host, provider.ssh_options, trial.target)
    tunnel = f"127.0.0.1:{port}" if port else ""
    program = Path(__file__).with_name("probe.py").read_text()
    program = f"__name__ = 'probe'\n{program}\nmain('', {direct!r}, {tunnel!r})\n"
    with contextlib.suppress(OSError):
        process.stdin.write(b"%d\n%b" % (len(program.encode()), program.encode()))
    reports = (raw for raw in process.stdout if raw.startswith(b'{"host": '))
    trial.report = json.loads(next(reports, b"{}"))
    if not trial.report:
        last = process.stderr.read().decode(errors="replace").strip().splitlines() or ["without a word"]
        trial.trouble = (
            f"{python} on {trial.host} ended before it ran the probe ({last[-1].strip()}): see that it is there, and "
            "that worker_init activates it."
        )
    elif tunnel:
        trial.refusal = trial.report["tunnel"]
    return trial
