"""The poll loop [shell]: it waits for sockets, posted calls and deadlines, and calls back.

One thread runs the loop and owns everything registered here.  Other threads reach it only through :meth:`Loop.post`.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeAlias

from parslab.clock import steady_time
from parslab.wire.spin_wait import SpinWait

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FAULTS", "Loop"]

log = logging.getLogger(__name__)

FAULTS = 10
"""Callbacks that may fail without a good round in between, before the loop gives up."""

_LONGEST_WAIT = 3600.0
"""Seconds that the loop waits at most: the timeout of the system call overflows at 24 days."""

_READ, _BOTH = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE


class _HasDescriptor(Protocol):
    def fileno(self) -> int:
        """Return the descriptor."""


Watched: TypeAlias = int | _HasDescriptor
"""What the loop can watch: a descriptor, or an object that has one."""


class Loop:
    """Waits for sockets, posted calls, signals and deadlines, then calls back.

    Parameters
    ----------
    after
        Called after each round of callbacks; returns the next deadline (of ``clock.steady_time``) or None.
    broke
        Called with an exception that a callback raised.  Such a mistake of parslab should not end the run.
        After ``FAULTS`` of them without a good round in between, the loop ends with the last exception.
    """

    def __init__(self, after: Callable[[], float | None], broke: Callable[[Exception], None]) -> None:
        self._after = after
        self._broke = broke
        self._faults = 0
        self._selector = selectors.DefaultSelector()
        self._posted: deque[Callable[[], None]] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        # Not blocking: a full pair means that the loop will wake up anyway, and a signal handler must never wait.
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._selector.register(self._wake_out, _READ, (self._woken, None))
        self.running = True

    def catch(self, number: signal.Signals, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop when this signal arrives."""
        signal.signal(number, lambda *_: self.post(call))

    def watch(self, sock: Watched, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        """Call ``readable`` whenever ``sock`` has something to read."""
        self._selector.register(sock, _READ, (readable, writable))

    def wants_write(self, sock: Watched, wants: bool) -> None:
        """Set whether to call the socket's ``writable`` when it accepts bytes again."""
        key = self._selector.get_key(sock)
        events = _BOTH if wants else _READ
        if key.events != events:
            self._selector.modify(sock, events, key.data)

    def forget(self, sock: Watched) -> None:
        """Stop watching a socket; twice is safe."""
        with contextlib.suppress(KeyError, ValueError):  # ValueError: the socket is closed already
            self._selector.unregister(sock)

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread; safe from any thread and from signal handlers."""
        # In this order: the loop that this byte wakes must find the call.  ``deque.append`` is atomic.
        self._posted.append(call)
        with contextlib.suppress(BlockingIOError):
            self._wake_in.send(b"x")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_out.recv(4096)
        # After the bytes are read: a call that is posted meanwhile leaves a byte for the next round.
        while self._posted:
            self._posted.popleft()()

    def run(self) -> None:
        """Serve until ``running`` is false."""
        select, spin_wait = self._selector.select, SpinWait()
        while self.running:
            before = self._faults
            try:
                deadline = self._after()
            except Exception as error:
                self._fault(error)
                deadline = steady_time()  # ``after`` gave no deadline, so try again at once
            if not self.running:
                break
            timeout = None if deadline is None else min(max(0.0, deadline - steady_time()), _LONGEST_WAIT)
            for key, mask in spin_wait.wait(lambda: select(0), lambda: select(timeout)):  # noqa: B023
                readable, writable = key.data
                try:
                    if mask & selectors.EVENT_WRITE and writable is not None:
                        writable()
                    if mask & selectors.EVENT_READ:
                        readable()
                except Exception as error:
                    self._fault(error)
            if self._faults == before:
                self._faults = 0

    def _fault(self, error: Exception) -> None:
        self._faults += 1
        if self._faults >= FAULTS:
            raise error
        self._broke(error)

    def close(self) -> None:
        """Close what the loop itself opened."""
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
