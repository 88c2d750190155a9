"""Finds which of several TCP addresses of a host can be reached from here [shell]."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["reachable"]

_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)
"""What a connection that does not wait returns while it is being made."""


def reachable(addresses: Sequence[str], patience: float) -> tuple[str, dict[str, str]]:
    """Return the first of these addresses (``tcp://HOST:PORT``) that accepts a plain TCP connection.

    All are tried at the same time, because addresses in other networks of the DataFlowKernel's host never answer.
    ZeroMQ connects in the background and reports no failure, so plain sockets find the address.

    Returns
    -------
    tuple of str and dict
        The address, empty if none accepted within ``patience`` seconds; and why each of the others failed.
    """
    until = time.monotonic() + patience
    failures: dict[str, str] = {}
    waiting: dict[socket.socket, str] = {}
    try:
        for address in addresses:
            sock = _begin_connecting(address, failures)
            if sock is not None:
                waiting[sock] = address
        while waiting and time.monotonic() < until:
            _, ready, _ = select.select([], list(waiting), [], max(0.0, until - time.monotonic()))
            for sock in ready:
                address = waiting.pop(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                sock.close()
                if not error:
                    return address, {}
                failures[address] = _words(error)
    finally:
        for sock, address in waiting.items():
            failures[address] = "no answer"
            sock.close()
    return "", failures


def _begin_connecting(address: str, failures: dict[str, str]) -> socket.socket | None:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    host = host.strip("[]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    error = sock.connect_ex((host, int(port)))
    if error in _UNDER_WAY:
        return sock
    sock.close()
    failures[address] = _words(error)
    return None


def _words(error: int) -> str:
    return os.strerror(error).lower()
