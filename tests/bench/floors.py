"""The floors: what the same call costs when nothing but bare Python and the bare transport carries it.

Each floor is a context manager that starts its peers and yields ``call``: one blocking round trip of a no-op.
"""

from __future__ import annotations

import itertools
import pickle
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import zmq

__all__ = ["Call", "relay", "unix_ping", "zmq_ping"]

Call: TypeAlias = Callable[[], object]
PEER = [sys.executable, "-m", "tests.bench.peers"]
PING = b"ping"


def _end(peer: subprocess.Popen[bytes]) -> None:
    """End a peer by signal: a pool that forked since may hold its pipe and its socket open."""
    peer.terminate()
    peer.communicate()


@contextmanager
def _peers(*roles: str) -> Iterator[str]:
    """Start these peers; yields the directory of their sockets."""
    with tempfile.TemporaryDirectory(prefix="pb-") as directory:
        peers = [subprocess.Popen([*PEER, role, directory], stdin=subprocess.PIPE) for role in roles]
        try:
            yield directory
        finally:
            for peer in peers:
                _end(peer)


@contextmanager
def relay() -> Iterator[Call]:
    """The relay floor: client -> relay -> worker and back, three processes, ZeroMQ over ipc."""
    with _peers("relay", "worker") as directory, zmq.Context() as context, context.socket(zmq.DEALER) as link:
        link.connect(f"ipc://{directory}/front")
        tasks = itertools.count()

        def call() -> object:
            task = b"%d" % next(tasks)
            link.send_multipart([task, pickle.dumps((1, ()))])
            answered, result = link.recv_multipart()
            assert answered == task
            return pickle.loads(result)

        yield call


@contextmanager
def zmq_ping() -> Iterator[Call]:
    """A round trip of four bytes between two processes, ZeroMQ over ipc."""
    with _peers("zmq_echo") as directory, zmq.Context() as context, context.socket(zmq.PAIR) as link:
        link.bind(f"ipc://{directory}/echo")

        def call() -> object:
            link.send(PING)
            return link.recv()

        yield call


@contextmanager
def unix_ping() -> Iterator[Call]:
    """A round trip of four bytes between two processes, over a pair of unix stream sockets."""
    link, theirs = socket.socketpair()
    command = [*PEER, "unix_echo", str(theirs.fileno())]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()])
    theirs.close()

    def call() -> object:
        link.sendall(PING)
        return link.recv(len(PING))

    try:
        yield call
    finally:
        link.close()
        _end(peer)
