"""The poll loop [shell]: it waits for sockets, posted calls and deadlines, and calls back.

One thread runs the loop and owns everything registered here.  Other threads reach it only through :meth:`Loop.post`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import select
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

# The same numbers for epoll.
_READ, _WRITE = select.POLLIN, select.POLLOUT
_MOST_EVENTS = 256
"""Sockets that one round serves at most; the others are served in the next rounds."""


class _HasDescriptor(Protocol):
    def fileno(self) -> int:
        """Return the descriptor."""


Watched: TypeAlias = int | _HasDescriptor
"""What the loop can watch: a descriptor, or an object that has one."""


def _descriptor(sock: Watched) -> int:
    return sock if isinstance(sock, int) else sock.fileno()


class _Entry:
    """A socket and what to call when it is ready."""

    __slots__ = ("readable", "sock", "wants_write", "writable")

    def __init__(self, sock: Watched, readable: Callable[[], None], writable: Callable[[], None] | None) -> None:
        self.sock = sock
        self.readable = readable
        self.writable = writable
        self.wants_write = False


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
        # Not ``selectors``: its methods take as long as the system call, which runs four times for each short task.
        self._epoll: select.epoll | None = select.epoll() if hasattr(select, "epoll") else None
        self._poller: select.epoll | select.poll = self._epoll or select.poll()
        self._watched: dict[int, _Entry] = {}
        self._posted: deque[Callable[[], None]] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        # Not blocking: a full pair means that the loop will wake up anyway, and a signal handler must never wait.
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self.watch(self._wake_out, self._woken)
        self.running = True

    def catch(self, number: signal.Signals, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop when this signal arrives."""
        signal.signal(number, lambda *_: self.post(call))

    def watch(self, sock: Watched, readable: Callable[[], None], writable: Callable[[], None] | None = None) -> None:
        """Call ``readable`` whenever ``sock``, which has or is a descriptor, has something to read."""
        fd = _descriptor(sock)
        self._poller.register(fd, _READ)
        self._watched[fd] = _Entry(sock, readable, writable)

    def wants_write(self, sock: Watched, wants: bool) -> None:
        """Set whether to call the socket's ``writable`` when it accepts bytes again."""
        fd = _descriptor(sock)
        watched = self._watched[fd]
        if watched.wants_write != wants:
            watched.wants_write = wants
            self._poller.modify(fd, _READ | _WRITE if wants else _READ)

    def forget(self, sock: Watched) -> None:
        """Stop watching a socket; twice is safe."""
        fd = _descriptor(sock)
        if fd < 0:  # it is closed already
            fd = next((fd for fd, watched in self._watched.items() if watched.sock is sock), -1)
        if self._watched.pop(fd, None) is not None:
            with contextlib.suppress(OSError, KeyError):  # the system has removed it when it was closed
                self._poller.unregister(fd)

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
        watched, wait, timeout = self._watched, SpinWait().wait, None
        poll = self._poll

        # Made once: a round that serves a single message takes some twenty microseconds.
        def look() -> list[tuple[int, int]]:
            return poll(0)

        def sleep() -> list[tuple[int, int]]:
            return poll(timeout)

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
            # Looked up before the first call: a callback may close a socket, and another one may get its descriptor.
            found = poll(0) if timeout == 0 else wait(look, sleep)
            for entry, mask in [(watched[fd], mask) for fd, mask in found if fd in watched]:
                try:
                    if mask & ~_READ and entry.writable is not None:
                        entry.writable()
                    if mask & ~_WRITE:
                        entry.readable()
                except Exception as error:
                    self._fault(error)
            if self._faults == before:
                self._faults = 0

    def _poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait at most so many seconds (None: for ever) and return the descriptors with events."""
        if self._epoll is not None:
            return self._epoll.poll(timeout, _MOST_EVENTS)
        return self._poller.poll(None if timeout is None else math.ceil(timeout * 1000))

    def _fault(self, error: Exception) -> None:
        self._faults += 1
        if self._faults >= FAULTS:
            raise error
        self._broke(error)

    def close(self) -> None:
        """Close what the loop itself opened."""
        if self._epoll is not None:
            self._epoll.close()
        self._wake_in.close()
        self._wake_out.close()
