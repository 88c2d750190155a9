"""Runs a command in a pod, as ``ssh`` does on a host: its stdin, stdout and stderr are those of this process [shell].

``python -m parslab.providers.kube.exec_pipe NAMESPACE POD COMMAND ...`` takes the way through the API server, over one
websocket.  The channel of a relay starts it where another channel starts ``ssh``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from parslab.providers.kube.cluster import ClusterNamespace
from parslab.providers.kube.failures import KubernetesError
from parslab.providers.kube.pods import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["exec_command", "main"]

_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
"""The first byte of each message of the protocol ``v4.channel.k8s.io``."""
_CHUNK = 1 << 17


def exec_command(
    namespace: str, pod: str, command: Sequence[str], *, kubeconfig: str | None, context: str | None, timeout: float
) -> list[str]:
    """Return the command line that runs a command in a pod by this module."""
    words = [sys.executable, "-m", __name__, f"--timeout={timeout:g}"]
    words += [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    words += [f"--context={context}"] if context else []
    return [*words, "--", namespace, pod, *command]


def main() -> None:
    """Carry bytes until the command ends, or stdin does."""
    parser = argparse.ArgumentParser(prog="python -m parslab.providers.kube.exec_pipe")
    parser.add_argument("--kubeconfig")
    parser.add_argument("--context")
    parser.add_argument("--timeout", type=float, default=20.0)
    parser.add_argument("namespace")
    parser.add_argument("pod")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    cluster = ClusterNamespace(asked.namespace, asked.kubeconfig, asked.context, asked.timeout)
    query = [("container", CONTAINER), ("stdin", "1"), ("stdout", "1"), ("stderr", "1"), ("tty", "0")]
    try:
        line = cluster.websocket(f"pods/{asked.pod}/exec", [*query, *(("command", word) for word in asked.command)])
    except KubernetesError as error:
        sys.exit(f"{error}")
    threading.Thread(target=_carry_in, args=(line,), name="parslab-exec-stdin", daemon=True).start()
    status = _carry_out(line)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the thread waits for stdin


def _carry_in(line: Any) -> None:
    """Send what comes on stdin; its end ends the connection, and so the command's stdin."""
    with contextlib.suppress(Exception):  # the connection is over, which the other thread sees, too
        while data := os.read(0, _CHUNK):
            line.send_binary(bytes([_STDIN]) + data)
    with contextlib.suppress(Exception):
        line.close()


def _carry_out(line: Any) -> int:
    """Write what the command writes, and return its exit status."""
    from websocket import WebSocketException

    status = 0
    try:
        while message := line.recv():
            data = message.encode() if isinstance(message, str) else message
            kind, data = data[0], data[1:]
            if kind in (_STDOUT, _STDERR):
                _write(kind, data)
            elif kind == _STATUS:
                status = _status(json.loads(data))
    except (WebSocketException, OSError) as error:
        _write(2, f"the connection to the pod is lost ({error})\n".encode())
        return 1
    return status


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _status(found: dict[str, Any]) -> int:
    """Return the exit status in Kubernetes' last message, and write why it could not run the command."""
    if found.get("status") == "Success":
        return 0
    causes = found.get("details", {}).get("causes") or []
    codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
    if codes and codes[0].isdecimal():
        return int(codes[0])
    _write(2, f"{found.get('message') or found.get('reason') or 'the command could not run'}\n".encode())
    return 1


if __name__ == "__main__":
    main()
