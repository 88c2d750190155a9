"""The far ends of the floors: what runs in the other processes of a relay or a ping-pong.

Started by ``floors`` as ``python -m tests.bench.peers <role> <directory or descriptor>``.  All of them block in the
kernel between two messages, and leave when their stdin closes, so none outlives the process that started it.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
import time

import zmq

__all__ = ["FUNCTIONS", "main", "noop", "spin", "step"]

SMALL = 64
"""Bytes that hold any message of a ping-pong."""


def noop() -> None:
    """What every floor calls."""


def step(value: int) -> int:
    """What pools call to show that each call ran: the next number."""
    return value + 1


def spin(seconds: float) -> None:
    """Keep a core busy for so long: the work of a task whose length matters."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


FUNCTIONS = {1: noop}
"""The functions that the worker of the relay floor knows, by id."""


def relay(directory: str) -> None:
    """Carry frames between a client and a worker, unread."""
    context = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    front.bind(f"ipc://{directory}/front")
    back.bind(f"ipc://{directory}/back")
    poller = zmq.Poller()
    poller.register(front, zmq.POLLIN)
    poller.register(back, zmq.POLLIN)
    while True:
        for source, _ in poller.poll():
            target = back if source is front else front
            target.send_multipart(source.recv_multipart())


def worker(directory: str) -> None:
    """Run what comes through the relay and send back what came out."""
    back = zmq.Context().socket(zmq.DEALER)
    back.connect(f"ipc://{directory}/back")
    while True:
        who, task, call = back.recv_multipart()
        function, args = pickle.loads(call)
        back.send_multipart([who, task, pickle.dumps(FUNCTIONS[function](*args))])


def zmq_echo(directory: str) -> None:
    """Send every message back, by ZeroMQ."""
    pair = zmq.Context().socket(zmq.PAIR)
    pair.connect(f"ipc://{directory}/echo")
    while True:
        pair.send(pair.recv())


def unix_echo(descriptor: str) -> None:
    """Send every message back, by the plain unix socket of this number."""
    link = socket.socket(fileno=int(descriptor))
    while message := link.recv(SMALL):
        link.sendall(message)


ROLES = {f.__name__: f for f in (relay, worker, zmq_echo, unix_echo)}


def _leave_with_parent() -> None:
    os.read(0, 1)
    os._exit(0)


def main() -> None:
    """Play the role that the command line names."""
    threading.Thread(target=_leave_with_parent, name="parslab-bench-parent", daemon=True).start()
    ROLES[sys.argv[1]](sys.argv[2])


if __name__ == "__main__":
    main()
