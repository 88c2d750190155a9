"""The one connection of a run to a login host: calls to the agent there, and the connections of managers [shell].

A thread owns the connection, and logs in again when it is lost.  Other threads call; their calls go on when the
connection was lost and comes back.  The thread logs in for the first time at the first call.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import select
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from parslab.providers.channel.frames import ANSWER, CALL, OPEN, SHUT, Session, Unresumable
from parslab.providers.channel.login import AgentLine, LoginOrder, logged_in
from parslab.providers.channel.streams import Streams, dispatch
from parslab.providers.place import PlaceUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Connection"]

log = logging.getLogger(__name__)

_PING = 5.0
"""Seconds between two signs of life."""
_SILENCE = 25.0
"""Seconds without any word after which the connection is lost, and another login is tried."""
_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before each attempt to log in again; the last one repeats."""
_AT_ONCE = 2.0
"""Seconds after a failed login in which no call causes another one."""
_STEADY = 5.0
"""Seconds that a connection must have lasted to count as one: a host that drops each one is not asked all the time."""
_FAREWELL = 2.0
"""Seconds for the last words to the agent."""
_HUB = 5.0
"""Seconds within which the run must accept the connection of a manager."""


class _Call:
    """A call whose answer somebody awaits."""

    def __init__(self, details: dict[str, Any]) -> None:
        self.details = details
        self.done = threading.Event()
        self.answer: dict[str, Any] | None = None


