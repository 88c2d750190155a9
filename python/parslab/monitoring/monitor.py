"""The monitor: the DataFlowKernel's loop gives it events and panel requests.

All methods are called on the loop's thread with its time.  None waits, and none raises because of a panel or a disk.
``record`` only extends a list; ``tick`` does the work when it is due, in batches, so that a burst of tasks costs the
loop little and a quiet run costs nothing.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING

import msgspec

from parslab.monitoring.feed import Feed
from parslab.monitoring.jobfiles import JobFiles
from parslab.monitoring.store.writer import Store
from parslab.monitoring.view.text import ERROR, clipped
from parslab.monitoring.view.view import View
from parslab.records.events import NoticeRaised
from parslab.records.panel import (
    BlockOutputRequest,
    Command,
    CommandReply,
    ErrorReply,
    Request,
    Snapshot,
    TaskDetailRequest,
    TaskPageRequest,
)
from parslab.wire.encoding import encode_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from parslab.records.events import Event
    from parslab.records.panel import Reply

__all__ = ["APPLY", "FLUSH", "MANY", "Monitor"]

APPLY = 0.05
"""Seconds for which events are gathered before they are applied."""

MANY = 2000
"""Events that are applied at once when gathered, so that no pause of the loop is long (about 2 ms)."""

LOTS = 400_000
"""Events (40 MB) that are gathered at most while nobody looks and the run is busy."""

LATE = 3.0
"""Seconds for which they are."""

FLUSH = 0.3
"""Seconds between two hand-overs to the store."""

_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


class Monitor:
    """Everything that watches a run.

    Parameters
    ----------
    run_dir
        Directory of the run; the database is made there.
    post
        ``post(function)`` makes the loop call ``function`` soon; used by the store's thread to wake it for a notice.
        Without it such a notice waits for the next ``tick``.
    lives
        How many DataFlowKernel processes of this run were lost before: their database is gone on with.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> monitor = Monitor(pathlib.Path(tempfile.mkdtemp()))
    >>> monitor.request(b'{"type": "SnapshotRequest", "request_id": "1"}', 0.0, lambda text: print(text[:27]))
    b'{"type":"Snapshot","seq":0,'
    >>> monitor.close(1.0)
    []
    """

    def __init__(self, run_dir: Path, post: Callable[[Callable[[], None]], None] | None = None, lives: int = 0) -> None:
        self.view = View(restarts=lives)
        self._feed = Feed(self.view)
        self._store = Store(run_dir, self._reported, again=lives > 0)
        self._files = JobFiles()
        self._post = post
        self._recorded: list[Event] = []
        self._reports: deque[tuple[str, str]] = deque()  # appended to by the store's thread
        self._oldest: float | None = None
        self._looked = float("-inf")
        self._known = 0
        self.ended = 0
        """How many tasks have ended, as the loop counts: most of them are no event of their own."""
        self._known_ended = 0
        self._catching_up = False
        self._applied = float("-inf")
        self._flushed = float("-inf")

    @staticmethod
    def command_reply(request_id: str, text: str) -> bytes:
        """Encode that a command has been carried out; ``text`` says what was done."""
        return encode_json(CommandReply(request_id, clipped(text, ERROR)))

    @staticmethod
    def error_reply(request_id: str, text: str) -> bytes:
        """Encode that an ask could not be answered, in one sentence."""
        return encode_json(ErrorReply(request_id, clipped(text, ERROR)))

    @property
    def database(self) -> Path | None:
        """The database, when it is a file; known soon after the first event."""
        return self._store.file

    def record(self, events: list[Event]) -> None:
        """Take note of what happened."""
        self._recorded += events

    def notice(self, level: str, text: str, now: float) -> None:
        """Raise a notice: one sentence for the user, ``level`` info, warning or error."""
        self._recorded.append(NoticeRaised(now, level, text))

    def tick(self, now: float) -> list[bytes]:
        """Do what is due; answers the messages to broadcast to all panels."""
        if self._due(now):
            self._apply(now, MANY)
        if self.view.unwritten and now >= self._flushed + FLUSH and not self._store.busy:
            self._flush(now)
        return [encode_json(delta) for delta in self._feed.tick(now)]

    def next_deadline(self, now: float) -> float | None:
        """When ``tick`` is due, if nothing happens before; None while all is quiet."""
        deadlines = []
        if self._recorded or self._reports:
            at_once = self._catching_up or (len(self._recorded) >= MANY and self._feed.listened(now))
            deadlines.append(now if at_once else max(now, max(self._applied, self._looked) + APPLY))
        if self.view.unwritten:
            # A store that is behind is looked at again after a moment; rows coalesce until then.
            deadlines.append(max(now + APPLY if self._store.busy else now, self._flushed + FLUSH))
        told = self._feed.next_deadline(now)
        if told is not None:
            deadlines.append(max(now, told))
        return min(deadlines, default=None)

    def request(self, text: bytes, now: float, reply: Callable[[bytes], None]) -> Command | None:
        """Answer a message of the panel protocol.

        Parameters
        ----------
        text
            The message, JSON.
        now
            The loop's time.
        reply
            Called with the answer, at once or later from another thread; never for a heartbeat.

        Returns
        -------
        Command or None
            A command for the loop to carry out and to answer with :meth:`done` or :meth:`problem`.
        """
        try:
            message = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError) as error:  # ValidationError is a DecodeError
            reply(self.error_reply(_request_id(text), f"The run did not understand the panel's message: {error}."))
            return None
        self._apply(now)
        answer = self._feed.ask(message, now)
        if isinstance(answer, Snapshot):
            reply(encode_json(answer))
        elif isinstance(answer, BlockOutputRequest):
            self._block_output(answer, reply)
        elif answer is None:
            return None
        elif not isinstance(answer, (TaskPageRequest, TaskDetailRequest)):
            return answer
        else:
            if self.view.unwritten:
                self._flush(now)
            self._store.ask(answer, lambda found: reply(encode_json(found)))
        return None

    def _block_output(self, ask: BlockOutputRequest, reply: Callable[[bytes], None]) -> None:
        row = self.view.blocks.rows.get((ask.executor, ask.block))
        if row is None:
            text = f"This run has no block {ask.block} of {ask.executor}, or it ended long ago."
            reply(self.error_reply(ask.request_id, text))
        else:
            self._files.ask(ask.request_id, copy(row), lambda found: reply(encode_json(found)))

    def close(self, now: float, timeout: float = 2.0) -> list[bytes]:
        """Write everything down and end the store; answers the last messages to broadcast."""
        self._apply(now)
        deltas: list[Reply] = list(self._feed.last(now))
        if self.view.unwritten:
            self._flush(now)
        self._store.close(timeout)
        return [encode_json(delta) for delta in deltas]

    def _due(self, now: float) -> bool:
        """Whether events are to be applied now: soon when somebody looks or few come, else in a quiet moment."""
        waiting = len(self._recorded)
        if not waiting:
            self._oldest, self._catching_up = None, False
            return bool(self._reports)
        if self._oldest is None:
            self._oldest = now
        if self._catching_up:
            return True
        if self._feed.listened(now):
            return now >= self._applied + APPLY or waiting >= MANY
        if now >= max(self._looked, self._applied) + APPLY:
            self._catching_up = waiting - self._known + self.ended - self._known_ended < MANY
            self._looked, self._known, self._known_ended = now, waiting, self.ended
        self._catching_up = self._catching_up or waiting >= LOTS or now >= self._oldest + LATE
        return self._catching_up

    def _apply(self, now: float, most: int | None = None) -> None:
        while self._reports:
            self.notice(*self._reports.popleft(), now)
        recorded = self._recorded
        if recorded:
            if most is None or len(recorded) <= 2 * most:
                self._recorded, self._known = [], 0
                self._oldest, self._catching_up = None, False
                self.view.apply(recorded, now)
            else:
                self.view.apply(recorded[:most], now)
                del recorded[:most]
        self._applied = now

    def _flush(self, now: float) -> None:
        self._flushed = now
        self._store.write(self.view.take_batch())

    def _reported(self, level: str, text: str) -> None:
        """(Store's thread) Have something said to the user."""
        self._reports.append((level, text))
        if self._post is not None:
            self._post(_wake)


def _wake() -> None:
    """Nothing: that the loop turns is enough, ``next_deadline`` tells it the rest."""


def _request_id(text: bytes) -> str:
    """Whom to answer, from a message that is not understood."""
    try:
        return msgspec.json.decode(text, type=_AnyRequest).request_id
    except (msgspec.DecodeError, UnicodeError):
        return ""


class _AnyRequest(msgspec.Struct):
    request_id: str = ""
