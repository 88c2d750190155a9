"""Explains the doctor's findings (reports of nodes, output of jobs) in one sentence for each fault [pure]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["address_trouble", "ended_trouble", "python_trouble", "tail", "ways_trouble"]

_ENDS = {
    "failed": "has failed",
    "finished": "has ended",
    "scaled_in": "was cancelled",
    "missing": "is not known to the scheduler any more",
    "running": "runs",
}


def python_trouble(report: Mapping[str, Any], python: Sequence[int], package: str) -> str:
    """Explain why the node's interpreter cannot run a manager, and what to do; empty if it can.

    Parameters
    ----------
    report
        The report of the probe on the node.
    python, package
        The versions of Python and parslab on this host.
    """
    there, where = report["python"], f"{report['executable']} on node {report['host']}"
    if list(there[:2]) != list(python[:2]):
        return (
            f"{where} is Python {_dotted(there)}, and here runs {_dotted(python)}, so functions cannot travel: name "
            "the same version with HighThroughputExecutor(python=...), or activate its environment in the provider's "
            "worker_init."
        )
    for name, found in report["modules"].items():
        if found["error"]:
            return (
                f"{where} cannot import {name} ({found['error']}): install parslab {package} in that environment, or "
                "name another interpreter with HighThroughputExecutor(python=...)."
            )
    version = report["modules"]["parslab"]["version"]
    if version != package:
        return f"{where} has parslab {version}, and here runs {package}: install the same version on both sides."
    return ""


def address_trouble(report: Mapping[str, Any]) -> str:
    """Explain why the node does not reach this host, and what to do; empty if it does."""
    if report["reached"]:
        return ""
    tried = ", ".join(f"{address} ({error})" for address, error in report["unreached"].items())
    return (
        f"Node {report['host']} reaches this host at none of {tried}: name an address or interface that nodes can "
        "connect to with HighThroughputExecutor(address=...), or have the firewall opened for HighThroughputExecutor("
        "port=...)."
    )


def ways_trouble(host: str, tunnel: str, report: Mapping[str, Any], refusal: str) -> str:
    """Explain why managers on a host that ssh reaches cannot connect to this one, and what to do; empty if they can.

    Parameters
    ----------
    host
        The host.
    tunnel
        The option ``tunnel`` of its provider.
    report
        The report of the probe.
    refusal
        Why there is no tunnel; empty if there is one.
    """
    if report["reached"] or (tunnel != "never" and not refusal):
        return ""
    if tunnel == "never":
        return f"{address_trouble(report)[:-1]}, or let managers connect through ssh with SSHProvider(tunnel='auto')."
    opened = "have AllowTcpForwarding set in its sshd"
    if tunnel == "auto":
        opened += ", or let it reach this host with HighThroughputExecutor(address=..., port=...)"
    return f"{host} does not let managers connect through ssh ({refusal}): {opened}."


def ended_trouble(state: str, reason: str, stdout: str, stderr: str, folder: str) -> str:
    """Explain why a job ended without a report, in the words of the shell if there are any.

    Parameters
    ----------
    state, reason
        The state and the reason that the scheduler reports.
    stdout, stderr
        The output of the job.
    folder
        The folder in which the report is missing.
    """
    became = f"The job {_ENDS.get(state, f'is {state}')}{f' ({reason})' if reason else ''}"
    output = tail(stderr) or tail(stdout)
    if output:
        return f"{became} and never reached the probe{_hint(output, folder)}; its last words:\n{output}"
    return (
        f"{became} and left nothing in {folder}: if it was started, its node does not see that folder, or may not "
        "write there; choose one on a file system that nodes share with this host with Config(run_dir=...)."
    )


def _hint(output: str, folder: str) -> str:
    if folder in output and ("No such file" in output or "can't open file" in output):
        return f", because the node does not see {folder}: choose a shared folder with Config(run_dir=...)"
    if "command not found" in output or "No such file or directory" in output:
        return ", because a command is missing on the node: look at python, worker_init and the launcher"
    if "odule" in output and ("not found" in output or "unknown" in output or "Unable to locate" in output):
        return ", because a module of the node's software is missing: look at worker_init"
    return ""


def tail(text: str, lines: int = 8) -> str:
    """Return the last lines of a text that are not empty."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-lines:])


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
