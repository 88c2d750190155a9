"""Holds the messages that wait for one slow browser, within a bound [shell].

A browser on a slow line must neither stop the messages of other panels nor make the server's memory grow.  When too
much waits, everything that waits is dropped, and the page is told to request a new Snapshot once the line is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["LIMIT", "PageOutbox"]

LIMIT = 16 << 20
"""Bytes that wait at most for one browser."""


class PageOutbox:
    """The messages for one page, in order.

    Parameters
    ----------
    write
        Sends one message; its result is awaited, and takes as long as the line of the browser needs.
    skipped
        The message that tells the page that messages were left out.
    limit
        Bytes that wait at most; a single message may be larger.
    """

    def __init__(self, write: Callable[[bytes], Awaitable[None]], skipped: bytes, limit: int = LIMIT) -> None:
        self._write = write
        self._skipped = skipped
        self._limit = limit
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropping = False
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """How many bytes wait; the message that is being sent is not among them."""
        return self._size

    def put(self, text: bytes, *, essential: bool = False) -> None:
        """Send a message after those that wait.

        Parameters
        ----------
        text
            The message.
        essential
            Whether it must arrive although messages before it are left out.
        """
        if self._closed or (self._dropping and not essential):
            return
        if self._waiting and self._size + len(text) > self._limit and not essential:
            self._waiting.clear()
            self._size = 0
            self._dropping = True
            self._append(self._skipped)
            return
        self._append(text)

    def close(self) -> None:
        """Drop what waits, and send nothing more."""
        self._closed = True
        self._waiting.clear()
        self._size = 0
        if self._task is not None:
            self._task.cancel()

    def _append(self, text: bytes) -> None:
        self._waiting.append(text)
        self._size += len(text)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                text = self._waiting.popleft()
                self._size -= len(text)
                if text is self._skipped:
                    # What comes from now on is sent again, behind this message.
                    self._dropping = False
                await self._write(text)
        except Exception:
            # The page has gone; the server reports the end of the websocket by itself.
            self._closed = True
            self._waiting.clear()
            self._size = 0
        finally:
            self._task = None
