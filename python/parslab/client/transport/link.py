"""The link to the DataFlowKernel [shell]: one socket, one thread, and whoever calls an app.

A call made in a quiet moment is sent by the calling thread itself, which saves a thread switch; calls that come in a
burst wait for the link's thread, which takes them together whenever it gets the interpreter. Everything received is
handled in the link's thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from parslab.client.transport.send_buffer import SendBuffer
from parslab.errors import ProtocolError
from parslab.wire.messages.client import KernelMessage
from parslab.wire.spin_wait import SpinWait
from parslab.wire.stream import Batch, Buffer, Stream, decoder

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

__all__ = ["KernelLink"]

log = logging.getLogger(__name__)

_QUIET = 60e-6
"""Seconds since the last call after which a call is sent by its own thread."""


class KernelLink:
    """Both directions of a client's connection.

    Parameters
    ----------
    sock
        Connected to the DataFlowKernel.
    handle
        Called in the link's thread with each batch.
    ended
        Called in the link's thread when the connection is over, with what went wrong.
    mend
        Called before that: makes another connection to the run (:meth:`turn_over`), or answers that there is none.
    """

    def __init__(
        self,
        sock: socket.socket,
        handle: Callable[[Batch], None],
        ended: Callable[[str], None],
        mend: Callable[[str], bool] | None = None,
    ) -> None:
        sock.setblocking(False)
        self._stream = Stream(sock, decoder(KernelMessage))
        self._handle = handle
        self._ended = ended
        self._mend = mend
        self._out = SendBuffer(sock, keep=mend is not None)
        self._outbox = self._out.outbox
        self._sending = threading.Lock()  # the socket's outgoing side is shared with every thread that calls an app
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._eagerness = SpinWait()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._poll.register(self._wake_out, select.POLLIN)
        self._awake = False
        self._received: deque[Batch] = deque()
        self._last = 0.0
        self._watching_room = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="parslab-link", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether the caller is the link's own thread."""
        return threading.current_thread() is self._thread

    # ----- out

    def call(self, message: Any) -> None:
        """Send a message of the hot path: now when it is quiet, soon when many come."""
        self._outbox.append(message)
        now = perf_counter()
        quiet = now - self._last > _QUIET
        self._last = now
        if quiet:
            self.flush()
        elif not self._awake:
            self._wake()

    def send(self, message: Any, frames: Sequence[Buffer] = ()) -> None:
        """Send a message now.  With frames the call returns when they are on their way, so that the caller may
        change the arrays they belong to."""
        if not frames:
            self._outbox.append(message)
            self.flush()
            return
        room = select.poll()
        with self._sending:
            if self._over:
                return
            if not self._out.broken:
                room.register(self._stream.sock, select.POLLOUT)
            try:
                self._out.add(message, frames)
                while not self._out.flush() and not self._over:
                    room.poll(1000)
            except BaseException:
                self._let_go()
                raise

    def flush(self) -> None:
        """Send what waits."""
        if self._outbox:
            with self._sending:
                left = not self._over and not self._out.push()
            if left:
                self._wake()

    def drain(self, seconds: float) -> None:
        """Send what waits, and wait until it is on its way, at most so long."""
        room = select.poll()
        room.register(self._stream.sock, select.POLLOUT)
        deadline = perf_counter() + seconds
        with self._sending:
            while not self._over and not self._out.push() and perf_counter() < deadline:
                room.poll(50)

    def later(self, message: Any) -> None:
        """Send with the next batch; safe in ``__del__``."""
        self._outbox.append(message)

    def _let_go(self) -> None:
        """The caller was interrupted and may change its arrays now: the link's thread sends the rest of copies."""
        while True:
            try:
                self._out.own()
                self._wake()
                return
            except KeyboardInterrupt:  # once more; the first one is on its way to the user already
                continue

    def _wake(self) -> None:
        try:
            self._awake = True
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._wake_in, b"x")
        except BaseException:
            self._awake = False  # interrupted: nobody knows whether it was written
            raise

    wake = _wake

    # ----- in

    def _run(self) -> None:
        how = "ended"
        try:
            while not self._over:
                how = self._serve()
                if self._over or self._mend is None or not self._mend(how):
                    break
        except Exception as error:
            log.exception("the link to the DataFlowKernel could not be mended")
            how = f"could not be listened to: {type(error).__name__}: {error}"
        finally:
            self._over = True
            self._ended(how)

    def _serve(self) -> str:
        """Handle what comes until the connection is over; answers how it came to that."""
        try:
            while not self._over:
                self.turn(None)
        except EOFError:
            return "is gone"
        except ProtocolError as error:
            return f"was not understood: {error}"
        except Exception as error:
            log.exception("the link to the DataFlowKernel broke")
            return f"could not be listened to: {type(error).__name__}: {error}"
        return "ended"

    # ----- another DataFlowKernel (link's thread)

    def let_go(self) -> None:
        """The connection is over: what is called from now on waits for another one."""
        with self._sending:
            self._out.broken = True
            self._out.own()
        with contextlib.suppress(KeyError, ValueError):
            self._poll.unregister(self._stream.sock)
        self._stream.close()

    def turn_over(self, sock: socket.socket, ready: Callable[[], bool], seconds: float) -> bool:
        """Listen to another connection until ``ready``; nothing is sent before :meth:`resume`.

        Raises
        ------
        EOFError
            That one is over, too.
        """
        sock.setblocking(False)
        self._stream = Stream(sock, decoder(KernelMessage))
        self._poll.register(sock, select.POLLIN)
        self._watching_room = False
        deadline = perf_counter() + seconds
        while not self._over and not ready():
            if perf_counter() > deadline:
                return False
            self.turn(100)
        return not self._over

    def resume(self, there: int) -> None:
        """Send everything again but the first so many batches, which the DataFlowKernel has."""
        with self._sending:
            self._out.resume(self._stream.sock, there)
            self._out.flush()
        self._wake()

    def acked(self, batches: int) -> None:
        """So many batches are in the run's record."""
        if batches > self._out.last + 1:  # it will never be: there is no record any more
            with self._sending:
                self._out.stop_keeping()
        else:
            self._out.safe = batches

    @property
    def lasting(self) -> bool:
        """Whether what is sent is kept until it is in the run's record."""
        return self._out.keep

    @property
    def safe(self) -> int:
        """How many batches are in the run's record, as far as we know."""
        return self._out.safe

    def turn(self, timeout: int | None) -> None:
        """Wait (at most ``timeout`` milliseconds) for something, once, and handle it.

        The link's own thread calls it too while a callback of the user makes it wait for an answer: what was received
        together with what led to the callback is then handled before anything that comes later.
        """
        if self._received:
            self._deliver()
            return
        stream, congested = self._stream, self._out.congested
        if congested != self._watching_room:
            self._watching_room = congested
            self._poll.modify(stream.sock, select.POLLIN | (select.POLLOUT if congested else 0))
        for fd, events in self._eagerness.wait(lambda: self._poll.poll(0), lambda: self._poll.poll(timeout)):
            if fd == self._wake_out:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_out, 4096)
                self._awake = False
                self.flush()
                continue
            if events & select.POLLOUT:
                with self._sending:
                    self._out.flush()
            if events & ~select.POLLOUT:
                self._received.extend(stream.receive())
                self._deliver()

    def _deliver(self) -> None:
        while self._received:
            self._handle(self._received.popleft())

    def close(self) -> None:
        """Stop and wait for the thread; twice is safe."""
        if not self._over:
            self._over = True
            self._wake()
        if not self.here and self._thread.is_alive():
            self._thread.join(5.0)
        self.abandon()

    def abandon(self) -> None:
        """Close our descriptors without a word; what a forked child must do."""
        self._over = True
        self._stream.close()
        for fd in (self._wake_in, self._wake_out):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._wake_in = self._wake_out = -1
