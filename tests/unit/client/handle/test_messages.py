"""Messages are handled in their order, also when a callback makes another thread handle the rest of a batch."""

from __future__ import annotations

import types
from typing import Any

from parslab.client.handle.messages import MessageHandler
from parslab.wire.messages.base import TaskValue


class Said:
    """A message; its handler may run a callback that waits."""

    def __init__(self, text: str, waits: bool = False) -> None:
        self.text, self.waits = text, waits


class Client:
    """The components of a handle that its messages need."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.values: list[tuple[int, list[Any]]] = []
        self.left: list[Any] = []
        parts: Any = types.SimpleNamespace(
            unfinished={}, followers={}, calls={}, released=[], value=self.value, open=False
        )
        self.handler = MessageHandler(parts, parts, parts, parts, parts)
        self.handler.handlers[Said] = self.say

    def handle(self, message: Any) -> None:
        """Handle a batch of one message."""
        self.handler.handle(([message], []))

    def value(self, message: TaskValue, frames: list[Any], used: int) -> int:
        self.values.append((message.task, frames[used : used + message.frames]))
        return message.frames

    def say(self, message: Said) -> None:
        self.said.append(message.text)
        if message.waits:
            self.left = self.handler.take_unhandled()


def frames(*contents: bytes) -> list[bytearray]:
    return [bytearray(content) for content in contents]


def test_the_rest_of_a_batch_is_left_to_the_thread_that_goes_on() -> None:
    client = Client()
    batch: Any = [Said("a"), Said("b", waits=True), Said("c"), Said("d")]
    client.handler.handle((batch, []))
    assert client.said == ["a", "b"]
    for batch in client.left:
        client.handler.handle(batch)
    client.handle(Said("e"))
    assert client.said == ["a", "b", "c", "d", "e"]


def test_frames_stay_with_their_messages() -> None:
    client = Client()
    batch: Any = (
        [TaskValue(1, b"", 2), Said("a", waits=True), TaskValue(2, b"", 1), TaskValue(3, b"", 1)],
        frames(b"1", b"one", b"2", b"3"),
    )
    client.handler.handle(batch)
    assert client.values == [(1, frames(b"1", b"one"))]
    for rest in client.left:
        client.handler.handle(rest)
    assert client.values[1:] == [(2, frames(b"2")), (3, frames(b"3"))]


def test_the_last_message_of_a_batch_leaves_nothing() -> None:
    client = Client()
    client.handle(Said("a", waits=True))
    assert [messages for messages, _ in client.left] == [[]]
    client.handle(Said("b"))
    assert client.said == ["a", "b"]
