"""The link to the DataFlowKernel [shell]: one socket, one thread of its own, and the threads that call apps.

In a quiet moment the calling thread sends its call itself, which saves a thread switch.  In a burst, calls wait for the
link's thread, which sends them together.  The link's thread handles everything that is received.
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
"""Seconds after the last call: a later call is sent by its own thread."""


class KernelLink:
    """Both directions of a client's connection.

    Parameters
    ----------
    sock
        A socket that is connected to the DataFlowKernel.
    keep
        Whether to keep what was sent until it is in the event log, so that another DataFlowKernel can get it again.
    """

    def __init__(self, sock: socket.socket, keep: bool = False) -> None:
        sock.setblocking(False)
        self._stream = Stream(sock, decoder(KernelMessage))
        self._handle: Callable[[Batch], None]
        self._ended: Callable[[str], None]
        self._reconnect: Callable[[str], bool] | None = None
        self.on_unsendable: Callable[[Any, Exception], None] | None = None
        self._out = SendBuffer(sock, keep=keep)
        self._outbox = self._out.outbox
        # Every thread that calls an app may write to the socket: handing all calls to one thread costs a thread switch.
        self._sending = threading.Lock()
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._spin_wait = SpinWait()
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._poller.register(self._wake_out, select.POLLIN)
        self._awake = False
        self._received: deque[Batch] = deque()
        self._last = 0.0
        self._watching_room = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="parslab-link", daemon=True)

    def start(
        self,
        handle: Callable[[Batch], None],
        ended: Callable[[str], None],
        reconnect: Callable[[str], bool] | None = None,
    ) -> None:
        """Start the thread, which calls these functions.

        Parameters
        ----------
        handle
            Gets each batch that arrives.
        ended
            Gets the reason when the connection is over for good.
        reconnect
            Gets the reason before that; makes another connection (:meth:`switch_to`), or returns False.
        """
        self._handle, self._ended, self._reconnect = handle, ended, reconnect
        self._thread.start()

    @property
    def in_own_thread(self) -> bool:
        """Whether the link's own thread is the caller."""
        return threading.current_thread() is self._thread

    # ----- out

    def call(self, message: Any) -> None:
        """Send a message of the hot path: now in a quiet moment, soon in a burst."""
        self._outbox.append(message)
        now = perf_counter()
        quiet = now - self._last > _QUIET
        self._last = now
        if quiet:
            self.flush()
        elif not self._awake:
            self._wake()

    def send(self, message: Any, frames: Sequence[Buffer] = ()) -> None:
        """Send a message now.

        With frames this returns when they have left, so that the caller may change the arrays they belong to.
        """
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
                self._copy_frames()
                raise

    def flush(self) -> None:
        """Send what waits in the buffer."""
        if self._outbox:
            with self._sending:
                left = not self._over and not self._out.push()
            if left:
                self._wake()
            if self._out.rejected:
                self._report_unsendable()

    def _report_unsendable(self) -> None:
        """Report messages that could not be encoded. The caller holds no lock, because callbacks of users may run."""
        with contextlib.suppress(IndexError):
            while True:
                message, error = self._out.rejected.popleft()
                log.error("a %s could not be sent: %s", type(message).__name__, error)
                if self.on_unsendable is not None:
                    self.on_unsendable(message, error)

    def drain(self, seconds: float) -> None:
        """Send what waits in the buffer, and wait until it has left, at most so many seconds."""
        room = select.poll()
        room.register(self._stream.sock, select.POLLOUT)
        deadline = perf_counter() + seconds
        with self._sending:
            while not self._over and not self._out.push() and perf_counter() < deadline:
                room.poll(50)

    def later(self, message: Any) -> None:
        """Send a message with the next batch; safe in ``__del__``."""
        self._outbox.append(message)

    def _copy_frames(self) -> None:
        """Copy the frames that wait, because their caller was interrupted and may change its arrays from now on."""
        while True:
            try:
                self._out.own()
                self._wake()
                return
            except KeyboardInterrupt:  # try again; the first interrupt already goes up to the user
                continue

    def _wake(self) -> None:
        try:
            self._awake = True
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._wake_in, b"x")
        except BaseException:
            self._awake = False  # interrupted: the byte may or may not have been written
            raise

    def wake(self) -> None:
        """Make the link's thread send what waits in the buffer."""
        self._wake()

    # ----- in

    def _run(self) -> None:
        how = "ended"
        try:
            while not self._over:
                how = self._serve()
                if self._over or self._reconnect is None or not self._reconnect(how):
                    break
        except Exception as error:
            log.exception("the link to the DataFlowKernel could not reconnect")
            how = f"could not be listened to: {type(error).__name__}: {error}"
        finally:
            self._over = True
            self._ended(how)

    def _serve(self) -> str:
        """Handle what arrives until the connection is over; returns the reason."""
        try:
            while not self._over:
                self.poll(None)
        except EOFError:
            return "is gone"
        except ProtocolError as error:
            return f"was not understood: {error}"
        except Exception as error:
            log.exception("the link to the DataFlowKernel broke")
            return f"could not be listened to: {type(error).__name__}: {error}"
        return "ended"

    # ----- another DataFlowKernel (link's thread)

    def disconnect(self) -> None:
        """Close the connection; calls that are made from now on wait for the next one."""
        with self._sending:
            self._out.broken = True
            self._out.own()
        with contextlib.suppress(KeyError, ValueError):
            self._poller.unregister(self._stream.sock)
        self._stream.close()

    def switch_to(self, sock: socket.socket, ready: Callable[[], bool], seconds: float) -> bool:
        """Listen to another connection until ``ready`` is true; nothing is sent before :meth:`resume`.

        Returns
        -------
        bool
            False when it was not ready within so many seconds, or this link was closed.

        Raises
        ------
        EOFError
            This connection is over, too.
        """
        sock.setblocking(False)
        self._stream = Stream(sock, decoder(KernelMessage))
        self._poller.register(sock, select.POLLIN)
        self._watching_room = False
        deadline = perf_counter() + seconds
        while not self._over and not ready():
            if perf_counter() > deadline:
                return False
            self.poll(100)
        return not self._over

    def resume(self, there: int) -> None:
        """Send all batches again except the first ``there``, which the new DataFlowKernel has."""
        with self._sending:
            self._out.resume(self._stream.sock, there)
            self._out.flush()
        self._wake()

    def acked(self, batches: int) -> None:
        """Forget the first so many batches, which are in the event log."""
        if batches > self._out.last + 1:  # a number that no batch reaches: the run has no event log any more
            with self._sending:
                self._out.stop_keeping()
        else:
            self._out.safe = batches

    @property
    def keeps_batches(self) -> bool:
        """Whether batches are kept until they are in the event log."""
        return self._out.keep

    @property
    def safe(self) -> int:
        """How many batches are in the event log, as far as this process knows."""
        return self._out.safe

    def poll(self, timeout: int | None) -> None:
        """Wait once, at most ``timeout`` milliseconds, for something to happen, and handle it.

        The link's thread also calls this inside a callback of the user that waits for an answer.  The batches that were
        received together with the one that led to the callback are then handled before later ones.
        """
        if self._received:
            self._deliver()
            return
        stream, congested = self._stream, self._out.congested
        if congested != self._watching_room:
            self._watching_room = congested
            self._poller.modify(stream.sock, select.POLLIN | (select.POLLOUT if congested else 0))
        for fd, events in self._spin_wait.wait(lambda: self._poller.poll(0), lambda: self._poller.poll(timeout)):
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
        """Stop the thread and wait for it; twice is safe."""
        if not self._over:
            self._over = True
            self._wake()
        if not self.in_own_thread and self._thread.is_alive():
            self._thread.join(5.0)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors of this process without sending anything, as a forked child must."""
        self._over = True
        self._stream.close()
        for fd in (self._wake_in, self._wake_out):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._wake_in = self._wake_out = -1
