"""The agent on a login host: it runs the scheduler's commands, keeps files, and relays the connections of managers.

This host sends this text through ssh, so the login host needs Python 3.6 and nothing else.  One process stays when ssh
is gone, so that a lost connection interrupts neither a command nor a manager.  Another process, the end of ssh, carries
bytes between ssh and a socket of the first one.

The first process ends when it is told so, or when nobody has come back for as long as managers wait.
"""

import base64
import contextlib
import errno
import json
import os
import selectors
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from typing import Any

from parslab.providers.channel.frames import ANSWER, CALL, OPEN, Session, Unresumable
from parslab.providers.channel.streams import Streams, dispatch

MARK = b"parslab: the agent is here\n"
"""The line before everything that the agent says: a shell may write greetings first."""
PATIENCE = 180.0
"""Seconds to wait for the next connection, unless a call says otherwise."""
_LIMIT = 1 << 20
"""Bytes of a file that one answer has."""
_BACKLOG = 128
"""Managers that may connect at the same moment."""


# ----- what a call can ask for


def run_command(call: "dict[str, Any]") -> "dict[str, Any]":
    """Run a command without a terminal, and kill it with all that it started after its time limit."""
    command = call["command"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
    try:
        with open(call["stdin"] or os.devnull, "rb") as source:
            process = subprocess.Popen(
                command,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=os.path.expanduser("~"),
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        missing = error.errno == errno.ENOENT and not os.path.dirname(command[0])
        words = f"command not found: {command[0]}" if missing else str(error)
        return {"error": words, "number": error.errno}
    with process:
        try:
            out, err = process.communicate(timeout=call["limit"])
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"hung": "{} did not answer within {:g} s".format(command[0], call["limit"])}
    return {"status": process.returncode, "out": out.decode(errors="replace"), "err": err.decode(errors="replace")}


def private_folder(path: str) -> None:
    """Make a folder that only this user can enter, unless it is there.

    Raises
    ------
    OSError
        It cannot be made, or belongs to somebody else.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "the folder is not this user's alone", path)


def write_files(call: "dict[str, Any]") -> "dict[str, Any]":
    """Write files, each as a whole, so that no reader sees a part of one."""
    private_folder(call["folder"])
    for path, text in call["files"].items():
        handle, name = tempfile.mkstemp(dir=os.path.dirname(path))
        try:
            with open(handle, "wb") as file:
                os.fchmod(handle, call["mode"])
                file.write(text.encode("utf-8", "surrogateescape"))
            os.rename(name, path)
        except BaseException:
            os.unlink(name)
            raise
    return {}


def read_files(call: "dict[str, Any]") -> "dict[str, Any]":
    """Return what files have after the given offsets; a file that is not there is left out."""
    found = {}
    for path, offset in call["files"].items():
        with contextlib.suppress(OSError), open(path, "rb") as file:
            file.seek(offset)
            found[path] = base64.b64encode(file.read(_LIMIT)).decode("ascii")
    return {"files": found, "limit": _LIMIT}


def remove_folder(call: "dict[str, Any]") -> "dict[str, Any]":
    """Remove a folder with all that is in it."""
    shutil.rmtree(call["folder"], ignore_errors=True)
    return {}


def find_commands(call: "dict[str, Any]") -> "dict[str, Any]":
    """Return where commands are; those that are nowhere are left out."""
    found = {name: shutil.which(name) for name in call["names"]}
    return {"found": {name: path for name, path in found.items() if path}}


_CALLS = {
    "run": run_command,
    "write": write_files,
    "read": read_files,
    "remove": remove_folder,
    "find": find_commands,
}


def answer(call: "dict[str, Any]") -> "dict[str, Any]":
    """Do what a call asks for."""
    try:
        return _CALLS[call["do"]](call)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return {"error": f"{error.strerror or error}{where}", "number": error.errno}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "number": None}


# ----- addresses


def own_addresses(wanted: str) -> "list[str]":
    """Return the addresses at which other hosts may reach this one, the likely ones first.

    Parameters
    ----------
    wanted
        An address, a host name or a network interface of this host; empty: all addresses.
    """
    found = {}
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):
                    request = struct.pack("256s", name.encode()[:15])
                    found[name] = socket.inet_ntoa(fcntl.ioctl(probe.fileno(), 0x8915, request)[20:24])  # SIOCGIFADDR
    if wanted:
        return [found[wanted] if wanted in found else socket.gethostbyname(wanted)]
    named = []
    with contextlib.suppress(OSError):
        named.append(socket.gethostbyname(socket.gethostname()))
    addresses = [each for each in dict.fromkeys(named + list(found.values())) if not each.startswith("127.")]
    return [*addresses, "127.0.0.1"]


# ----- the process that stays


class Agent:
    """The process that stays.

    Parameters
    ----------
    door
        The unix socket to which the ends of ssh connect.
    """

    def __init__(self, door: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._session = Session()
        self._name = ""
        """Which process of this host's user talks to this agent; another one begins anew."""
        self._streams = Streams(self._selector, self._session.send)
        self._next_stream = 1
        self._client: Any = None
        self._hello = bytearray()
        self._greeted = False
        self._out = b""
        self._listener: Any = None
        self._ends = time.monotonic() + PATIENCE
        self._patience = PATIENCE
        self._over = False
        self._answers: list[tuple[str, int, dict[str, Any]]] = []
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        door.setblocking(False)
        self._door = door
        self._selector.register(door, selectors.EVENT_READ, lambda events: self._admit())
        self._selector.register(self._wake, selectors.EVENT_READ, lambda events: self._answered())

    def serve(self) -> None:
        """Serve until the end."""
        while not self._over and (self._client is not None or time.monotonic() < self._ends):
            dispatch(self._selector, 1.0)
            self._flush()
        self._streams.reset()

    # --- the end of ssh

    def _admit(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._door.accept()
            self._leave()
            client.setblocking(False)
            self._client, self._hello, self._greeted = client, bytearray(), False
            self._selector.register(client, selectors.EVENT_READ, self._client_event)

    def _leave(self) -> None:
        if self._client is not None:
            self._selector.unregister(self._client)
            self._client.close()
            self._client = None
            self._out = b""
            self._ends = time.monotonic() + self._patience

    def _client_event(self, events: int) -> None:
        if not events & selectors.EVENT_READ:
            return
        try:
            data = self._client.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._leave()
        elif not self._greeted:
            self._hello += data
            line, end, rest = bytes(self._hello).partition(b"\n")
            if end:
                self._greeted = True
                self._greet(json.loads(line.decode()))
                self._frames(rest)
        else:
            self._frames(data)

    def _greet(self, hello: "dict[str, Any]") -> None:
        fresh = hello["name"] != self._name
        if not fresh:
            try:
                self._session.resume(hello["received"])
            except Unresumable:
                fresh = True
        if fresh:
            self._streams.reset()
            self._session = Session()
            self._streams = Streams(self._selector, self._session.send)
            self._name = hello["name"]
        trouble = ""
        try:
            addresses = self._listen(hello["address"], hello["port"]) if hello["relay"] else []
        except OSError as error:
            addresses, trouble = [], str(error)
        reply = {
            "fresh": fresh,
            "received": self._session.received,
            "addresses": addresses,
            "trouble": trouble,
            "host": socket.gethostname(),
            "home": os.path.expanduser("~"),
            "python": "{} {}.{}".format(sys.executable, *sys.version_info[:2]),
        }
        self._out = json.dumps(reply).encode() + b"\n"

    def _frames(self, data: bytes) -> None:
        try:
            frames = self._session.feed(data)
        except (Unresumable, struct.error):
            self._leave()
            return
        for kind, number, payload in frames:
            if kind == CALL:
                self._call(number, json.loads(payload.decode()))
            else:
                self._streams.frame(kind, number, payload)
        if not frames:
            self._session.ping()  # the answer to a sign of life

    def _flush(self) -> None:
        client = self._client
        if client is None or not self._greeted:
            return
        try:
            while self._out or self._session.ready:
                if not self._out:
                    self._out = self._session.take()
                self._out = self._out[client.send(self._out) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            # It has gone, but its last words may still be unread; behind them is the end, which is noticed there.
            self._out = b""
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        if self._selector.get_key(client).events != wanted:
            self._selector.modify(client, wanted, self._client_event)

    # --- calls

    def _call(self, number: int, call: "dict[str, Any]") -> None:
        if call["do"] == "end":
            self._over = True
        elif call["do"] == "stay":
            self._patience = float(call["seconds"])
            self._session.send(ANSWER, number, b"{}")
        else:
            # A command may take its time, and a file system may not answer.
            name = self._name
            threading.Thread(target=lambda: self._work(name, number, call), daemon=True).start()

    def _work(self, name: str, number: int, call: "dict[str, Any]") -> None:
        self._answers.append((name, number, answer(call)))
        os.write(self._waker, b".")

    def _answered(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while self._answers:
            name, number, result = self._answers.pop(0)
            if name == self._name:
                self._session.send(ANSWER, number, json.dumps(result).encode())

    # --- managers

    def _listen(self, address: str, port: int) -> "list[str]":
        addresses = own_addresses(address)
        if self._listener is None:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((addresses[0] if address else "", port))
                listener.listen(_BACKLOG)
            except OSError:
                listener.close()
                raise
            listener.setblocking(False)
            self._listener = listener
            self._selector.register(listener, selectors.EVENT_READ, lambda events: self._accept())
        number = self._listener.getsockname()[1]
        return [f"tcp://{each}:{number}" for each in addresses]

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            time.sleep(0.01)  # it may lack descriptors
            return
        number, self._next_stream = self._next_stream, self._next_stream + 1
        self._session.send(OPEN, number)
        self._streams.add(number, sock)


# ----- the end of ssh


def pump(sock: socket.socket) -> None:
    """Carry bytes between ssh and the process that stays, until one of them has gone."""

    def back() -> None:
        with contextlib.suppress(OSError):
            while True:
                data = sock.recv(1 << 18)
                if not data:
                    break
                view = memoryview(data)
                while view:
                    view = view[os.write(1, view) :]
        os._exit(0)

    threading.Thread(target=back, daemon=True).start()
    with contextlib.suppress(OSError):
        while True:
            data = os.read(0, 1 << 18)
            if not data:
                break
            sock.sendall(data)
    os._exit(0)


def stay(door: socket.socket, path: str) -> None:
    """Become the process that stays; never return."""
    os.setsid()
    if os.fork():
        os._exit(0)
    # sshd keeps a session open as long as a process holds its pipes.
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, door.fileno())
    os.closerange(door.fileno() + 1, 256)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.chdir("/")
    own, failed = os.stat(path).st_ino, False
    try:
        Agent(door).serve()
    except Exception:
        with contextlib.suppress(OSError), open(os.path.join(os.path.dirname(path), "fault"), "w") as file:
            traceback.print_exc(file=file)
            failed = True
    finally:
        with contextlib.suppress(OSError):
            if os.stat(path).st_ino == own and not failed:  # otherwise a later agent has taken the place of this one
                shutil.rmtree(os.path.dirname(path), ignore_errors=True)
        os._exit(0)


def main(token: str) -> None:
    """Connect ssh to the process that stays, and start that process unless it runs; never return.

    Parameters
    ----------
    token
        The name of the agent, one for each run.
    """
    # Always the same folder, whatever TMPDIR a login has: the next login looks there.
    folder = f"/tmp/parslab-agent-{os.getuid()}-{token}"
    path = os.path.join(folder, "door")
    private_folder(folder)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        door.bind(path)
        door.listen(8)
        child = os.fork()
        if not child:
            stay(door, path)
        os.waitpid(child, 0)
        door.close()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
    os.write(1, MARK)
    pump(sock)
