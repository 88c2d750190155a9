"""A storm of connections to a port by a peer without a key: a program, and a handle to it.

Each connection sends the greeting of ZeroMQ and nothing more.  When the other side closes it, the next one begins.
"""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GREETING", "storm"]

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
"""The first bytes of a connection of ZeroMQ 4."""


@contextlib.contextmanager
def storm(place: tuple[str, int], connections: int, closed: int) -> Iterator[subprocess.Popen[bytes]]:
    """Hold so many connections to a place, from when ``closed`` of them were closed by the other side."""
    command = [sys.executable, __file__, place[0], str(place[1]), str(connections), str(closed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == b"blows\n"
            yield program
            assert program.poll() is None, "the storm has ended before its time"
        finally:
            program.kill()


class _Storm:
    def __init__(self, place: tuple[str, int]) -> None:
        self._place = place
        self._poll = select.poll()
        self._socks: dict[int, socket.socket] = {}
        self.closed = 0

    def begin(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(self._place)
        self._socks[sock.fileno()] = sock
        self._poll.register(sock, select.POLLOUT)

    def blow(self) -> None:
        """Greet on new connections, and replace those that were closed."""
        for number, events in self._poll.poll(100):
            sock = self._socks[number]
            try:
                if events & select.POLLOUT:
                    sock.send(GREETING)
                    self._poll.modify(number, select.POLLIN)
                    continue
                if sock.recv(4096):
                    continue
            except BlockingIOError:
                continue
            except OSError:  # it was reset
                pass
            self._poll.unregister(number)
            del self._socks[number]
            sock.close()
            self.closed += 1
            self.begin()


def main(host: str, port: int, connections: int, closed: int) -> None:
    """Run the program."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    one = _Storm((host, port))
    for _ in range(connections):
        one.begin()
    while one.closed < closed:
        one.blow()
    print("blows", flush=True)
    while True:
        one.blow()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
