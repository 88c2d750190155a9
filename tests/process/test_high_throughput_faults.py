"""What becomes of tasks, blocks and the run when a part of the high-throughput executor dies, stops or is attacked.

Real processes on blocks of this host. From the user's view every task ends once, and nothing is left running.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgspec
import psutil
import pytest
import zmq

from parslab import python_app
from parslab.errors import DataFlowKernelLost, ManagerLost, WorkerLost
from parslab.version import version
from parslab.wire.messages import PROTOCOL, Beat, ManagerHello, Outcome, Refused, Run, ToManagerMessage
from tests.process.blocks import Ends, attempts, block_leaders, blocks_run, managers, workers
from tests.process.house import House, alive, error_of, is_gone, rss, until
from tests.process.panel import notices, picture
from tests.process.storm import storm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])

NO_KEY = "not hold the run's key"
GARBAGE = "that nobody of this version sends"


@python_app(executors=["htex"])
def plus(x: int) -> int:
    return x + 1


@python_app(executors=["htex"])
def begin(path: Path, number: int, seconds: float = 0.0) -> int:
    """Write down that the task is begun, then take some time."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{number}\n".encode())
    os.close(descriptor)
    time.sleep(seconds)
    return number


# --- one death at a time ---------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_fails_its_task_alone(house: House, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(house) as dfk:
        plus(0).result(15)
        long = [ends.watch(begin(log, n, 60.0)) for n in range(2)]
        until(lambda: len(attempts(log)) == 2)
        victim = workers(dfk.pid)[0]
        after = [ends.watch(plus(n)) for n in range(50)]
        os.kill(victim, signal.SIGKILL)
        until(lambda: any(task.done() for task in long))
        dead, other = sorted(long, key=lambda task: not task.done())
        error = error_of(dead)
        assert isinstance(error, WorkerLost)
        assert error.pid == victim
        assert "was killed by SIGKILL" in str(error)
        assert [f.result(10) for f in after] == list(range(1, 51))
        assert not other.done()
        until(lambda: len(workers(dfk.pid)) == 2)
        assert victim not in workers(dfk.pid)
        other.cancel()


