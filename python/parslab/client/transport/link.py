"""``KernelLink`` sends and receives the messages of one client over one socket [shell].

A thread that makes a single call sends it itself, which saves a thread switch.  When calls follow each other quickly,
the link's thread sends them together in one batch.  The link's thread also handles all messages that arrive.

Handling a message may run callbacks of the user.  When such a callback waits for a future or a reply, the link's thread
hands its work over: another thread becomes the link's thread, and the old one ends with the callback.  So a callback
that waits costs a thread, and all other callbacks cost nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from parslab.client.thread_pool import lend
from parslab.client.transport.send_buffer import SendBuffer
from parslab.errors import ProtocolError
from parslab.wire.messages.client import KernelMessage
from parslab.wire.spin_wait import SpinWait
from parslab.wire.stream import Batch, Buffer, Stream, decoder

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from parslab.wire.messages.base import WireMessage

__all__ = ["KernelLink"]

log = logging.getLogger(__name__)

_QUIET = 60e-6
"""Seconds since the last call after which a thread sends its own call; to wake another thread takes about as long."""


class _HandedOver(BaseException):
    """Another thread has become the link's thread, so this one ends.

    A BaseException, because errors of messages are Exceptions, and end the connection.
    """


class KernelLink:
    """Both directions of a client's connection.

    Parameters
    ----------
    sock
        A socket that is connected to the DataFlowKernel.
    keep
        Whether to keep sent batches until they are in the event log, so that the link can send them to the next
        DataFlowKernel again.
    """

    def __init__(self, sock: socket.socket, keep: bool = False) -> None:
        sock.setblocking(False)
        self._stream = Stream(sock, decoder(KernelMessage))
        self._handle: Callable[[Batch], None]
        self._ended: Callable[[str], None]
        self._reconnect: Callable[[str], bool] | None = None
        self.on_unsendable: Callable[[WireMessage, Exception], None] | None = None
        self._out = SendBuffer(sock, keep=keep)
        self._outbox = self._out.outbox
        # Every thread that calls an app may write to the socket: handing all calls to one thread costs a thread switch.
        self._sending = threading.Lock()
        # Only a descriptor wakes a thread that sleeps in poll(). Writes do not block: a full pipe wakes it as well.
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._spin_wait = SpinWait()
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._poller.register(self._wake_out, select.POLLIN)
        # Made once: a round that serves a single message takes some ten microseconds.
        self._look, self._sleep = partial(self._poller.poll, 0), self._poller.poll
        self._awake = False
        self._received: deque[Batch] = deque()
        self._last = 0.0
        self._watching_room = False
        """Whether the link's thread wakes when the socket has room, and then sends all that is in the buffer."""
        self._over = False
        self._serving = False
        """Whether the link's thread handles messages of a connection, and is not about to make another one."""
        self._take_unhandled: Callable[[], list[Batch]] = list
        self._thread = threading.Thread(target=self._run, name="parslab-link", daemon=True)

    def start(
        self,
        handle: Callable[[Batch], None],
        ended: Callable[[str], None],
        reconnect: Callable[[str], bool] | None = None,
        *,
        take_unhandled: Callable[[], list[Batch]] = list,
    ) -> None:
        """Start the thread, which calls these functions.

        Parameters
        ----------
        handle
            Gets each batch that arrives.
        ended
            Gets the reason when the link gives up.
        reconnect
            Gets the reason of each loss.  It makes another connection (:meth:`switch_to`), or returns False.
        take_unhandled
            Returns the messages that a call of ``handle`` under way has not handled yet, and ends that call.
        """
        self._handle, self._ended, self._reconnect = handle, ended, reconnect
        self._take_unhandled = take_unhandled
        self._thread.start()

    @property
    def in_own_thread(self) -> bool:
        """Whether the caller runs in the link's thread."""
        return threading.current_thread() is self._thread

    # ----- out

    def call(self, message: WireMessage) -> None:
        """Send a message of the hot path, in this thread or, when calls follow each other quickly, in the link's."""
        # A lock is not needed: list.append is atomic in CPython, and a stale _last costs one send too many or too few.
        self._outbox.append(message)
        now = perf_counter()
        quiet = now - self._last > _QUIET
        self._last = now
        if self._awake or self._watching_room:
            return  # the link's thread is about to send it
        if quiet:
            self.flush()
        else:
            self._wake()

    def send(self, message: WireMessage, frames: Sequence[Buffer] = ()) -> None:
        """Send a message at once.

        A message with frames refers to arrays of the caller.  The method returns when the frames have left, so that the
        caller may change these arrays.
        """
        if not frames:
            self._outbox.append(message)
            self.flush()
            return
        room = select.poll()
        with self._sending:
            if self._over:
                return
            if not self._out.broken:  # add() copies the frames of a lost connection, so there is nothing to wait for
                room.register(self._stream.sock, select.POLLOUT)
            try:
                self._out.add(message, frames)
                while not self._out.flush() and not self._over:
                    room.poll(1000)  # in steps, to notice that another thread has closed the link
            except BaseException:
                self._copy_frames()
                raise

    def flush(self) -> None:
        """Send the messages in the buffer."""
        if self._outbox:
            with self._sending:
                left = not self._over and not self._out.push()
            # The link's thread looks for room before it sleeps, and sends the rest then: to wake it would make it run
            # in circles until the DataFlowKernel reads.
            if left and not self._watching_room and not self.in_own_thread:
                self._wake()
            if self._out.rejected:
                self._report_unsendable()

    def _report_unsendable(self) -> None:
        """Report messages that could not be encoded.

        The caller holds no lock, because the report settles futures, whose callbacks are code of users.
        """
        with contextlib.suppress(IndexError):
            while True:
                message, error = self._out.rejected.popleft()
                log.error("a %s could not be sent: %s", type(message).__name__, error)
                if self.on_unsendable is not None:
                    self.on_unsendable(message, error)

    def drain(self, seconds: float) -> None:
        """Send the messages in the buffer, and wait at most so many seconds until they have left."""
        room = select.poll()
        room.register(self._stream.sock, select.POLLOUT)
        deadline = perf_counter() + seconds
        with self._sending:
            while not self._over and not self._out.push() and perf_counter() < deadline:
                room.poll(50)

    def later(self, message: WireMessage) -> None:
        """Send a message with the next batch; it takes no lock, so ``__del__`` may call it."""
        self._outbox.append(message)

    def _copy_frames(self) -> None:
        """Copy the unsent frames, because an interrupt ends the caller's wait, and it may change its arrays now."""
        while True:
            try:
                self._out.own()
                self._wake()
                return
            except KeyboardInterrupt:  # the caller re-raises the first interrupt, so this one may be dropped
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
        """Make the link's thread send the messages in the buffer."""
        self._wake()

    # ----- in

    def _run(self) -> None:
        lend(self)
        how = "ended"
        try:
            while not self._over:
                self._serving = True
                how = self._serve()
                if not self.in_own_thread:
                    return
                self._serving = False
                if self._over or self._reconnect is None or not self._reconnect(how):
                    break
        except _HandedOver:
            pass
        except Exception as error:
            log.exception("the link to the DataFlowKernel could not reconnect")
            how = f"could not be listened to: {type(error).__name__}: {error}"
        finally:
            if self.in_own_thread:
                self._serving, self._over = False, True
                self._ended(how)
            lend(None)

    # ----- callbacks that wait (link's thread)

    def hand_over(self) -> bool:
        """Let another thread become the link's thread, if this is it; return whether the caller may block.

        The link's thread may not while it connects to another DataFlowKernel, or ends.
        """
        if not self.in_own_thread:
            return True
        if not self._serving or self._over:
            return False
        begin = threading.Event()

        def run() -> None:
            begin.wait()
            self._run()

        thread = threading.Thread(target=run, name="parslab-link", daemon=True)
        thread.start()  # first, because it may fail
        # In front of later batches, so that messages keep their order.
        self._received.extendleft(reversed(self._take_unhandled()))
        lend(None)
        self._thread = thread
        begin.set()
        return True

    def before_blocking(self) -> None:
        """Hand over to another thread; raise RuntimeError where that is not possible."""
        if not self.hand_over():
            raise RuntimeError(
                "a done callback cannot wait for a future while the run ends or is restored: make the call that needs "
                "the value in the callback, and wait elsewhere"
            )

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Return a context in which the current thread waits, and another thread is the link's thread."""
        self.before_blocking()
        yield

    def _serve(self) -> str:
        """Handle messages until the connection is over; return the reason."""
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
        """Close the connection; later calls wait in the buffer for the next connection."""
        with self._sending:
            self._out.broken = True
            self._out.own()
        with contextlib.suppress(KeyError, ValueError):
            self._poller.unregister(self._stream.sock)
        self._stream.close()

    def switch_to(self, sock: socket.socket, ready: Callable[[], bool], seconds: float) -> bool:
        """Receive from another connection until ``ready`` is true; the link sends nothing before :meth:`resume`.

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
        """Drop the first so many batches, which are in the event log."""
        if batches > self._out.last + 1:  # a number that no batch reaches: the run has no event log any more
            with self._sending:
                self._out.stop_keeping()
        else:
            self._out.safe = batches
            # Not with the next batch: a notebook that pauses must not keep the memory of arguments that are safe.
            if self._out.keeps_blocks:
                with self._sending:
                    self._out.drop_safe()

    @property
    def keeps_batches(self) -> bool:
        """Whether the link keeps batches until they are in the event log."""
        return self._out.keep

    @property
    def safe(self) -> int:
        """How many batches are in the event log, as far as this process knows."""
        return self._out.safe

    def poll(self, timeout: int | None) -> None:
        """Wait at most ``timeout`` milliseconds for the next messages or for room to send, and handle them.

        A callback of the user may wait for a reply while the link's thread connects to another DataFlowKernel.  This
        method is then called inside ``poll``.  Such a nested call first handles the batches that the outer call has
        received, to keep their order.
        """
        thread = self._thread
        if self._received:
            self._deliver()
            return
        stream, congested = self._stream, self._out.congested
        if congested != self._watching_room:
            self._watching_room = congested
            self._poller.modify(stream.sock, select.POLLIN | (select.POLLOUT if congested else 0))
            if not congested:
                self.flush()  # calls that found the flag set have not woken this thread
        sleep = self._sleep if timeout is None else partial(self._poller.poll, timeout)
        for fd, events in self._spin_wait.wait(self._look, sleep):
            if fd == self._wake_out:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_out, 4096)
                # Clear the flag before the flush. A call that is made in between writes another byte. In the other
                # order it would find the flag set, write no byte, and stay in the buffer.
                self._awake = False
                self.flush()
                if self._thread is not thread:  # a call could not be sent, and a callback of its future waits
                    raise _HandedOver
                continue
            if events & select.POLLOUT:
                with self._sending:
                    self._out.push()
                if self._out.rejected:
                    self._report_unsendable()
            if events & ~select.POLLOUT:
                self._received.extend(stream.receive())
                self._deliver()

    def _deliver(self) -> None:
        thread = self._thread
        while self._received:
            self._handle(self._received.popleft())
            if self._thread is not thread:
                raise _HandedOver

    def close(self) -> None:
        """Stop the thread and wait for it; twice is safe."""
        if not self._over:
            self._over = True
            self._wake()
        if not self.in_own_thread and self._thread.is_alive():
            self._thread.join(5.0)  # a callback of the user may keep that thread busy for ever
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors of this process without sending anything, as a forked child must."""
        self._over = True
        self._stream.close()
        self._out.drop_all()
        # The numbers become -1 afterwards: the system reuses them, and a late wake() must not write to another file.
        for fd in (self._wake_in, self._wake_out):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._wake_in = self._wake_out = -1
