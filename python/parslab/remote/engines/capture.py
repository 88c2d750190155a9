"""Capture what a task prints on a worker of an engine, whose own streams belong to the engine.

Only text that Python prints in the thread of the task is captured: several tasks may run in threads of one process.
"""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

from parslab.remote.worker.output import HEAD, TAIL
from parslab.wire.messages.base import OutputPrinted

__all__ = ["captured_output"]


class _Kept(io.RawIOBase):
    """Keeps the first and the last bytes that are written."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = len(data)
        room = HEAD - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * TAIL:
            self._cut += len(self._tail) - TAIL
            del self._tail[:-TAIL]
        return size

    def content(self) -> bytes:
        """Return what was kept, with a mark where something was cut."""
        cut, tail = self._cut, self._tail
        if len(tail) > TAIL:
            cut, tail = cut + len(tail) - TAIL, tail[-TAIL:]
        mark = f"\n... [{cut} bytes cut] ...\n".encode() if cut else b""
        return bytes(self._head) + mark + bytes(tail)


class captured_output:  # a context manager
    """Capture the output of the task that this thread runs, until the end of the ``with`` block."""

    def __enter__(self) -> captured_output:
        _enter()
        self._streams = _here.streams = {}
        return self

    def __exit__(self, *error: object) -> None:
        _here.streams = None
        _leave()

    def messages(self, task: int) -> list[OutputPrinted]:
        """Return what the task has printed."""
        if not self._streams:
            return []
        messages = []
        for number, stream in sorted(self._streams.items()):
            stream.flush()
            if text := stream.buffer.content():
                messages.append(OutputPrinted(task, number, text))
        self._streams.clear()
        return messages


class _Here(threading.local):
    """The streams of the task that a thread runs."""

    streams: dict[int, Any] | None = None


_here = _Here()


class _Divided:
    """A ``sys.stdout`` that writes to the stream of the task, or in other threads to the stream that was there."""

    def __init__(self, number: int, before: Any) -> None:
        self.number = number
        self.before = before

    def _stream(self) -> Any:
        streams = _here.streams
        if streams is None:
            return self.before
        if self.number not in streams:
            # Names of files may hold what is no UTF-8; it must not fail a task that prints them.
            streams[self.number] = io.TextIOWrapper(_Kept(), "utf-8", "backslashreplace", write_through=True)
        return streams[self.number]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)


_users = 0
_installed: list[_Divided] = []
# Threads of one worker begin and end tasks at the same time, and none of them owns ``sys.stdout``.
_lock = threading.Lock()


def _enter() -> None:
    global _users
    with _lock:
        _users += 1
        for number, name in ((1, "stdout"), (2, "stderr")):
            now = getattr(sys, name)
            if not isinstance(now, _Divided):
                stream = _Divided(number, now)
                setattr(sys, name, stream)
                _installed.append(stream)


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users:
            return
        for stream in _installed:
            name = "stdout" if stream.number == 1 else "stderr"
            if getattr(sys, name) is stream:
                setattr(sys, name, stream.before)
        _installed.clear()
