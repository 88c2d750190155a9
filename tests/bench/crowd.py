"""A crowd of managers in one process: connections that answer every task at once, for the cost in the DataFlowKernel.

``python -m tests.bench.crowd FILE MANAGERS SLOTS`` reads the settings that a run wrote for its managers, makes so many
CurveZMQ connections to its port, says hello on each, and returns the outcome of a no-op for each task. It prints
``ready`` when all have been accepted, ``lost N`` when it ends.
"""

from __future__ import annotations

import json
import pickle
import resource
import select
import sys
import time
from typing import Any

import msgspec
import zmq

from parslab.wire.messages.base import PROTOCOL, DefineFunction
from parslab.wire.messages.manager import LinkHeartbeat, ManagerAccepted, ManagerHello, ToManagerMessage
from parslab.wire.messages.worker import Outcome, RunTask

_NOTHING = pickle.dumps(None, protocol=5)


class Crowd:
    """All connections, and the loop that serves them."""

    def __init__(self, settings: dict[str, Any], managers: int, slots: int) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, managers + 100)
        self._decode = msgspec.msgpack.Decoder(list[ToManagerMessage]).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._epoll = select.epoll()
        self._sockets: dict[int, zmq.Socket[bytes]] = {}
        self.accepted = 0
        self.leaving = 0
        for number in range(managers):
            self._join(settings, number, slots)

    def _join(self, settings: dict[str, Any], number: int, slots: int) -> None:
        sock: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        sock.setsockopt(zmq.IDENTITY, f"crowd-{number}".encode())
        sock.setsockopt(zmq.RECONNECT_IVL, -1)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.SNDHWM, 0)
        sock.setsockopt(zmq.RCVHWM, 0)
        sock.curve_serverkey = settings["server_key"].encode()
        sock.curve_publickey = settings["public_key"].encode()
        sock.curve_secretkey = settings["secret_key"].encode()
        sock.connect(settings["addresses"][0])
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        hello = ManagerHello(
            f"crowd-{number}",
            PROTOCOL,
            settings["package"],
            python,
            0,
            "crowd",
            settings["executor"],
            "0",
            slots,
            0,
            slots,
            1 << 40,
        )
        sock.send(self._encode([hello]))
        fd = int(sock.getsockopt(zmq.FD))
        self._sockets[fd] = sock
        self._epoll.register(fd, select.EPOLLIN)

    def serve(self, until: float) -> None:
        """Answer until the run says goodbye, or until then."""
        beaten = time.monotonic()
        every = list(self._sockets.values())
        for sock in every:
            self._drain(sock)
        while not self.leaving and time.time() < until:
            for fd, _ in self._epoll.poll(0.2, 256):
                self._drain(self._sockets[fd])
            if time.monotonic() - beaten > 2.0:
                beaten = time.monotonic()
                for sock in every:  # descriptors report changes only, so look at all of them now and then
                    sock.send(self._encode([LinkHeartbeat()]))
                    self._drain(sock)

    def _drain(self, sock: zmq.Socket[bytes]) -> None:
        while int(sock.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            head, *_ = sock.recv_multipart(zmq.DONTWAIT)
            out: list[Any] = []
            for message in self._decode(head):
                if type(message) is RunTask:
                    now = time.time()
                    out.append(Outcome(message.task, message.attempt, _NOTHING, 0, now, now))
                elif type(message) is ManagerAccepted:
                    self.accepted += 1
                    if self.accepted == len(self._sockets):
                        print("ready", flush=True)
                elif type(message) not in (LinkHeartbeat, DefineFunction):
                    self.leaving += 1
            if out:
                sock.send(self._encode(out))


def main(path: str, managers: int, slots: int) -> None:
    """Serve until the run is over."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    crowd = Crowd(settings, managers, slots)
    crowd.serve(time.time() + 600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
