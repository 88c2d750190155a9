"""When too many connections have not shown the run's key, strangers push out each other, and no peer of the run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.dataflow.network.pending_connections import PendingConnections, pending_limit


class Port:
    """A port whose connections end when they are closed.

    Attributes
    ----------
    greeted
        The descriptors whose peers have sent the first message of the handshake.
    """

    def __init__(self, limit: int) -> None:
        self.pending = PendingConnections(limit)
        self.greeted: set[int] = set()

    def accept(self, address: str, *descriptors: int) -> None:
        for descriptor in descriptors:
            self.pending.add(descriptor, address)

    def close(self, descriptor: int, only_new: bool) -> bool:
        return not (only_new and descriptor in self.greeted)

    def closed(self) -> list[int]:
        return [descriptor for descriptor, _ in self.pending.close_surplus(self.close)]


def test_up_to_the_limit_nothing_is_closed() -> None:
    port = Port(3)
    port.accept("a", 1, 2, 3)
    assert not port.pending.crowded
    assert port.closed() == []


def test_beyond_the_limit_the_oldest_are_closed() -> None:
    port = Port(3)
    port.accept("a", 1, 2, 3, 4, 5)
    assert port.pending.crowded
    assert port.closed() == [1, 2]
    assert not port.pending.crowded
    assert len(port.pending) == 3


def test_who_has_shown_the_key_or_has_left_takes_no_room() -> None:
    port = Port(2)
    port.accept("a", 1, 2, 3)
    assert port.pending.remove(2)
    assert not port.pending.remove(2)
    assert port.closed() == []


def test_strangers_of_one_address_do_not_push_out_a_peer_of_another() -> None:
    port = Port(3)
    port.accept("peer", 1)
    port.accept("stranger", *range(2, 100))
    assert port.closed() == list(range(2, 98))
    port.accept("stranger", 100)
    assert port.closed() == [98]
    assert port.pending.remove(1)


def test_a_peer_that_has_begun_the_handshake_is_not_pushed_out_by_strangers_that_have_not() -> None:
    port = Port(3)
    port.accept("a", 1, 2, 3)
    port.greeted = {1}
    port.accept("a", *range(4, 200))
    assert 1 not in port.closed()
    port.accept("a", *range(200, 300))
    assert 1 not in port.closed()
    assert port.pending.remove(1)


def test_handshakes_that_never_end_have_a_limit_too() -> None:
    port = Port(2)
    port.greeted = set(range(6))
    port.accept("a", *range(6))
    assert port.closed() == [0, 1]
    port.accept("a", 6, 7)
    assert port.closed() == [2, 3]
    assert len(port.pending) == 4


def test_a_descriptor_that_is_used_again_is_another_connection() -> None:
    port = Port(2)
    port.accept("a", 1, 2)
    port.accept("b", 1)
    assert len(port.pending) == 2
    port.accept("b", 3)
    assert port.closed() == [1]


def test_the_limit_leaves_most_descriptors_to_others() -> None:
    for descriptors in (64, 256, 1024, 4096):
        assert 16 <= pending_limit(descriptors) <= descriptors // 2
    assert pending_limit(1 << 30) == 4096


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.booleans())), st.integers(1, 5))
def test_no_limit_is_ever_exceeded(events: list[tuple[str, int, bool]], limit: int) -> None:
    port, open_ = Port(limit), set[int]()
    for address, descriptor, greets in events:
        port.accept(address, descriptor)
        port.greeted = port.greeted | {descriptor} if greets else port.greeted - {descriptor}
        open_.add(descriptor)
        closed = port.closed()
        assert set(closed) <= open_
        open_ -= set(closed)
        assert len(port.pending) == len(open_) <= 2 * limit
        assert not port.pending.crowded


@pytest.mark.parametrize("peers", [1, 3])
def test_peers_that_end_their_handshake_within_the_limit_are_never_closed(peers: int) -> None:
    """A storm of strangers from the same address: each peer needs as long as two connections are accepted."""
    port, number, joined = Port(8), 0, 0
    for _ in range(50):
        mine = range(number, number + peers)
        port.accept("a", *mine)
        number += peers
        for _ in range(2):
            port.accept("a", number)
            number += 1
            assert not set(port.closed()) & set(mine)
        joined += sum([port.pending.remove(peer) for peer in mine])
    assert joined == 50 * peers
