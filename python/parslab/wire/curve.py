"""Keys of a run: every TCP link uses CurveZMQ, and only holders of the run's client key may connect.

Each run makes new key pairs and keeps them in 0600 files of its folder, so that a restarted DataFlowKernel finds them.
:class:`CurveGate` answers the authentication requests of ZeroMQ (ZAP, RFC 27) inside the poll loop, without a thread.
"""

from __future__ import annotations

from typing import Any

import zmq
from zmq.utils import z85

__all__ = ["CurveGate", "CurveKeys"]


class CurveKeys:
    """The two key pairs of a run, as text (Z85).

    Parameters
    ----------
    secrets
        The secret keys of server and clients; None: new ones.
    """

    def __init__(self, secrets: tuple[str, str] | None = None) -> None:
        server, client = secrets or (zmq.curve_keypair()[1].decode(), zmq.curve_keypair()[1].decode())
        self.server_public, self.server_secret = zmq.curve_public(server.encode()).decode(), server
        self.client_public, self.client_secret = zmq.curve_public(client.encode()).decode(), client


class CurveGate:
    """Admits peers whose public key is on the list.

    Parameters
    ----------
    context
        The context of the guarded sockets; each context can have one gate.
    allowed
        Public keys (Z85).
    """

    def __init__(self, context: zmq.Context[Any], allowed: set[str]) -> None:
        # ZeroMQ hands over the raw 32 bytes of a key, not its text.
        self._allowed = {z85.decode(key) for key in allowed}
        self.refused = 0
        """How many peers were refused so far."""
        self.socket: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.socket.linger = 0
        # RFC 27 fixes this address: ZeroMQ asks here, and admits everybody to a context in which nobody listens.
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Answer every request that waits."""
        # All of them: the descriptor is edge-triggered, so nothing reports a request that is left over.
        while int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            version, request, _domain, _address, _identity, mechanism, *credentials = self.socket.recv_multipart()
            known = mechanism == b"CURVE" and bool(credentials) and credentials[0] in self._allowed
            status = (b"200", b"OK", b"worker") if known else (b"400", b"unknown key", b"")
            if not known:
                self.refused += 1
            self.socket.send_multipart([version, request, *status, b""])
