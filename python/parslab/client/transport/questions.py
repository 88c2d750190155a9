"""``Questions`` sends requests to the DataFlowKernel and waits for the replies.

There are two kinds: requests of the panel protocol, and requests for large values.  Any thread may ask; the link's
thread receives the replies.  A callback of a future may ask in the link's thread.  Another thread then receives the
reply.  While the link connects to another DataFlowKernel no other thread can, so the asking thread polls the link.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import TimeoutError as FutureTimeout
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import msgspec

from parslab.records import panel
from parslab.wire.encoding import encode_json
from parslab.wire.messages.base import TaskValue, frame_count
from parslab.wire.messages.client import FetchValue, PanelReply, PanelRequest

if TYPE_CHECKING:
    from parslab.client.transport.link import KernelLink
    from parslab.serialize.values import Inline
    from parslab.wire.stream import Buffer

__all__ = ["Questions"]

_answers = msgspec.json.Decoder(panel.Reply)


AnswerT = TypeVar("AnswerT")
_Packed: TypeAlias = "tuple[Inline, list[Buffer]]"


class _Question(Generic[AnswerT]):
    """A request, and the reply once it has arrived."""

    __slots__ = ("answer", "answered", "sent", "text", "waiting")

    def __init__(self) -> None:
        self.sent = False
        self.text = b""
        """The encoded request, which the client sends again to another DataFlowKernel."""
        self.waiting = 0
        """The number of threads that wait for the reply."""
        self.answered = threading.Event()
        self.answer: AnswerT | None = None


class Questions:
    """All requests of one client that have no reply yet.

    Parameters
    ----------
    link
        The connection to the DataFlowKernel.
    """

    def __init__(self, link: KernelLink) -> None:
        self._link = link
        self._numbers = itertools.count(1)
        self._asks: dict[int, _Question[bytes]] = {}
        self._fetches: dict[int, _Question[_Packed]] = {}
        self._over = False

    def ask(self, message: panel.Request, timeout: float | None) -> panel.Reply | None:
        """Send a request and wait for the reply; return None when the run ends meanwhile.

        Raises
        ------
        TimeoutError
            The reply did not arrive in time.
        """
        number = next(self._numbers)
        question = self._asks[number] = _Question()  # before the send, because the reply may arrive during it
        try:
            question.text = encode_json(message)
            self._link.send(PanelRequest(number, question.text))
            if not self._await(question, timeout):
                raise TimeoutError(
                    f"the DataFlowKernel did not answer within {timeout:g} s: it is very busy, or stopped"
                )
        finally:
            self._asks.pop(number, None)
        return None if question.answer is None else _answers.decode(question.answer)

    def fetch(self, task: int, timeout: float | None = None) -> tuple[Inline, list[Buffer]] | None:
        """Get the packed value of a task; return None when the run ends meanwhile.

        Raises
        ------
        TimeoutError
            The value did not arrive in time; a later call waits for the same transfer.
        """
        question = self._fetches.setdefault(task, _Question())
        # Read _over after adding the question: either end() finds the question, or this thread sees _over.
        if self._over:
            question.answered.set()
        question.waiting += 1
        late = False
        try:
            if not question.answered.is_set():
                if not question.sent:
                    self._link.send(FetchValue(task))
                    question.sent = True
                late = not self._await(question, timeout)
        finally:  # also after an interrupt, because a large value must not stay in memory that nobody waits for
            question.waiting -= 1
            if not late and (not question.waiting or question.answered.is_set()):
                self._fetches.pop(task, None)
        if late:
            raise FutureTimeout(f"the value of task {task} is on its way, but not here yet: ask again")
        return question.answer

    def give_up(self, task: int) -> None:
        """Drop a value that nobody waits for any more; it takes no lock, so ``__del__`` may call it."""
        self._fetches.pop(task, None)

    def _await(self, question: _Question[AnswerT], timeout: float | None) -> bool:
        if self._link.hand_over():
            return question.answered.wait(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        while not question.answered.is_set():
            if deadline is not None and monotonic() > deadline:
                return False
            self._link.poll(100)  # in steps, to keep the deadline
        return True

    # ----- link's thread

    def answered(self, message: PanelReply) -> None:
        """Pass the reply on to the thread that waits for it."""
        _fill(self._asks.get(message.ask), message.text)

    def value(self, message: TaskValue, frames: list[Buffer], at: int) -> int:
        """Pass on a value whose frames begin at ``at``; return how many frames it has."""
        count = message.frames if message.parts is None else sum(map(frame_count, message.parts))
        inline = message.inline if message.parts is None else message.parts
        _fill(self._fetches.get(message.task), (inline, frames[at : at + count]))
        return count

    def ask_again(self) -> None:
        """Send all requests without a reply to another DataFlowKernel."""
        for number, question in list(self._asks.items()):
            if question.text and not question.answered.is_set():
                self._link.send(PanelRequest(number, question.text))
        for task, fetch in list(self._fetches.items()):
            if fetch.sent and not fetch.answered.is_set():
                self._link.send(FetchValue(task))

    def made_again(self, task: int) -> None:
        """Request a lost value again, because its task has run once more.

        The future of such a task is settled already, so no other code sees the end of that run.
        """
        question = self._fetches.get(task)
        if question is not None and question.sent and not question.answered.is_set():
            self._link.send(FetchValue(task))

    def end(self) -> None:
        """Wake all threads that wait, because no reply will arrive any more."""
        self._over = True
        for asked in self._asks.values():
            asked.answered.set()
        for fetched in self._fetches.values():
            fetched.answered.set()


def _fill(question: _Question[AnswerT] | None, answer: AnswerT) -> None:
    if question is not None:  # else no thread waits for the reply any more
        question.answer = answer
        question.answered.set()
