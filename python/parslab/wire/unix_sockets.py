"""Unix sockets that only processes of one user may use: listen, and check the peer [shell]."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING

from parslab.errors import UntrustedPathError
from parslab.trust import owner_name

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_peer", "listen", "peer_pid", "peer_uid"]


def listen(path: Path) -> socket.socket:
    """Listen at a path in a folder of our own; replace a socket that a crashed process left there."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A ``chmod`` after ``bind`` would leave a moment in which other users can connect.
    old = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(old)
    sock.listen(16)
    sock.setblocking(False)
    return sock


def check_peer(sock: socket.socket, path: str) -> None:
    """Check that the process that listens at a unix socket is one of ours.

    Parameters
    ----------
    sock
        A socket that is connected to the process.
    path
        Path of the socket, for the error message.

    Raises
    ------
    UntrustedPathError
        A process of another user listens there.
    """
    # Root could read our files anyway, so its processes are no additional risk.
    uid = peer_uid(sock)
    if uid is not None and uid not in (os.geteuid(), 0):
        raise UntrustedPathError(
            f"{path} is refused because a process of {owner_name(uid)} listens there, not one of yours: delete the "
            "socket, or the connection file that names it."
        )


def peer_uid(sock: socket.socket) -> int | None:
    """Return the user at the other end of a unix socket; None where the system does not show it."""
    if sys.platform == "linux":
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", raw)[1])
    with contextlib.suppress(OSError, AttributeError, struct.error):
        # LOCAL_PEERCRED of macOS and the BSDs: struct xucred begins with its version and the uid.
        raw = sock.getsockopt(0, 1, 76)
        return int(struct.unpack_from("=II", raw)[1])
    return None


def peer_pid(sock: socket.socket) -> int | None:
    """Return the pid of the peer, as this process sees it; None where the system does not show it."""
    if sys.platform == "linux":
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", raw)[0])
    with contextlib.suppress(OSError, struct.error):
        # LOCAL_PEERPID of macOS.
        return int(struct.unpack("i", sock.getsockopt(0, 2, 4))[0])
    return None
