"""Strangers at the port of a run, and peers that go mad: dropped, counted, and nothing of theirs is ever unpickled."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgspec
import pytest
import zmq

from parslab import python_app
from parslab.version import version
from parslab.wire.messages.base import PROTOCOL, Refused
from parslab.wire.messages.manager import LinkHeartbeat, ManagerHello, ToManagerMessage
from parslab.wire.messages.worker import Outcome, RunTask
from tests.process.blocks import Ends, attempts, blocks_run
from tests.process.panel import notices
from tests.process.random_kills import begin
from tests.process.sandbox import Sandbox, rss, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])

NO_KEY = "not hold the run's key"
GARBAGE = "that nobody of this version sends"


@python_app(executors=["htex"])
def plus(x: int) -> int:
    return x + 1


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
"""The first bytes of a connection of ZeroMQ 4."""


class Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Port:
    """The port of a run, as the settings file of its managers names it."""

    def __init__(self, dfk: DataFlowKernel) -> None:
        self.settings = json.loads((dfk.run_dir / "manager-htex.json").read_text())
        self.address = self.settings["addresses"][0]
        host, _, port = self.address.removeprefix("tcp://").rpartition(":")
        self.place = host, int(port)

    def send(self, content: bytes) -> None:
        """Send bytes; the connection must be closed by the other side."""
        with socket.create_connection(self.place, timeout=5) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(content)
            while sock.recv(65536):
                pass

    @contextlib.contextmanager
    def dealer(self, **keys: str) -> Iterator[zmq.Socket[bytes]]:
        """A ZeroMQ peer, with the keys of the run where no others are given."""
        with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
            sock.linger = 0
            sock.rcvtimeo = 5000
            for name in ("server_key", "public_key", "secret_key"):
                key = keys.get(name, self.settings[name])
                if key:
                    setattr(sock, f"curve_{name.replace('_', '')}", key.encode())
            sock.connect(self.address)
            yield sock


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFlowKernel]:
    """A run whose managers come through its port."""
    tmp_path_factory.getbasetemp()
    with Sandbox().entered() as sandbox, blocks_run(sandbox, retries=3, address="127.0.0.1") as dfk:
        plus(0).result(15)
        yield dfk


def counted(dfk: DataFlowKernel, words: str) -> int:
    """How many strangers the log speaks of; the panel shows the newest notices only."""
    logged = [
        line.partition("hub: ")[2] for line in (dfk.run_dir / "dfk.log").read_text().splitlines() if words in line
    ]
    if logged:
        until(lambda: any(words in text for text in notices(dfk)))
    return sum(int(text.split()[0]) if text[0].isdigit() else 1 for text in logged)


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        random.Random(1).randbytes(5000),
        b"\xff" + random.Random(2).randbytes(5000),
        GREETING + b"\x04\x05HELLO",
        GREETING + b"\x06" + struct.pack(">Q", 1 << 40) + b"x" * 100_000,
        pickle.dumps(Bomb(Path("/nonexistent/bomb"))),
    ],
    ids=["http", "noise", "noise after ff", "no handshake", "oversized frame", "pickle"],
)
def test_noise_at_the_port_is_dropped_and_counted(reached: DataFlowKernel, content: bytes) -> None:
    before, memory = counted(reached, NO_KEY), rss(reached.pid)
    port = Port(reached)
    for _ in range(3):
        port.send(content)
    until(lambda: counted(reached, NO_KEY) == before + 3)
    assert rss(reached.pid) - memory < 10 * 1024 * 1024
    assert [plus(n).result(10) for n in range(10)] == list(range(1, 11))


def other_keys(**more: str) -> dict[str, str]:
    public, secret = zmq.curve_keypair()
    return {"public_key": public.decode(), "secret_key": secret.decode(), **more}


@pytest.mark.parametrize("kind", ["own keys", "wrong server", "no keys"])
def test_a_peer_without_the_runs_key_is_dropped_and_counted(reached: DataFlowKernel, kind: str) -> None:
    keys = {
        "own keys": other_keys(),
        "wrong server": other_keys(server_key=zmq.curve_keypair()[0].decode()),
        "no keys": {"server_key": "", "public_key": "", "secret_key": ""},
    }[kind]
    before, port = counted(reached, NO_KEY), Port(reached)

    def knocked() -> bool:
        # Again and again: a peer that finds out first that the other side wants keys hangs up, which is not counted.
        with port.dealer(**keys) as peer:
            peer.send(msgspec.msgpack.encode([LinkHeartbeat()]))
            return not peer.poll(500) and counted(reached, NO_KEY) > before

    until(knocked, 15)
    assert plus(1).result(10) == 2


def test_garbage_of_a_peer_with_the_key_is_counted_and_never_unpickled(reached: DataFlowKernel, tmp_path: Path) -> None:
    before = counted(reached, GARBAGE)
    bomb = pickle.dumps(Bomb(tmp_path / "bomb"))
    outcome = Outcome(1 << 40, 0, bomb, 1, 0.0, 0.0)
    batches = [
        [b"garbage"],
        [bomb],
        [b""],
        [msgspec.msgpack.encode([{"type": 1}])],
        [msgspec.msgpack.encode([outcome]), bomb],  # an outcome of somebody who said no hello
        [b"\xc1" + msgspec.msgpack.encode([1 << 40]), b"x"],
    ]
    for batch in batches:
        with Port(reached).dealer() as peer:
            peer.send_multipart(batch)
            (refused,) = msgspec.msgpack.decode(peer.recv(), type=list[Refused])
            assert refused.reason.startswith("You sent ")
    until(lambda: counted(reached, GARBAGE) == before + len(batches))
    with Port(reached).dealer() as peer:
        peer.send(bytes(20_000_000))  # longer than anything that we would send in one part
        peer.rcvtimeo = 500
        with pytest.raises(zmq.Again):
            peer.recv()
    assert not (tmp_path / "bomb").exists()
    assert plus(1).result(10) == 2


def test_a_manager_that_goes_mad_loses_its_tasks_to_others(reached: DataFlowKernel, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    slow = [ends.watch(begin(log, n, 1.0)) for n in range(2)]  # the workers have something to do
    until(lambda: len(attempts(log)) == 2)
    with Port(reached).dealer() as peer:
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        hello = ManagerHello("mad", PROTOCOL, version(), python, 1, "nowhere", 0, "0", 4, 0, 4, 1 << 30)
        peer.send(msgspec.msgpack.encode([hello]))
        tasks = [ends.watch(begin(log, n, 0.1)) for n in range(2, 6)]
        got: set[int] = set()
        while not got:
            messages = msgspec.msgpack.decode(peer.recv_multipart()[0], type=list[ToManagerMessage])
            got = {message.task for message in messages if type(message) is RunTask}
        assert got <= {task.task_id for task in tasks}
        peer.send_multipart([b"\x00mad", pickle.dumps(Bomb(tmp_path / "bomb"))])
        assert [task.result(15) for task in [*slow, *tasks]] == list(range(6))
    assert not (tmp_path / "bomb").exists()
    ends.must_be_one_each(reached)


def test_large_values_come_through_the_port(reached: DataFlowKernel) -> None:
    @python_app(executors=["htex"])
    def turned(data: bytes) -> bytes:
        return data[::-1]

    data = random.Random(3).randbytes(40_000_001)
    assert turned(turned(data)).result(20) == data
