"""Whatever a process of ours sends to the run's socket, only that process is turned away."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from parslab import python_app
from parslab.paths import runtime_dir
from parslab.wire.messages.base import PROTOCOL, DefineFunction
from parslab.wire.messages.client import CancelTasks, ClientHello, FetchValue, SubmitTask
from tests.process.sandbox import until

if TYPE_CHECKING:
    from parslab import DataFlowKernel

HELLO = ClientHello(PROTOCOL, "0", "3.11", 1, "host")
PANEL = ClientHello(PROTOCOL, "0", "3.11", 1, "host", panel=True)


def batch(*messages: object, frames: int = 0) -> bytes:
    header = msgspec.msgpack.encode(list(messages))
    return struct.pack(f"<II{frames}Q", len(header), frames, *[0] * frames) + header


@pytest.mark.parametrize(
    "sent",
    [
        batch(),
        batch(CancelTasks([1])),
        batch(ClientHello(PROTOCOL + 1, "9", "3.11", 1, "host")),
        batch(HELLO) + b"GET / HTTP/1.1\r\n\r\n",
        batch(HELLO, DefineFunction(0, b"digest", "f", 1)),
        batch(HELLO, SubmitTask(5 << 40, 7, 0, 0, b"", 0, (), 0.0)),
        batch(HELLO, SubmitTask(5 << 40, -1, 1, 99, b"", 0, (), 0.0, name="f")),
        batch(HELLO, SubmitTask(5 << 40, -1, 2, 0, b"", 0, (77,), 0.0, name="f")),
        batch(HELLO, FetchValue(77)),
        batch(PANEL, CancelTasks([1])),
        struct.pack("<II", 1 << 31, 0),
    ],
    ids=["empty", "hello", "protocol", "http", "frame", "function", "executor", "need", "value", "panel", "size"],
)
def test_a_strange_guest_is_turned_away_and_the_run_goes_on(shared: DataFlowKernel, sent: bytes) -> None:
    """An empty batch, and frames that were announced and not sent, ended the DataFlowKernel."""
    connection = runtime_dir() / f"parslab-{shared.run}.json"
    until(connection.exists, what="the connection file is written")
    info = json.loads(connection.read_text())
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as guest:
        guest.settimeout(10)
        guest.connect(info["socket"])
        guest.sendall(sent)
        while guest.recv(65536):
            pass  # a Welcome or a Refused, then the end

    @python_app
    def alive() -> int:
        return 5

    assert alive().result(10) == 5
