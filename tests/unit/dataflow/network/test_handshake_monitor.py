"""Strangers at the port are counted; peers of the run are not, and their connections are missed when they end."""

from __future__ import annotations

import errno

import pytest
import zmq

from parslab.dataflow.network.handshake_monitor import (
    ACCEPTED,
    DISCONNECTED,
    FAILED,
    FAILED_AUTH,
    FAILED_PROTOCOL,
    SUCCEEDED,
    WATCHED,
    HandshakeMonitor,
)


def state_after(*events: tuple[int, int]) -> tuple[int, list[bool]]:
    """How many strangers were counted, and after which events somebody may be missing."""
    monitor = HandshakeMonitor()
    answers = [monitor.note(event, value) for event, value in events]
    return monitor.strangers, answers


def test_the_numbers_are_those_of_zeromq() -> None:
    assert (ACCEPTED, DISCONNECTED) == (zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED)
    assert (FAILED, SUCCEEDED) == (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_SUCCEEDED)
    assert (FAILED_PROTOCOL, FAILED_AUTH) == (
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    )
    assert WATCHED == 0x7A20


@pytest.mark.parametrize(
    "events",
    [
        [(ACCEPTED, 9), (DISCONNECTED, 9)],  # bytes that are no greeting
        [(ACCEPTED, 9), (FAILED_PROTOCOL, 1), (DISCONNECTED, 9)],  # another key, or none
        [(ACCEPTED, 9), (FAILED, errno.EAGAIN), (DISCONNECTED, 9)],  # silence
    ],
)
def test_a_stranger(events: list[tuple[int, int]]) -> None:
    assert state_after(*events) == (1, [False] * len(events))
    assert state_after(*events, *events) == (2, [False] * 2 * len(events))


def test_who_only_looks_whether_somebody_listens_is_no_stranger() -> None:
    assert state_after((ACCEPTED, 9), (FAILED, errno.ECONNRESET), (DISCONNECTED, 9)) == (0, [False, False, False])


def test_a_peer_that_ends_is_missed() -> None:
    assert state_after((ACCEPTED, 9), (SUCCEEDED, 0), (DISCONNECTED, 9)) == (0, [False, False, True])


def test_another_key_is_counted_by_the_gate() -> None:
    assert state_after((ACCEPTED, 9), (FAILED_AUTH, 400), (DISCONNECTED, 9))[0] == 0


def test_when_in_doubt_it_is_a_peer() -> None:
    both = [(ACCEPTED, 9), (ACCEPTED, 10), (SUCCEEDED, 0), (DISCONNECTED, 9)]
    assert state_after(*both) == (0, [False, False, False, True])
    assert state_after(*both, (ACCEPTED, 9), (DISCONNECTED, 9), (DISCONNECTED, 10)) == (
        1,
        [False] * 3 + [True, False, False, True],
    )


def test_what_was_never_accepted_is_missed_all_the_same() -> None:
    assert state_after((DISCONNECTED, 9)) == (0, [True])


def test_a_connection_that_this_process_closes_is_neither_a_stranger_nor_missed() -> None:
    monitor = HandshakeMonitor()
    monitor.note(ACCEPTED, 9)
    monitor.closed(9)
    assert not monitor.note(FAILED, errno.EPIPE)
    assert not monitor.note(DISCONNECTED, 9)
    assert monitor.strangers == 0
    assert not monitor.note(ACCEPTED, 9)
    assert not monitor.note(DISCONNECTED, 9)
    assert monitor.strangers == 1
