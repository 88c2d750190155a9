"""The guard of the run's port, when a connection has ended before its report is read."""

from __future__ import annotations

import socket

from parslab.dataflow.network.connection_guard import ConnectionGuard


def test_a_descriptor_that_a_unix_socket_has_taken_over_has_no_address() -> None:
    """This raised an IndexError: the name of the peer of a unix socket is an empty text."""
    guard = ConnectionGuard(1, 10)
    ours, theirs = socket.socketpair()
    try:
        guard.accepted(ours.fileno())
        guard.ended(ours.fileno())
    finally:
        guard.close()
        ours.close()
        theirs.close()
