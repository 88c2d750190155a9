"""Keys of a run: every TCP link is CurveZMQ, and only holders of the run's client key may connect.

The key pairs are made anew for each run and lie in 0600 files of its folder, where a DataFlowKernel that is started
again after a crash finds them. :class:`CurveGate` answers ZeroMQ's questions about newcomers (ZAP, RFC 27) inside
the poll loop, so no thread is needed for it.
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
    """Lets in peers whose public key is on the list.

    Parameters
    ----------
    context
        Of the sockets to guard; there can be one gate for each context.
    allowed
        Public keys (Z85).
    """

    def __init__(self, context: zmq.Context[Any], allowed: set[str]) -> None:
        self._allowed = {z85.decode(key) for key in allowed}
        self.refused = 0
        """Peers turned away so far."""
        self.socket: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Answer every question that waits."""
        while int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            version, request, _domain, _address, _identity, mechanism, *credentials = self.socket.recv_multipart()
            known = mechanism == b"CURVE" and bool(credentials) and credentials[0] in self._allowed
            status = (b"200", b"OK", b"worker") if known else (b"400", b"unknown key", b"")
            if not known:
                self.refused += 1
            self.socket.send_multipart([version, request, *status, b""])
