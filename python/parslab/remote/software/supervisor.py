"""The host's side of a worker in a container [shell]: it starts the container, and lives and ends with the worker.

For the pool this process is the worker.  It inherits what a worker inherits, and passes these descriptors on through a
unix socket in a mounted folder, because an engine with a server passes none.  The first process in the container is a
watcher.  It starts the worker as its child, kills it when this process has gone, and reports how it ended.  Then this
process ends in the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.remote.software.engines import ENGINES, NAME_PREFIX, ContainerStart, Mount
from parslab.remote.worker.lifeline import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LINK", "WATCHER", "supervise"]

LINK = "/parslab-link"
"""Where the folder of the socket is mounted."""
_TICK = 100
"""Milliseconds between two looks whether the engine's command still runs, until the container is there."""
_REMOVAL = 10.0
"""Seconds that the engine may take to remove a container whose first process has ended."""
_LAST_WORDS = 2000
"""Bytes of the engine's output that explain a container that did not start."""
WATCHER = """
import json, os, select, signal, socket, sys
os.chdir(sys.argv[1])
host = socket.socket(socket.AF_UNIX)
host.connect('s')
head, fds, _, _ = socket.recv_fds(host, 8, 16)
text, size = b'', int.from_bytes(head, 'big')
while len(text) < size:
    more = host.recv(size - len(text))
    if not more:
        os._exit(1)
    text += more
s = json.loads(text)
os.environ.update(s['environment'])
try:
    os.chdir(s['cwd'])
except OSError:
    os.chdir('/')
wake, woken = os.pipe()
os.set_blocking(woken, False)
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.set_wakeup_fd(woken)
worker = os.fork()
if not worker:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd in (host.detach(), wake, woken):
        os.close(fd)
    os.setsid()
    for fd in fds:
        os.set_inheritable(fd, False)
    os.dup2(fds[2], 1)
    os.dup2(fds[3], 2)
    s.update(data=fds[0], control=fds[1], files=fds[2:4], page=fds[4])
    os.environ['PARSLAB_WORKER'] = json.dumps(s)
    exec(s['start'], {'__name__': '__main__'})
    os._exit(0)
for fd in fds:
    os.close(fd)
def end(status):
    try:
        os.killpg(worker, signal.SIGKILL)
    except OSError:
        pass
    os._exit(status)
signal.signal(signal.SIGTERM, lambda *_: end(143))
poll = select.poll()
poll.register(host, select.POLLIN)
poll.register(wake, select.POLLIN)
while True:
    for fd, _ in poll.poll():
        if fd != wake:
            end(1)
        os.read(wake, 4096)
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == worker:
                host.sendall(status.to_bytes(4, 'big'))
                end(0)
            if not pid:
                break
    except ChildProcessError:
        end(1)
"""
"""The program of the first process in a container; any Python 3.9 or newer can run it."""


def supervise(settings: dict[str, Any]) -> None:
    """Run a worker in a container, and end as it ends.

    Parameters
    ----------
    settings
        The settings of a worker, and ``container``: a :class:`ContainerStart`.
    """
    die_with_parent(settings.pop("lifeline"), settings["parent"])
    signal.signal(signal.SIGTERM, _terminated)
    start = msgspec.convert(settings.pop("container"), ContainerStart)
    descriptors = [settings.pop("data"), settings.pop("control"), *settings.pop("files"), settings.pop("page")]
    name = f"{NAME_PREFIX}{settings['worker']}-{secrets.token_hex(4)}"
    engine = ENGINES[start.engine]
    status: int | None = None
    with tempfile.TemporaryFile() as output:
        with _listening() as (listener, folder):
            linked = msgspec.structs.replace(start, mounts=(*start.mounts, Mount(folder, LINK)))
            command = engine.start(linked, name, ["-c", WATCHER, LINK], os.geteuid(), os.getegid())
            # Without the marks by which a run finds its processes and kills them: the engine must live long enough to
            # remove the container.
            environment = {key: text for key, text in os.environ.items() if not key.startswith("PARSLAB_")}
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(command, stdin=quiet, stdout=output, stderr=output, env=environment)
            try:
                container = _accepted(listener, process)
            except _Terminated:
                container, status = None, -signal.SIGTERM
        if container is None and status is None:
            output.seek(max(0, output.seek(0, os.SEEK_END) - _LAST_WORDS))
            os.write(2, output.read())
            os._exit(process.returncode if process.returncode > 0 else 1)
    if container is not None:
        status = _follow(container, settings, descriptors)
    _remove(process, engine.remove(start.program, name))
    _end_as(_by_signal(process.returncode) if status is None else status)


class _Terminated(BaseException):
    """The pool ends this worker."""


def _terminated(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: the removal of the container needs its time
    raise _Terminated


def _follow(container: socket.socket, settings: dict[str, Any], descriptors: list[int]) -> int | None:
    """Run the worker to its end; return its exit status (negative: a signal), None if the container has died."""
    try:
        _hand_over(container, settings, descriptors)
        status = _ended(container)
        return None if status is None else os.waitstatus_to_exitcode(status)
    except _Terminated:
        return -signal.SIGTERM
    finally:
        container.close()  # the watcher then kills a worker that still runs


@contextlib.contextmanager
def _listening() -> Iterator[tuple[socket.socket, str]]:
    """Yield a listening socket and its folder, which is needed only until the container has connected."""
    folder = tempfile.mkdtemp(prefix="parslab-")
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(folder, "s"))
            listener.listen()
            yield listener, folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _accepted(listener: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket | None:
    """Return the connection of the container; None if the engine's command ended before."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while not poll.poll(_TICK):
        if process.poll() is not None:
            return None
    return listener.accept()[0]


def _hand_over(container: socket.socket, settings: dict[str, Any], descriptors: list[int]) -> None:
    text = json.dumps(settings).encode()
    socket.send_fds(container, [len(text).to_bytes(8, "big")], descriptors)
    container.sendall(text)
    # The pool must notice when the worker closes its links.
    for fd in descriptors:
        os.close(fd)


def _ended(container: socket.socket) -> int | None:
    """Wait for the end of the worker; return its status, None if the whole container has died."""
    with contextlib.suppress(OSError):
        status = container.recv(4)
        if len(status) == 4:
            return int.from_bytes(status, "big")
    return None


def _remove(process: subprocess.Popen[bytes], command: list[str] | None) -> None:
    """Wait until the engine has removed the container; remove it ourselves if the engine's command was killed."""
    try:
        if process.wait(_REMOVAL) >= 0:
            return
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if command is not None:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_REMOVAL, check=False)


def _by_signal(status: int) -> int:
    """Return the status of a process that an engine reports: 137 stands for signal 9."""
    return 128 - status if 128 < status <= 128 + signal.SIGRTMAX else status


def _end_as(status: int) -> None:
    """End with this status; negative: by that signal."""
    if status < 0:
        # The core of this process would tell nobody anything.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with contextlib.suppress(OSError):  # KILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)
