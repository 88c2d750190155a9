"""The program on a host that is reached by ssh: it runs the command of a block, and leaves nothing behind [shell].

The block's process on the notebook's host sends this text through ssh, so the host needs Python 3.6 and nothing else to
run it: only the standard library, and no syntax of later versions.  The text comes through stdin, as does the header
with the keys of the run; no command line ever contains them.

The command ends, with everything that it started, when stdin ends: then ssh is gone, however it died.  A second process
waits for the death of this one, and does the same then.
"""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

MARK = "PARSLAB_SSH_JOB"
"""The environment variable with the mark of everything that the command starts."""
INVITATION = "PARSLAB_INVITATION"
"""The environment variable with the path at which a manager finds its run."""
DIRECT = 2.0
"""Seconds within which an address of the notebook's host must answer."""
KILL = 2.0
"""Seconds after which nobody tries any more to kill what does not die."""

NO_PARSLAB, UNREACHABLE = 3, 4
"""Exit statuses."""


def trouble_of_python(header: "dict[str, Any]", version: "tuple[int, ...]", parslab: str) -> str:
    """Explain why a manager cannot run here; empty if it can.

    Parameters
    ----------
    header
        What the notebook's host needs: ``python`` and ``parslab``, two versions.
    version, parslab
        Those of this interpreter; ``parslab`` is empty if there is none.
    """
    where = f"{sys.executable} on {socket.gethostname()}"
    wanted, dotted = header["python"], ".".join(map(str, version[:2]))
    if wanted != dotted:
        return (
            f"{where} is Python {dotted}, and the notebook has {wanted}, so functions cannot travel: activate an "
            "environment with the same version in worker_init, or name it with HighThroughputExecutor(python=...), and "
            "load again."
        )
    if not parslab:
        return (
            f"{where} has no parslab: install parslab {header['parslab']} in that environment, or activate another one "
            "in worker_init, and load again."
        )
    if parslab != header["parslab"]:
        return (
            f"{where} has parslab {parslab}, and the notebook has {header['parslab']}: install the same version on "
            "both sides, and load again."
        )
    return ""


def installed_parslab() -> str:
    """Return the version of parslab of this interpreter; empty if it has none."""
    try:
        from parslab.version import version
    except ImportError:
        return ""
    return version()


