"""What the DataFlowKernel sends a node once, and the node keeps: both ends together."""

from __future__ import annotations

import random

import pytest

from parslab.dataflow.network.node_blocks import LEAST, NodeBlocks
from parslab.errors import ProtocolError
from parslab.remote.manager.kept_blocks import KeptBlocks
from parslab.wire.messages.manager import BlocksSent
from parslab.wire.shared_memory import Buffer, SharedFrame, allocate, in_memory, shares_memory, size_of

pytestmark = pytest.mark.skipif(not shares_memory, reason="there are no blocks here")


class Connection:
    """The two ends of a connection, and how many bytes of frames have gone through it."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.sender, self.receiver = NodeBlocks(most), KeptBlocks()
        self.bytes = 0

    def send(self, *frames: Buffer) -> list[bytes]:
        """Send a batch; return its frames as they arrive."""
        message, sent = self.sender.outgoing(frames)
        plain = [bytes(in_memory(frame)) for frame in sent]
        self.bytes += sum(map(len, plain))
        arrived = plain if message is None else self.receiver.incoming(message, plain)
        return [bytes(in_memory(frame)) for frame in arrived]


def block(byte: int, size: int = LEAST) -> SharedFrame:
    made = allocate([bytes([byte]) * size])
    assert made is not None
    return made[0]


def test_a_large_block_goes_to_a_node_once() -> None:
    to = Connection()
    model = block(7)
    for number in range(100):
        assert to.send(b"%d" % number, model, b"") == [b"%d" % number, b"\7" * LEAST, b""]
    assert to.bytes < LEAST + 1000


def test_one_batch_may_have_a_block_twice() -> None:
    to = Connection()
    model = block(7)
    assert to.send(model, model) == [b"\7" * LEAST] * 2
    assert to.bytes == LEAST


def test_all_workers_of_a_node_read_the_same_copy() -> None:
    to = Connection()
    model = block(7)
    message, sent = to.sender.outgoing([model])
    assert message is not None
    (first,) = to.receiver.incoming(message, [bytes(in_memory(frame)) for frame in sent])
    message, _ = to.sender.outgoing([model])
    assert message is not None
    (second,) = to.receiver.incoming(message, [b""])
    assert first is second
    assert isinstance(first, SharedFrame)


def test_what_is_small_or_no_block_costs_no_message() -> None:
    to = Connection()
    small = block(1, LEAST - 1)
    frames = (small, b"x" * 2 * LEAST, memoryview(b"y"))
    assert to.sender.outgoing(frames) == (None, frames)
    assert not to.sender


def test_a_node_keeps_a_block_for_as_long_as_somebody_here_has_it() -> None:
    to = Connection()
    model = block(7)
    to.send(model)
    assert len(to.receiver) == 1
    del model
    assert to.sender  # the next message says so, whichever it is
    to.send()
    assert len(to.receiver) == 0
    assert not to.sender
    to.send(block(8))  # it may have the id of the block that is gone
    assert to.bytes == 2 * LEAST


def test_a_node_keeps_no_more_than_a_limit_besides_the_latest_block() -> None:
    to = Connection(2 * LEAST)
    blocks = [block(n) for n in range(5)]
    for one in blocks:
        to.send(one)
    assert len(to.receiver) == 3
    to.bytes = 0
    to.send(*blocks[2:])
    assert to.bytes == 0
    assert to.send(blocks[0]) == [b"\0" * LEAST]
    large = block(9, 50 * LEAST)
    to.send(large)
    to.bytes = 0
    to.send(large)
    assert to.bytes == 0


@pytest.mark.parametrize("seed", range(20))
def test_what_arrives_is_what_was_sent(seed: int) -> None:
    rng = random.Random(seed)
    to = Connection(3 * LEAST)
    alive: list[SharedFrame] = []
    frames: list[Buffer] = []
    for _ in range(60):
        if rng.random() < 0.4:
            alive.append(block(rng.randrange(256), LEAST + rng.randrange(3) * LEAST // 2))
        if alive and rng.random() < 0.3:
            del alive[rng.randrange(len(alive))]
        frames = [rng.choice(alive) if alive and rng.random() < 0.7 else b"s" for _ in range(rng.randrange(4))]
        assert to.send(*frames) == [bytes(in_memory(frame)) for frame in frames]
        assert len(to.receiver) == len(to.sender._kept)
        assert sum(map(size_of, to.receiver._blocks.values())) == to.sender._bytes
    alive.clear()
    frames.clear()
    to.send()
    assert len(to.receiver) == 0


@pytest.mark.parametrize(
    "message", [BlocksSent(known=((0, 7),)), BlocksSent(kept=((3, 0),)), BlocksSent(forgotten=(7,))]
)
def test_a_batch_that_cannot_be_read_is_refused(message: BlocksSent) -> None:
    with pytest.raises(ProtocolError, match="does not have"):
        KeptBlocks().incoming(message, [b""])