class Connection:
    """The connection.

    Parameters
    ----------
    order
        How to log in.
    relay
        Whether the agent accepts connections of managers, and at which address and port of the login host.
    """

    def __init__(self, order: LoginOrder, relay: dict[str, Any]) -> None:
        self.host = order.host
        self.target = ("", 0)
        """Where the run accepts connections of managers."""
        self.on_new_agent: Callable[[dict[str, Any]], None] = lambda reply: None
        """Called with what an agent says of itself when this connection meets it for the first time."""
        self._order, self._relay = order, relay
        self._name = secrets.token_hex(8)
        self._selector = selectors.DefaultSelector()
        self._session = Session()
        self._streams = Streams(self._selector, self._send)
        self._output = b""
        # Threads of controllers call, and the thread of the connection answers.  A queue would not do, because callers
        # wait for one of several things: an answer, a login, its failure, or the end.
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._up: dict[str, Any] | None = None
        self._was_up = False
        self._keep = False
        self._asked = False
        self._closing = False
        self._end_agent = False
        self._failures = 0
        self._attempts = 0
        self._failure: PlaceUnreachable | None = None
        self._unsent: list[tuple[int, _Call]] = []
        self._sent: dict[int, _Call] = {}
        self._numbers = 0
        self._wake, self._waker = os.pipe()
        for end in (self._wake, self._waker):
            os.set_blocking(end, False)
        self._selector.register(self._wake, selectors.EVENT_READ, lambda events: self._woken())

    # ----- what other threads call

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._up is not None

    def agent(self, within: float) -> dict[str, Any]:
        """Log in if need be, and return what the agent says of itself.

        Raises
        ------
        PlaceUnreachable
            There is no connection after so many seconds, or a login has failed.
        """
        with self._lock:
            if self._up is None:
                before = self._attempts
                self._demand()
                self._lock.wait_for(lambda: self._up is not None or self._attempts > before or self._closing, within)
            if self._up is not None:
                return self._up
            if self._failure is not None and not self._closing:
                raise PlaceUnreachable(str(self._failure), self._failure.passes or self._was_up)
        raise PlaceUnreachable(f"There is no connection to {self.host} now; it is tried again.")

    def call(self, do: str, within: float, **details: Any) -> dict[str, Any]:
        """Ask the agent for something, and return its answer.

        Raises
        ------
        PlaceUnreachable
            There is no connection, or no answer came within so many seconds.
        """
        until = time.monotonic() + within
        self.agent(within)
        call = self.post(do, **details)
        call.done.wait(max(0.1, until - time.monotonic()))
        if call.answer is None:
            raise PlaceUnreachable(f"The connection to {self.host} was lost; it is tried again.")
        return call.answer

    def post(self, do: str, **details: Any) -> _Call:
        """Ask the agent for something as soon as there is a connection; wait for nothing."""
        call = _Call({"do": do, **details})
        with self._lock:
            self._numbers += 1
            self._unsent.append((self._numbers, call))
            self._poke()
            self._lock.notify_all()
        return call

    def keep(self) -> None:
        """Log in, and log in again after each loss from now on, because managers use the connection."""
        with self._lock:
            if not self._keep:
                self._keep = True
                self._demand()

    def close(self, end_agent: bool) -> None:
        """End the connection, and on demand the agent."""
        with self._lock:
            self._closing, self._end_agent = True, end_agent
            thread = self._thread
            self._poke()
            self._lock.notify_all()
        if thread is not None:
            thread.join(3 * _FAREWELL + _HUB)
        if thread is None or not thread.is_alive():
            self._streams.reset()
            self._selector.close()
            os.close(self._wake)
            os.close(self._waker)

    def _demand(self) -> None:
        """Have the thread log in; the caller has the lock."""
        self._asked = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="parslab-channel", daemon=True)
            self._thread.start()
        self._lock.notify_all()

    def _poke(self) -> None:
        with contextlib.suppress(OSError):  # full: then it wakes up anyway
            os.write(self._waker, b".")

    # ----- the thread: logins

    def _work(self) -> None:
        while self._wait_for_turn():
            hello = {**self._relay, "name": self._name, "received": self._session.received}
            try:
                with logged_in(self._order, hello, lambda: self._closing) as line:
                    began = time.monotonic()
                    self._begin(line)
                    self._serve(line)
                    self._farewell(line)
                log.info("the connection to %s is over", self.host)
                self._failures = 0 if time.monotonic() - began > _STEADY else self._failures + 1
            except PlaceUnreachable as error:
                self._failed(error)
            except Exception:
                log.exception("the connection to %s", self.host)
                self._failed(PlaceUnreachable(f"The connection to {self.host} broke; it is tried again."))
            with self._lock:
                self._up = None

    def _wait_for_turn(self) -> bool:
        """Wait until another login is wanted and due; return False when the connection is to be closed."""
        with self._lock:
            pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
            since = time.monotonic()
            while not self._closing:
                waited = time.monotonic() - since
                # Somebody who asks shall not wait long, but each login may cost the site and the user something.
                due = min(pause, _AT_ONCE) if self._asked else pause
                wanted = bool(self._asked or self._keep or self._sent or self._unsent)
                if wanted and waited >= due:
                    self._asked = False
                    return True
                self._lock.wait(due - waited if wanted else None)
            return False

    def _failed(self, error: PlaceUnreachable) -> None:
        log.warning("%s", error)
        with self._lock:
            self._failures += 1
            self._attempts += 1
            self._failure = error
            self._asked = False
            self._lock.notify_all()

    def _begin(self, line: AgentLine) -> None:
        reply = line.reply
        fresh = bool(reply["fresh"])
        if not fresh:
            try:
                self._session.resume(reply["received"])
            except Unresumable as error:
                raise PlaceUnreachable(
                    f"The agent on {self.host} does not know this run any more ({error})."
                ) from error
        else:
            self._streams.reset()
            self._session = Session()
        self._output = b""
        with self._lock:
            lost = list(self._sent.values()) if fresh else []
            if fresh:
                self._sent.clear()
            self._up, self._was_up = reply, True
            self._failure = None
            self._attempts += 1
            self._asked = False
            self._lock.notify_all()
        for call in lost:
            call.done.set()  # nobody knows what became of it
        log.info("connected to %s (%s)", self.host, "a new agent" if fresh else "the agent goes on")
        if fresh:
            self.on_new_agent(reply)

    # ----- the thread: frames

    def _serve(self, line: AgentLine) -> None:
        process = line.process
        assert process.stdin is not None
        assert process.stdout is not None
        into, out = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(into, False)
        os.set_blocking(out, False)
        state = {"heard": time.monotonic(), "pinged": time.monotonic(), "over": False}

        def arrived(events: int) -> None:
            data = _read(out)
            if data is not None:
                state["heard"] = time.monotonic()
                state["over"] = not data
                self._frames(data)

        self._selector.register(out, selectors.EVENT_READ, arrived)
        try:
            self._frames(line.rest)
            while not self._closing and not state["over"]:
                self._flush(into)
                dispatch(self._selector, 1.0)
                now = time.monotonic()
                if now - state["heard"] > _SILENCE:
                    log.warning("%s has been silent for %g s", self.host, _SILENCE)
                    process.kill()
                    return
                if now - state["pinged"] > _PING:
                    state["pinged"] = now
                    self._session.ping()
        finally:
            self._selector.unregister(out)
            with contextlib.suppress(KeyError):
                self._selector.unregister(into)

    def _flush(self, into: int) -> None:
        with self._lock:
            unsent, self._unsent = self._unsent, []
            self._sent.update(unsent)
        for number, call in unsent:
            self._session.send(CALL, number, json.dumps(call.details).encode())
        try:
            while self._output or self._session.ready:
                if not self._output:
                    self._output = self._session.take()
                self._output = self._output[os.write(into, self._output) :]
        except BlockingIOError:
            if into not in self._selector.get_map():
                self._selector.register(into, selectors.EVENT_WRITE, lambda events: None)
            return
        except OSError:
            return  # ssh has ended: its stdout says so
        if into in self._selector.get_map():
            self._selector.unregister(into)

    def _send(self, kind: int, stream: int, payload: bytes) -> None:
        self._session.send(kind, stream, payload)

    def _frames(self, data: bytes) -> None:
        for kind, number, payload in self._session.feed(data):
            if kind == ANSWER:
                with self._lock:
                    call = self._sent.pop(number, None)
                if call is not None:
                    call.answer = json.loads(payload)
                    call.done.set()
            elif kind == OPEN:
                self._open(number)
            else:
                self._streams.frame(kind, number, payload)

    def _open(self, number: int) -> None:
        try:
            sock = socket.create_connection(self.target, _HUB)
        except OSError as error:
            log.warning("a manager at %s cannot reach the run at %s: %s", self.host, self.target, error)
            self._session.send(SHUT, number)
        else:
            self._streams.add(number, sock)

    def _farewell(self, line: AgentLine) -> None:
        """Send what is still to be sent, and end the agent if it is not needed any more."""
        if not self._closing:
            return
        if self._end_agent:
            self.post("end")
        assert line.process.stdin is not None
        assert line.process.stdout is not None
        until = time.monotonic() + _FAREWELL
        into, out = line.process.stdin.fileno(), line.process.stdout.fileno()
        while time.monotonic() < until:
            self._flush(into)
            if not self._output and not self._session.ready:
                break
            dispatch(self._selector, 0.1)
        # An agent that ends closes the connection. Without that, a slow host would get our end before the last words.
        while self._end_agent and (left := until - time.monotonic()) > 0:
            if select.select([out], [], [], left)[0] and _read(out) == b"":
                return

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)


def _read(descriptor: int) -> bytes | None:
    """Return what has come; None if nothing has, and no bytes at the end."""
    try:
        return os.read(descriptor, 1 << 18)
    except BlockingIOError:
        return None
    except OSError:
        return b""