def test_with_retries_a_killed_worker_costs_an_attempt(house: House, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(house, retries=1, workers=1) as dfk:
        task = ends.watch(begin(log, 7, 1.0))
        until(lambda: 7 in attempts(log))
        (victim,) = workers(dfk.pid)
        os.kill(victim, signal.SIGKILL)
        assert task.result(10) == 7
        assert attempts(log) == {7: 2}
        ends.must_be_one_each(dfk)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_manager_that_is_killed_loses_what_it_held_and_is_replaced(
    house: House, tmp_path: Path, retries: int
) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(house, retries=retries) as dfk:
        plus(0).result(15)
        (manager,) = managers(dfk.pid)
        lost = workers(dfk.pid)
        tasks = [ends.watch(begin(log, n, 0.5)) for n in range(6)]
        until(lambda: len(attempts(log)) >= 2)
        os.kill(manager, signal.SIGKILL)
        for worker in lost:
            until(is_gone(worker), 5)
        if retries:
            assert [task.result(15) for task in tasks] == list(range(6))
        else:
            error = error_of(tasks[0], 5)
            assert isinstance(error, ManagerLost)
            assert "lost its connection" in str(error)
            assert {type(task.exception(15)) for task in tasks} <= {ManagerLost, type(None)}
        assert plus(1).result(15) == 2
        assert manager not in managers(dfk.pid)
        assert max(attempts(log).values()) <= 1 + retries
        assert any("lost its connection" in text for text in notices(dfk))
        ends.must_be_one_each(dfk)


def test_a_manager_that_stops_for_too_long_is_given_up_and_begins_anew(house: House, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(house, retries=2) as dfk:
        plus(0).result(15)
        (manager,) = managers(dfk.pid)
        tasks = [ends.watch(begin(log, n, 0.3)) for n in range(6)]
        until(lambda: len(attempts(log)) >= 2)
        os.kill(manager, signal.SIGSTOP)
        try:
            until(lambda: any("was silent for" in text for text in notices(dfk)), 10)
        finally:
            os.kill(manager, signal.SIGCONT)
        assert [task.result(15) for task in tasks] == list(range(6))
        # It began anew under another name, in the same block; what its workers had done counts for nothing.
        old, new = picture(dfk).managers
        assert (old.state, new.state) == ("lost", "ready")
        assert (old.block, new.block) == ("0", "0")
        assert max(attempts(log).values()) == 2
        assert plus(1).result(15) == 2
        ends.must_be_one_each(dfk)


def test_a_manager_that_stops_for_a_moment_goes_on(house: House, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(house, heartbeat_threshold=15.0) as dfk:
        plus(0).result(15)
        (manager,) = managers(dfk.pid)
        tasks = [ends.watch(begin(log, n, 0.1)) for n in range(10)]
        os.kill(manager, signal.SIGSTOP)
        until(lambda: psutil.Process(manager).status() == psutil.STATUS_STOPPED)
        time.sleep(1.0)
        os.kill(manager, signal.SIGCONT)
        assert [task.result(15) for task in tasks] == list(range(10))
        assert managers(dfk.pid) == [manager]
        assert set(attempts(log).values()) == {1}
        ends.must_be_one_each(dfk)


def test_a_block_that_is_killed_behind_our_back_is_replaced(house: House, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(house, retries=2) as dfk:
        plus(0).result(15)
        (leader,) = block_leaders(dfk.pid)
        inside = [leader, *managers(dfk.pid), *workers(dfk.pid)]
        tasks = [ends.watch(begin(log, n, 0.5)) for n in range(6)]
        until(lambda: len(attempts(log)) >= 2)
        os.killpg(leader, signal.SIGKILL)
        assert [task.result(15) for task in tasks] == list(range(6))
        for pid in inside:
            until(is_gone(pid), 5)
        until(lambda: [block.state for block in picture(dfk).blocks] == ["failed", "running"])
        assert "killed" in picture(dfk).blocks[0].reason
        ends.must_be_one_each(dfk)


def test_a_dead_dataflowkernel_takes_blocks_and_workers_along(house: House, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with blocks_run(house, blocks=2) as dfk:
        plus(0).result(15)
        until(lambda: len(managers(dfk.pid)) == 2 and len(workers(dfk.pid)) == 4)
        everybody = [dfk.pid, *block_leaders(dfk.pid), *managers(dfk.pid), *workers(dfk.pid)]
        tasks = [begin(log, n, 60.0) for n in range(6)]
        until(lambda: len(attempts(log)) == 4)
        os.kill(dfk.pid, signal.SIGKILL)
        for task in tasks:
            assert isinstance(error_of(task, 2), DataFlowKernelLost)
        for pid in everybody:
            until(is_gone(pid), 5)
    house.must_be_empty()


def test_a_killed_client_leaves_nothing(house: House) -> None:
    source = """
        from parslab import HighThroughputExecutor, LocalProvider
        provider = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)
        htex = HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=1)
        dfk = parslab.load(Config(executors=[htex], run_dir=RUNS))
        @python_app
        def nap(seconds):
            import os, time
            time.sleep(seconds)
            return os.getpid()
        futures = [nap(60) for _ in range(20)]
        tell(pid=dfk.pid)
        time.sleep(60)
    """
    with house.script(source) as client:
        dfk = client.hear(15)["pid"]
        until(lambda: len(workers(dfk)) == 2)
        everybody = [dfk, *block_leaders(dfk), *managers(dfk), *workers(dfk)]
        client.signal(signal.SIGKILL)
        client.wait()
        for pid in everybody:
            until(is_gone(pid), 5)
    house.must_be_empty()


def test_nothing_is_left_of_a_run_that_is_ended_while_all_is_busy(house: House, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with blocks_run(house, blocks=2) as dfk:
        tasks = [begin(log, n, 60.0) for n in range(20)]
        until(lambda: len(attempts(log)) == 4)
        everybody = [dfk.pid, *block_leaders(dfk.pid), *managers(dfk.pid), *workers(dfk.pid)]
    assert all(task.done() for task in tasks)
    assert not [pid for pid in everybody if alive(pid)]


# --- many deaths -----------------------------------------------------------------------------------------------------


def test_random_kills_all_over_a_run_lose_and_double_nothing(house: House, tmp_path: Path) -> None:
    """The small sister of ``python -m tests.bench.kills``: 1,000 kills over 20,000 tasks."""
    with blocks_run(house, retries=100, blocks=2) as dfk:
        report = storm(dfk, tmp_path / "log", tasks=1000, kills=40, dice=random.Random(7))
        assert report.kills == 40
        assert len(report.kinds) == 3
        assert report.again > 0
        everybody = [dfk.pid, *block_leaders(dfk.pid), *managers(dfk.pid), *workers(dfk.pid)]
    for pid in everybody:
        until(is_gone(pid), 5)


# --- strangers at the port -------------------------------------------------------------------------------------------

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
    with House().lived_in() as house, blocks_run(house, retries=3, address="127.0.0.1") as dfk:
        plus(0).result(15)
        yield dfk


def counted(dfk: DataFlowKernel, words: str) -> int:
    """How many strangers the notices speak of."""
    told = [text for text in notices(dfk) if words in text]
    return sum(int(text.split()[0]) if text[0].isdigit() else 1 for text in told)


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
    before = counted(reached, NO_KEY)
    with Port(reached).dealer(**keys) as peer:
        peer.send(msgspec.msgpack.encode([Beat()]))
        until(lambda: counted(reached, NO_KEY) > before)
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
            got = {message.task for message in messages if type(message) is Run}
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