def first_reachable(addresses: "list[str]", patience: float) -> "tuple[str, dict[str, str]]":
    """Return the first of the addresses (``tcp://HOST:PORT``) that accepts a connection, and why each other did not.

    ``parslab.wire.reachable`` does the same, but this program must run where parslab is not installed.
    """
    until = time.monotonic() + patience
    failures: dict[str, str] = {}
    waiting: dict[socket.socket, str] = {}
    for address in addresses:
        host, _, port = address[len("tcp://") :].rpartition(":")
        host = host.strip("[]")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        error = sock.connect_ex((host, int(port)))
        if error in (0, errno.EINPROGRESS):
            waiting[sock] = address
        else:
            sock.close()
            failures[address] = os.strerror(error).lower()
    found = ""
    while waiting and not found and time.monotonic() < until:
        ready = select.select([], list(waiting), [], max(0.0, until - time.monotonic()))[1]
        for sock in ready:
            address = waiting.pop(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            sock.close()
            if error:
                failures[address] = os.strerror(error).lower()
            else:
                found = found or address
    for sock, address in waiting.items():
        failures[address] = "no answer"
        sock.close()
    return found, failures


def choose_address(direct: "list[str]", tunnel: int, no_tunnel: str) -> "tuple[str, str]":
    """Return the address at which the manager reaches its run, and else why there is none.

    Parameters
    ----------
    direct
        Addresses of the notebook's host.
    tunnel
        The port on this host that leads there; 0 if there is none.
    no_tunnel
        Why there is none.
    """
    found, failures = first_reachable(direct, DIRECT)
    if found or tunnel:
        return found or f"tcp://127.0.0.1:{tunnel}", ""
    tried = ", ".join(f"{address} ({why})" for address, why in failures.items()) or "no address"
    return "", (
        f"{socket.gethostname()} does not reach the notebook's host, neither directly at {tried} nor through ssh "
        f"({no_tunnel}): have AllowTcpForwarding set in the host's sshd, or a port of the notebook's host opened, and "
        "load again."
    )


def marked(mark: str) -> "list[int]":
    """Return the processes of this host that have the mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    with contextlib.suppress(OSError):  # systems without /proc
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(name)
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.append(pid)
    return found


def in_group(pid: int, group: int) -> bool:
    """Return whether a process belongs to a group."""
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False  # it has ended


def end(group: int, mark: str, grace: float) -> None:
    """Ask the processes of a group to end, for ``grace`` seconds at most, and then kill all marked ones."""
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while grace and any(in_group(pid, group) for pid in marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
    # Again and again: a process that forks may have children that were not seen.
    deadline = time.monotonic() + KILL
    while time.monotonic() < deadline:
        left = marked(mark)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def remove_files(run: str) -> None:
    """Remove what a manager that was killed has kept on this host for the run."""
    if run:
        with contextlib.suppress(Exception):  # of another version of parslab, or of a disk
            from parslab.files.cache import remove_run_of_killed

            remove_run_of_killed(run)


def watch_over(group: int, mark: str, grace: float, run: str) -> int:
    """Start a process that ends the command if this process is killed; return the descriptor that it waits for."""
    reads, writes = os.pipe()
    if os.fork():
        os.close(reads)
        return writes
    try:
        os.setsid()
        os.close(writes)
        # sshd keeps a session open as long as a process holds its pipes.
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        if not os.read(reads, 1):
            end(group, mark, grace)
            remove_files(run)
    finally:
        os._exit(0)


def environment_of(header: "dict[str, Any]", mark: str) -> "tuple[dict[str, str], tuple[int, ...]]":
    """Return the environment of the command, and the descriptors that it inherits.

    Raises
    ------
    SystemExit
        A manager cannot run on this host, or cannot reach its run; stderr says why.
    """
    environment = dict(os.environ, **{MARK: mark})
    invitation = header["invitation"]
    if not isinstance(invitation, dict):
        return environment, ()
    trouble = trouble_of_python(header, sys.version_info[:3], installed_parslab())
    if trouble:
        fail(trouble, NO_PARSLAB)
    address, trouble = choose_address(header["direct"], header["tunnel"], header["no_tunnel"])
    if trouble:
        fail(trouble, UNREACHABLE)
    text = json.dumps(dict(invitation, addresses=[address], socket=""))
    # The file has no name from the beginning, so the keys of the run cannot be left on the disk of this host.
    with tempfile.TemporaryFile(mode="w") as file:
        file.write(text)
        file.flush()
        copy = os.dup(file.fileno())
    environment[INVITATION] = f"/dev/fd/{copy}"
    return environment, (copy,)


def fail(sentence: str, status: int) -> None:
    """End with a sentence for the user."""
    print(f"parslab: {sentence}", file=sys.stderr)
    sys.exit(status)


def main() -> int:
    """Run the command of the header; return its exit status, as a shell reports it."""
    line = sys.stdin.buffer.readline()
    if not line:
        return 0  # ssh is gone already
    header = json.loads(line.decode())
    mark, grace = header["mark"], header["grace"]
    environment, descriptors = environment_of(header, mark)
    wake, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    process = subprocess.Popen(
        ["bash", "-c", header["command"]],
        stdin=subprocess.DEVNULL,
        env=environment,
        pass_fds=descriptors,
        start_new_session=True,
    )
    for descriptor in descriptors:
        os.close(descriptor)
    run = (header["invitation"] or {}).get("run", "")
    watcher = watch_over(process.pid, mark, grace, run)
    status = None
    while status is None:
        ready = select.select([0, wake], [], [])[0]
        status = process.poll()
        numbers = os.read(wake, 512) if wake in ready else b""
        if status is None and (set(numbers) - {int(signal.SIGCHLD)} or (0 in ready and not os.read(0, 4096))):
            end(process.pid, mark, grace)
            status = process.wait()
    # Nothing that the command has left running may stay.
    end(process.pid, mark, 0.0)
    remove_files(run)
    with contextlib.suppress(OSError):
        os.write(watcher, b".")
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
