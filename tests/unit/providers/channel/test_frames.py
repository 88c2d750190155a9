"""Frames that survive lost connections, and the text that a login host runs."""

from __future__ import annotations

import ast
import contextlib
import os
import random
import selectors
import socket
from pathlib import Path

import pytest

from parslab.providers.channel import agent, frames, login, streams
from parslab.providers.channel.frames import CALL, DATA, Session, Unresumable
from parslab.providers.channel.streams import WINDOW, Streams, dispatch


def carried(one: Session, other: Session, dice: random.Random) -> list[tuple[int, int, bytes]]:
    """Carry what one end has to say in pieces, and lose the rest of it now and then; return what has arrived."""
    found = []
    while one.ready:
        data = one.take(dice.randrange(1, 4000))
        while data:
            size = dice.randrange(1, 3000)
            piece, data = data[:size], data[size:]
            found += other.feed(piece)
            if dice.random() < 0.05:
                return found
    return found


@pytest.mark.parametrize("seed", range(30))
def test_frames_arrive_once_and_in_order_however_often_the_connection_is_lost(seed: int) -> None:
    dice = random.Random(seed)
    ends = Session(), Session()
    sent: tuple[list[tuple[int, int, bytes]], ...] = ([], [])
    arrived: tuple[list[tuple[int, int, bytes]], ...] = ([], [])
    for _ in range(60):
        for end, kept in zip(ends, sent, strict=True):
            for _ in range(dice.randrange(5)):
                frame = (dice.choice((CALL, DATA)), dice.randrange(9), dice.randbytes(dice.choice((0, 5, 2000))))
                end.send(*frame)
                kept.append(frame)
        for number in (0, 1):
            arrived[1 - number].extend(carried(ends[number], ends[1 - number], dice))
        # Another connection: each end says how many frames it has.
        have = [end.received for end in ends]
        ends[0].resume(have[1])
        ends[1].resume(have[0])
    while any(end.ready for end in ends):
        for number in (0, 1):
            arrived[1 - number].extend(ends[1 - number].feed(ends[number].take()))
    assert (arrived[1], arrived[0]) == sent


def test_confirmed_frames_are_forgotten() -> None:
    one, other = Session(), Session()
    for _ in range(100):
        one.send(DATA, 1, bytes(1000))
        other.feed(one.take())
        one.feed(other.take())
    with pytest.raises(Unresumable, match="7 of 100"):
        one.resume(7)


def test_a_sign_of_life_is_no_frame() -> None:
    one, other = Session(), Session()
    one.ping()
    assert one.ready
    assert other.feed(one.take()) == []
    assert other.received == 0
    assert not one.ready


class Pair:
    """Two ends of streams in one selector: what one sends, the other gets when it is told so."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.sent: list[list[tuple[int, int, bytes]]] = [[], []]
        self.ends = [
            Streams(self.selector, lambda kind, number, payload, i=i: self.sent[i].append((kind, number, payload)))  # type: ignore[misc]
            for i in (0, 1)
        ]

    def turn(self) -> None:
        dispatch(self.selector, 0)
        for number in (0, 1):
            waiting, self.sent[number] = self.sent[number], []
            for frame in waiting:
                self.ends[1 - number].frame(*frame)


def test_a_stream_carries_both_ways_and_its_end() -> None:
    pair = Pair()
    manager, near = socket.socketpair()
    far, run = socket.socketpair()
    with manager, run:
        pair.ends[0].add(1, near)
        pair.ends[1].add(1, far)
        manager.sendall(b"hello")
        run.sendall(b"welcome")
        for _ in range(4):
            pair.turn()
        assert (run.recv(100), manager.recv(100)) == (b"hello", b"welcome")
        manager.close()
        for _ in range(4):
            pair.turn()
        assert run.recv(100) == b""
        assert [len(end) for end in pair.ends] == [0, 0]
    pair.selector.close()


def test_a_slow_receiver_stops_its_own_sender_only() -> None:
    pair = Pair()
    manager, near = socket.socketpair()
    far, run = socket.socketpair()
    sent = received = 0
    with manager, run:
        manager.setblocking(False)
        run.setblocking(False)
        pair.ends[0].add(1, near)
        pair.ends[1].add(1, far)
        for _ in range(2000):
            with contextlib.suppress(BlockingIOError):
                sent += manager.send(bytes(1 << 16))
            pair.turn()
        assert sent < WINDOW + (8 << 20)  # and what the sockets themselves hold
        for _ in range(4000):
            try:
                received += len(run.recv(1 << 20))
            except BlockingIOError:
                if received == sent:
                    break
            pair.turn()
        assert received == sent
    for end in pair.ends:
        end.reset()
    pair.selector.close()


def test_an_agent_reads_the_last_words_of_one_who_has_gone() -> None:
    """It had something to say itself when the other end had closed the connection already."""
    door, near = socket.socketpair()
    here, far = socket.socketpair()
    serving = agent.Agent(door)
    serving._client, serving._greeted = here, True
    here.setblocking(False)
    serving._selector.register(here, selectors.EVENT_READ, serving._client_event)
    session = Session()
    session.send(CALL, 1, b'{"do": "end"}')
    far.sendall(session.take())
    far.close()
    serving._session.ping()
    serving._flush()
    serving.serve()
    assert serving._over
    serving._leave()
    serving._selector.close()
    for end in (door, near):
        end.close()
    for number in (serving._wake, serving._waker):
        os.close(number)


@pytest.mark.parametrize("module", [frames, streams, agent])
def test_the_login_host_needs_python_3_6(module: object) -> None:
    text = Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]
    ast.parse(text, feature_version=(3, 6))
    named = {
        name
        for node in ast.walk(ast.parse(text))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [])
        if name and name.startswith("parslab")
    }
    assert named <= {f"parslab.providers.channel.{name}" for name in ("frames", "streams")}


def test_the_shell_of_the_agent_is_a_login_shell_whose_profile_reads_nothing() -> None:
    text = login.agent_shell("module load slurm\n", "/opt/python 3")
    lines = text.splitlines()
    assert lines[1] == "exec 9<&0 0</dev/null"
    assert lines[2].startswith("exec bash -l -c 'module load slurm")
    assert "/opt/python 3" in text


def test_addresses_of_the_login_host() -> None:
    every = agent.own_addresses("")
    assert every[-1] == "127.0.0.1"
    assert agent.own_addresses("lo") == ["127.0.0.1"]
    assert agent.own_addresses("192.0.2.7") == ["192.0.2.7"]
