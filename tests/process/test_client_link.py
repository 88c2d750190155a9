"""The client's link while the DataFlowKernel does not read."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from parslab.client.transport.link import KernelLink
from parslab.wire.messages.client import ClientMessage, PanelRequest
from parslab.wire.stream import Stream, decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = b"x" * 200


@contextlib.contextmanager
def linked() -> Iterator[tuple[KernelLink, Stream]]:
    """A link, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    link = KernelLink(ours)
    link.start(lambda _: None, lambda _: None)
    try:
        yield link, Stream(theirs, decoder(ClientMessage))
    finally:
        link.close()
        theirs.close()


def received(peer: Stream, count: int) -> list[int]:
    """The numbers of so many messages."""
    found: list[int] = []
    while len(found) < count:
        for messages, _ in peer.receive():
            found += [message.ask for message in messages if type(message) is PanelRequest]
    return found


def test_its_thread_sleeps_while_there_is_no_room() -> None:
    with linked() as (link, peer):
        for n in range(20_000):  # 4 MB, more than a socket takes
            link.call(PanelRequest(n, TEXT))
        began, cpu = time.monotonic(), time.process_time()
        while time.monotonic() < began + 0.5:  # what it costs in half a second, so this one waits for time
            time.sleep(0.1)
        assert time.process_time() - cpu < 0.2
        assert received(peer, 20_000) == list(range(20_000))


def test_no_call_is_left_behind_when_there_is_room_again() -> None:
    """The peer reads in bits, so that the socket is full and has room in turns while calls are made."""
    with linked() as (link, peer):
        found: list[int] = []
        reader = threading.Thread(target=lambda: found.extend(received(peer, 100_000)))
        reader.start()
        for n in range(100_000):
            link.call(PanelRequest(n, TEXT))
        reader.join()
        assert found == list(range(100_000))
