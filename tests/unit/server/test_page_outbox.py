"""What waits for a slow browser is bounded, and the page learns that messages were left out."""

from __future__ import annotations

import asyncio

from parslab.server.page_outbox import PageOutbox

SKIPPED = b"skipped"


class Line:
    """The line of a browser: it takes a message only when the test says so."""

    def __init__(self) -> None:
        self.arrived: list[bytes] = []
        self.free = asyncio.Event()
        self.broken = False

    async def write(self, text: bytes) -> None:
        await self.free.wait()
        if self.broken:
            raise ConnectionError
        self.arrived.append(text)


async def turns() -> None:
    """Let all tasks go on as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_messages_arrive_in_order() -> None:
    async def scene() -> None:
        line = Line()
        line.free.set()
        box = PageOutbox(line.write, SKIPPED)
        for number in range(5):
            box.put(b"%d" % number)
        await turns()
        assert line.arrived == [b"0", b"1", b"2", b"3", b"4"]
        box.put(b"5")
        await turns()
        assert line.arrived[-1] == b"5"

    asyncio.run(scene())


def test_a_slow_browser_gets_a_bounded_number_of_bytes_and_a_word() -> None:
    async def scene() -> None:
        line = Line()
        box = PageOutbox(line.write, SKIPPED, limit=1000)
        box.put(b"first")
        await turns()  # the line has it and does not take it
        for _ in range(10_000):
            box.put(b"x" * 100)
            assert box.size <= 1000
        box.put(b"the end", essential=True)
        line.free.set()
        await turns()
        assert line.arrived == [b"first", SKIPPED, b"the end"]
        box.put(b"later")
        await turns()
        assert line.arrived[-1] == b"later"

    asyncio.run(scene())


def test_one_message_may_be_larger_than_the_limit() -> None:
    async def scene() -> None:
        line = Line()
        line.free.set()
        box = PageOutbox(line.write, SKIPPED, limit=10)
        box.put(b"x" * 100)
        await turns()
        assert line.arrived == [b"x" * 100]

    asyncio.run(scene())


def test_a_browser_that_has_gone_keeps_nothing() -> None:
    async def scene() -> None:
        line = Line()
        box = PageOutbox(line.write, SKIPPED)
        box.put(b"a")
        box.put(b"b")
        await turns()
        line.broken = True
        line.free.set()
        await turns()
        box.put(b"c")
        await turns()
        assert (line.arrived, box.size) == ([], 0)

    asyncio.run(scene())


def test_a_closed_box_sends_nothing() -> None:
    async def scene() -> None:
        line = Line()
        box = PageOutbox(line.write, SKIPPED)
        box.put(b"a")
        await turns()
        box.close()
        line.free.set()
        await turns()
        assert line.arrived == []

    asyncio.run(scene())
