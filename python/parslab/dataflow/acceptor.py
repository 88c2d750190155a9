"""Accepts connections to a unix socket [shell]; it pauses while the process has no free descriptor."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from parslab.remote.transient import is_transient, retry_pause
from parslab.wire.descriptors import using_spare

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from parslab.dataflow.host import Host

__all__ = ["Acceptor"]

log = logging.getLogger(__name__)


class Acceptor:
    """Watches a listening socket.

    Parameters
    ----------
    listener
        A listening socket that does not block; the acceptor closes it.
    host
        The process that it runs in.
    accepted
        Called with each new connection.
    """

    def __init__(self, listener: socket.socket, host: Host, accepted: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._host = host
        self._accepted = accepted
        self._failures = 0
        self._watch()

    def _watch(self) -> None:
        # The run may have closed the listener during a pause.
        if self._listener.fileno() >= 0:
            self._host.loop.watch(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = using_spare(self._listener.accept)
        # A peer that hung up since the poll leaves nothing to accept.
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if not is_transient(error):
                raise
            self._pause(error)
            return
        self._failures = 0
        self._accepted(sock)

    def _pause(self, error: OSError) -> None:
        """Stop watching for a moment: the connection stays in the queue, and the poll would report it again at once."""
        self._failures += 1
        pause = retry_pause(self._failures)
        log.warning("a connection cannot be accepted now, and is tried again in %g s: %s", pause, error)
        self._host.loop.forget(self._listener)
        self._host.call_at(self._host.now() + pause, self._watch)

    def close(self) -> None:
        """Close the listening socket; twice is safe."""
        with contextlib.suppress(ValueError):
            self._host.loop.forget(self._listener)
        self._listener.close()
