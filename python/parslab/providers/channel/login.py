"""Logs in to a login host with the user's own ``ssh``, and starts the agent there [shell]."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.providers.place import PlaceUnreachable
from parslab.providers.ssh.command import READY, explained, ssh_command
from parslab.remote.awaited import awaited
from parslab.wire.descriptors import using_spare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["AgentLine", "LoginOrder", "logged_in"]

_MODULES = ("frames", "streams", "agent")
"""The modules of the agent, in the order of their imports."""
_MARK = b"parslab: the agent is here\n"
_LOADER = 'import sys; b = sys.stdin.buffer; exec(compile(b.read(int(b.readline())), "parslab-agent", "exec"))'
"""Reads a Python program from stdin and runs it; stdin goes on with what the program reads."""
_LOOK = 0.2
_END = 3.0
"""Seconds that ssh has to end by itself."""
_PASSES = re.compile(r"timed out|Connection (refused|reset|closed)|No route to host|Network is unreachable|Broken pipe")


@dataclass(frozen=True)
class LoginOrder:
    """How to log in, and what the agent is started with.

    Attributes
    ----------
    host, options, python, init, timeout
        As in :class:`~parslab.providers.channel.ssh.SSH`.
    token
        The name of the agent, one for each run.
    """

    host: str
    options: tuple[str, ...]
    python: str
    init: str
    timeout: float
    token: str

    def command(self) -> list[str]:
        """Return the command that logs in and runs there what its stdin says."""
        return ssh_command(self.host, self.options, target="", connect_within=self.timeout)

    def not_started(self, error: OSError) -> str:
        """Return what to say when the command cannot be started."""
        return f"ssh cannot be started ({error.strerror}): install it, and load again."

    def refused(self, words: str) -> str:
        """Return what to say when the login fails; ``words`` are the last ones of the command."""
        return explained(self.host, words)

    def silent(self) -> str:
        """Return what to say when the login takes too long."""
        return f"{self.host} did not let ssh in within {self.timeout:g} s."

    def python_failed(self, words: str) -> str:
        """Return what to say when the agent does not start."""
        return (
            f"{self.host} could not run {self.python} ({words}): name an interpreter of 3.6 or later there with "
            "SSH(python=...), and see that its login shell and init=... end well."
        )


@dataclass
class AgentLine:
    """A connection to the agent.

    Attributes
    ----------
    process
        The ssh; frames go through its stdin and stdout.
    reply
        What the agent has said of itself.
    rest
        The bytes that came behind that.
    """

    process: subprocess.Popen[bytes]
    reply: dict[str, Any] = field(default_factory=dict)
    rest: bytes = b""


@contextlib.contextmanager
def logged_in(order: LoginOrder, hello: Mapping[str, Any], cancelled: Callable[[], bool]) -> Iterator[AgentLine]:
    """Yield a connection to the agent, and end it afterwards.

    Parameters
    ----------
    order
        How to log in.
    hello
        What the agent is told first.
    cancelled
        Returns True when nobody wants the connection any more.

    Raises
    ------
    PlaceUnreachable
        The login failed, or the login host cannot run the agent.
    """
    command = order.command()

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
            bufsize=0,
            start_new_session=True,  # no terminal, so that ssh for a jump host cannot ask there either
        )

    try:
        running = awaited(lambda: using_spare(start))
        process = running.__enter__()
    except OSError as error:
        raise PlaceUnreachable(order.not_started(error), False) from error
    try:
        with process:
            login = _Login(order, process, cancelled)
            try:
                yield login.met(hello)
            finally:
                _end(process)
                login.listening.join(_END)
    finally:
        running.__exit__(None, None, None)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_END)
    except subprocess.TimeoutExpired:
        process.kill()


class _Login:
    """One attempt.

    Attributes
    ----------
    listening
        The thread that reads what ssh and the host write to stderr.
    """

    def __init__(self, order: LoginOrder, process: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> None:
        self._order, self._process, self._cancelled = order, process, cancelled
        self._until = time.monotonic() + order.timeout
        self._words: list[str] = []
        self._connected = threading.Event()
        self.listening = threading.Thread(target=self._listen, name="parslab-channel-words", daemon=True)
        self.listening.start()

    def met(self, hello: Mapping[str, Any]) -> AgentLine:
        """Return the connection, once the agent has answered."""
        out = self._process.stdout
        assert out is not None
        self._send(agent_shell(self._order.init, self._order.python).encode("utf-8", "surrogateescape") + b"\0")
        program = agent_program(self._order.token).encode()
        self._send(b"%d\n%b" % (len(program), program))
        arrived = self._read_until(out.fileno(), b"", _MARK)[1]
        self._send(json.dumps(dict(hello)).encode() + b"\n")
        reply, rest = self._read_until(out.fileno(), arrived, b"\n")
        return AgentLine(self._process, json.loads(reply), rest)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip("\r\n")
            if line == READY:
                self._words.clear()
                self._connected.set()
            elif len(self._words) < 100:
                self._words.append(line)

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        left = memoryview(data)
        with contextlib.suppress(OSError):  # ssh has ended: its last words say why
            while left:
                left = left[self._process.stdin.write(left) :]

    def _read_until(self, descriptor: int, arrived: bytes, end: bytes) -> tuple[bytes, bytes]:
        """Return what comes before and behind some bytes."""
        while end not in arrived:
            if self._cancelled():
                raise PlaceUnreachable("nobody needs the connection any more")
            if time.monotonic() > self._until:
                raise self._failure("no answer in time")
            if select.select([descriptor], [], [], _LOOK)[0]:
                data = os.read(descriptor, 1 << 16)
                if not data:
                    raise self._failure("")
                arrived += data
        before, _, rest = arrived.partition(end)
        return before, rest

    def _failure(self, why: str) -> PlaceUnreachable:
        if not why:
            self.listening.join(_END)  # the last words may be on their way
        words = [line for line in self._words if line.strip()]
        if self._connected.is_set():
            last = why or (words[-1].strip() if words else "without a word")
            return PlaceUnreachable(self._order.python_failed(last), passes=bool(why))
        if why:
            return PlaceUnreachable(self._order.silent())
        text = "\n".join(words)
        return PlaceUnreachable(self._order.refused(text), passes=_PASSES.search(text) is not None)


def agent_shell(init: str, python: str) -> str:
    """Return the program of bash on the login host: a login shell, the user's lines, and a program of Python.

    A login shell, because many sites put the commands of their scheduler on the PATH of those only.
    """
    inner = "\n".join([init.strip("\n"), f"exec {shlex.quote(python)} -c {shlex.quote(_LOADER)} <&9 9<&-"])
    return "\n".join(
        [
            f"echo {shlex.quote(READY)} >&2",
            # Nothing in a profile may read what the agent is told.
            "exec 9<&0 0</dev/null",
            f"exec bash -l -c {shlex.quote(inner.strip())}",
        ]
    )


def agent_program(token: str) -> str:
    """Return the program of Python that runs the agent, with all its modules: the login host may lack parslab."""
    names = [f"{__package__}.{name}" for name in _MODULES]
    texts = [(name, Path(__file__).with_name(f"{name.rpartition('.')[2]}.py").read_text()) for name in names]
    return (
        "import sys, types\n"
        f"for name, text in {texts!r}:\n"
        "    module = sys.modules[name] = types.ModuleType(name)\n"
        '    exec(compile(text, name, "exec"), module.__dict__)\n'
        f"sys.modules[{names[-1]!r}].main({token!r})\n"
    )
