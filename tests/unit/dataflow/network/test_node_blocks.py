"""What the DataFlowKernel sends a node once, and the node keeps: both ends together."""

from __future__ import annotations

import random

import pytest

from parslab.dataflow.network import node_blocks
from parslab.dataflow.network.node_blocks import NodeBlocks
from parslab.errors import ProtocolError
from parslab.remote.manager.kept_blocks import KeptBlocks
from parslab.wire.messages.manager import BlocksMade, BlocksSent
from parslab.wire.shared_memory import KEPT_SIZE, Buffer, SharedFrame, allocate, in_memory, shares_memory, size_of

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


def block(byte: int, size: int = KEPT_SIZE) -> SharedFrame:
    made = allocate([bytes([byte]) * size])
    assert made is not None
    return made[0]


def test_a_large_block_goes_to_a_node_once() -> None:
    to = Connection()
    model = block(7)
    for number in range(100):
        assert to.send(b"%d" % number, model, b"") == [b"%d" % number, b"\7" * KEPT_SIZE, b""]
    assert to.bytes < KEPT_SIZE + 1000


def test_one_batch_may_have_a_block_twice() -> None:
    to = Connection()
    model = block(7)
    assert to.send(model, model) == [b"\7" * KEPT_SIZE] * 2
    assert to.bytes == KEPT_SIZE


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
    small = block(1, KEPT_SIZE - 1)
    frames = (small, b"x" * 2 * KEPT_SIZE, memoryview(b"y"))
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
    assert to.bytes == 2 * KEPT_SIZE


def test_a_node_keeps_no_more_than_a_limit_besides_the_latest_block() -> None:
    to = Connection(2 * KEPT_SIZE)
    blocks = [block(n) for n in range(5)]
    for one in blocks:
        to.send(one)
    assert len(to.receiver) == 3
    to.bytes = 0
    to.send(*blocks[2:])
    assert to.bytes == 0
    assert to.send(blocks[0]) == [b"\0" * KEPT_SIZE]
    large = block(9, 50 * KEPT_SIZE)
    to.send(large)
    to.bytes = 0
    to.send(large)
    assert to.bytes == 0


@pytest.mark.parametrize("seed", range(20))
def test_what_arrives_is_what_was_sent(seed: int) -> None:
    rng = random.Random(seed)
    to = Connection(3 * KEPT_SIZE)
    alive: list[SharedFrame] = []
    frames: list[Buffer] = []
    for _ in range(60):
        if rng.random() < 0.4:
            alive.append(block(rng.randrange(256), KEPT_SIZE + rng.randrange(3) * KEPT_SIZE // 2))
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


class Node(Connection):
    """A connection in both directions: the node also sends results of its tasks."""

    def result(self, frame: Buffer) -> Buffer:
        """Send a result from the node; return its frame as the DataFlowKernel has it."""
        made = self.receiver.outgoing([b"small", frame])
        arrived: list[Buffer] = [b"small", bytes(in_memory(frame))]
        return arrived[1] if made is None else self.sender.incoming(made, arrived)[1]


def test_a_result_does_not_return_to_the_node_that_made_it() -> None:
    node, other = Node(), Node()
    result = node.result(block(7))
    assert node.send(b"x", result) == [b"x", b"\7" * KEPT_SIZE]
    assert node.bytes == 1
    other.send(result)
    assert other.bytes == KEPT_SIZE


def test_the_workers_of_a_node_read_the_very_memory_of_a_result() -> None:
    node = Node()
    made = block(7)
    message, sent = node.sender.outgoing([node.result(made)])
    assert message is not None
    assert node.receiver.incoming(message, [bytes(in_memory(frame)) for frame in sent])[0] is made


def test_a_node_lets_go_of_results_that_nobody_needs() -> None:
    node = Node()
    for byte in range(5):
        node.result(block(byte))
    assert len(node.receiver) == 5
    assert node.sender
    node.send()
    assert len(node.receiver) == 0
    assert not node.sender


def test_a_node_keeps_no_more_results_than_it_may() -> None:
    node = Node(2 * KEPT_SIZE)
    results = [node.result(block(byte)) for byte in range(6)]
    node.send(results[5])
    assert len(node.receiver) == 3  # two besides the latest
    assert node.send(results[0]) == [b"\0" * KEPT_SIZE]
    assert node.bytes == KEPT_SIZE


def test_a_node_lets_go_of_a_result_for_which_there_was_no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    made = block(7)
    monkeypatch.setattr(node_blocks, "moved", lambda buffer: buffer)
    result = node.result(made)
    assert type(result) is bytes
    assert node.sender
    assert node.send(result) == [b"\7" * KEPT_SIZE]
    assert len(node.receiver) == 0


def test_small_results_and_plain_bytes_are_not_kept() -> None:
    node = KeptBlocks()
    assert node.outgoing([b"", block(7, KEPT_SIZE - 1), bytes(KEPT_SIZE)]) is None
    assert len(node) == 0


@pytest.mark.parametrize("place", [2, -1])
def test_a_result_in_a_frame_that_does_not_exist_is_refused(place: int) -> None:
    with pytest.raises(ProtocolError, match="names frame"):
        NodeBlocks().incoming(BlocksMade(((place, -1),)), [b"", b""])
