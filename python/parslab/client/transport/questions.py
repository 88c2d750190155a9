"""Questions that somebody blocks on: answers of the panel protocol, and values too large to come unasked.

Asked from any thread; answered by the link's thread, which keeps turning the link itself when the question is its own
(in a callback of a future).
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import TimeoutError as FutureTimeout
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.records import panel
from parslab.wire.messages.base import TaskValue, frame_count
from parslab.wire.messages.client import FetchValue, PanelReply, PanelRequest

if TYPE_CHECKING:
    from parslab.client.transport.link import KernelLink
    from parslab.serialize.values import Inline
    from parslab.wire.stream import Buffer

__all__ = ["Questions"]

_answers = msgspec.json.Decoder(panel.Reply)
_encoder = msgspec.json.Encoder()


class _Box:
    """One answer that has not come yet."""

    __slots__ = ("asked", "content", "full", "text", "waiting")

    def __init__(self) -> None:
        self.asked = False
        self.text = b""
        self.waiting = 0
        """Threads that wait for it."""
        self.full = threading.Event()
        self.content: Any = None


class Questions:
    """All open questions of one client.

    Parameters
    ----------
    link
        Where they are sent.
    """

    def __init__(self, link: KernelLink) -> None:
        self._link = link
        self._numbers = itertools.count(1)
        self._asks: dict[int, _Box] = {}
        self._fetches: dict[int, _Box] = {}
        self._over = False

    def ask(self, message: panel.Request, timeout: float | None) -> panel.Reply | None:
        """The answer; None when the run ended meanwhile.

        Raises
        ------
        TimeoutError
            It did not come in time.
        """
        number = next(self._numbers)
        box = self._asks[number] = _Box()
        try:
            box.text = _encoder.encode(message)
            self._link.send(PanelRequest(number, box.text))
            if not self._await(box, timeout):
                raise TimeoutError(
                    f"the DataFlowKernel did not answer within {timeout:g} s: it is very busy, or stopped"
                )
        finally:
            self._asks.pop(number, None)
        return None if box.content is None else _answers.decode(box.content)

    def fetch(self, task: int, timeout: float | None = None) -> tuple[Inline, list[Buffer]] | None:
        """The packed value of a task; None when the run ended meanwhile.

        Raises
        ------
        TimeoutError
            It did not come in time; who asks again goes on waiting for the same transfer.
        """
        box = self._fetches.setdefault(task, _Box())
        if self._over:  # asked after the box is there, so that the end either sees the box or is seen here
            box.full.set()
        box.waiting += 1
        late = False
        try:
            if not box.full.is_set():
                if not box.asked:
                    self._link.send(FetchValue(task))
                    box.asked = True
                late = not self._await(box, timeout)
        finally:  # also when interrupted: a large value must not lie here for nobody
            box.waiting -= 1
            if not late and (not box.waiting or box.full.is_set()):
                self._fetches.pop(task, None)
        if late:
            raise FutureTimeout(f"the value of task {task} is on its way, but not here yet: ask again")
        value: tuple[Inline, list[Buffer]] | None = box.content
        return value

    def give_up(self, task: int) -> None:
        """Nobody will ask for this value any more; safe in ``__del__``."""
        self._fetches.pop(task, None)

    def _await(self, box: _Box, timeout: float | None) -> bool:
        if not self._link.in_own_thread:
            return box.full.wait(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        while not box.full.is_set():
            if deadline is not None and monotonic() > deadline:
                return False
            self._link.poll(100)
        return True

    # ----- link's thread

    def answered(self, message: PanelReply) -> None:
        """An answer has come."""
        _fill(self._asks.get(message.ask), message.text)

    def value(self, message: TaskValue, frames: list[Buffer], at: int) -> int:
        """A value has come, its frames begin at ``at``; how many they are."""
        count = message.frames if message.parts is None else sum(map(frame_count, message.parts))
        inline = message.inline if message.parts is None else message.parts
        _fill(self._fetches.get(message.task), (inline, frames[at : at + count]))
        return count

    def ask_again(self) -> None:
        """Another DataFlowKernel has taken the place of the one that was asked."""
        for number, box in list(self._asks.items()):
            if box.text and not box.full.is_set():
                self._link.send(PanelRequest(number, box.text))
        for task, box in list(self._fetches.items()):
            if box.asked and not box.full.is_set():
                self._link.send(FetchValue(task))

    def made_again(self, task: int) -> None:
        """A task whose future is settled has ended once more: its value had been lost."""
        box = self._fetches.get(task)
        if box is not None and box.asked and not box.full.is_set():
            self._link.send(FetchValue(task))

    def end(self) -> None:
        """No answer will come any more."""
        self._over = True
        for box in [*self._asks.values(), *self._fetches.values()]:
            box.full.set()


def _fill(box: _Box | None, content: Any) -> None:
    if box is not None:
        box.content = content
        box.full.set()
