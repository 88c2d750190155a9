"""Receives events and panel requests from the DataFlowKernel's loop, and passes them to view, feed and store.

The loop calls all methods on its thread and passes its time.  No method waits, and none raises because of a panel or a
disk.  ``record`` only extends a list.  ``tick`` applies the events in batches, so a burst of tasks costs the loop
little and a quiet run costs nothing.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING

import msgspec

from parslab.clock import wall_clock_offset
from parslab.monitoring.feed import Feed
from parslab.monitoring.jobfiles import JobFiles
from parslab.monitoring.store.writer import Store
from parslab.monitoring.timeline.service import TimelineService
from parslab.monitoring.view.text import ERROR, clipped
from parslab.monitoring.view.view import View
from parslab.records.events import NoticeRaised
from parslab.records.panel import (
    BlockOutputRequest,
    CellCounts,
    CellCountsRequest,
    Command,
    CommandReply,
    ErrorReply,
    Request,
    Snapshot,
    TaskDetailRequest,
    TaskPageRequest,
    TimelineRequest,
)
from parslab.wire.encoding import encode_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from parslab.records.events import Event
    from parslab.records.panel import Reply

__all__ = ["APPLY", "CLOCK_STEP", "FLUSH", "MANY", "Monitor"]

APPLY = 0.05
"""Seconds for which events are gathered before they are applied."""

MANY = 2000
"""Events that one ``tick`` applies at most, or twice as many at the end: about 2 ms in which the loop does no task."""

LOTS = 400_000
"""Events (40 MB) that wait at most while no panel listens and the run is busy."""

LATE = 3.0
"""Seconds for which such events wait at most."""

FLUSH = 0.3
"""Seconds between two batches for the store.  Several moves of a task in that time become one row."""

CLOCK_STEP = 2.0
"""Seconds by which the wall clock must change before panels correct the times that they show."""

_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


class Monitor:
    """Holds the view, the feed and the store of one run, and decides when each of them works.

    Parameters
    ----------
    run_dir
        Directory of the run, in which the store makes the database.
    post
        ``post(function)`` makes the loop call ``function`` soon.  The store's thread uses it to wake the loop for a
        notice; without ``post`` such a notice waits for the next ``tick``.
    lives
        How many DataFlowKernel processes of this run have died.  If any has, the store continues their database.
    clock_offset
        Returns how many seconds the wall clock is ahead of the loop's time.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> monitor = Monitor(pathlib.Path(tempfile.mkdtemp()))
    >>> monitor.request(b'{"type": "SnapshotRequest", "request_id": "1"}', 0.0, lambda text: print(text[:27]))
    b'{"type":"Snapshot","seq":0,'
    >>> monitor.close(1.0)
    []
    """

    def __init__(
        self,
        run_dir: Path,
        post: Callable[[Callable[[], None]], None] | None = None,
        lives: int = 0,
        *,
        clock_offset: Callable[[], float] = wall_clock_offset,
    ) -> None:
        self.view = View(restarts=lives)
        self._feed = Feed(self.view)
        self._store = Store(run_dir, self._reported, again=lives > 0)
        self._timeline = TimelineService()
        self._files = JobFiles()
        self._post = post
        self._clock_offset = clock_offset
        self._shown_offset = 0.0
        """The offset with which panels show times."""
        self._recorded: list[Event] = []
        self._reports: deque[tuple[str, str]] = deque()  # the store's thread appends, which is atomic
        self._oldest: float | None = None
        self._looked = float("-inf")
        self._known = 0
        self.ended = 0
        """How many tasks have ended.  The loop counts them, because most ends are written into an earlier event."""
        self._known_ended = 0
        self._catching_up = False
        self._applied = float("-inf")
        self._flushed = float("-inf")

    @staticmethod
    def command_reply(request_id: str, text: str) -> bytes:
        """Encode the reply to a command that the loop has carried out; ``text`` says what the loop did."""
        return encode_json(CommandReply(request_id, clipped(text, ERROR)))

    @staticmethod
    def error_reply(request_id: str, text: str) -> bytes:
        """Encode the reply to a request that failed; ``text`` is one sentence."""
        return encode_json(ErrorReply(request_id, clipped(text, ERROR)))

    @property
    def database(self) -> Path | None:
        """The path of the database; None before the store has opened it, and when no file could be made."""
        return self._store.file

    @property
    def has_events(self) -> bool:
        """Whether events wait for the next ``tick``."""
        return bool(self._recorded)

    def record(self, events: list[Event]) -> None:
        """Keep events until ``tick`` applies them."""
        self._recorded += events

    def notice(self, level: str, text: str, now: float) -> None:
        """Raise a notice: one sentence for the user, ``level`` info, warning or error."""
        self._recorded.append(NoticeRaised(now, level, text))

    def tick(self, now: float) -> list[bytes]:
        """Do what is due, and return the messages to broadcast to all panels."""
        if self._due(now):
            self._apply(now, MANY)
        # While the store still writes, rows stay in the view.  A slow disk then makes batches larger, and the queue of
        # the store does not grow.
        if self.view.unwritten and now >= self._flushed + FLUSH and not self._store.busy:
            self._flush(now)
        return [encode_json(delta) for delta in self._feed.tick(now)]

    def next_deadline(self, now: float) -> float | None:
        """Return when ``tick`` is due if nothing happens before, or None if it is not due."""
        deadlines = []
        if self._recorded or self._reports:
            at_once = self._catching_up or (len(self._recorded) >= MANY and self._feed.listened(now))
            deadlines.append(now if at_once else max(now, max(self._applied, self._looked) + APPLY))
        if self.view.unwritten:
            # The store does not wake the loop when it has finished a batch, so the loop looks again after a moment.
            deadlines.append(max(now + APPLY if self._store.busy else now, self._flushed + FLUSH))
        feed_deadline = self._feed.next_deadline(now)
        if feed_deadline is not None:
            deadlines.append(max(now, feed_deadline))
        return min(deadlines, default=None)

    def request(self, text: bytes, now: float, reply: Callable[[bytes], None], notebook: int = -1) -> Command | None:
        """Answer a message of the panel protocol.

        Parameters
        ----------
        text
            The message, JSON.
        now
            The loop's time.
        reply
            Called with the answer, at once or later from another thread; never for a heartbeat.
        notebook
            The client whose cells the message means when it names none.

        Returns
        -------
        Command or None
            A command that the loop carries out and answers with :meth:`command_reply` or :meth:`error_reply`.
        """
        try:
            message = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError) as error:  # ValidationError is a DecodeError
            reply(self.error_reply(_request_id(text), f"The run did not understand the panel's message: {error}."))
            return None
        # All events, however many, because the reply must show everything that happened before the request.
        self._apply(now)
        answer = self._feed.ask(message, now)
        if isinstance(answer, Snapshot):
            reply(encode_json(answer))
        elif isinstance(answer, BlockOutputRequest):
            self._block_output(answer, reply)
        elif answer is None:
            return None
        elif not isinstance(answer, (TaskPageRequest, CellCountsRequest, TaskDetailRequest, TimelineRequest)):
            return answer
        else:
            if isinstance(answer, (TaskPageRequest, CellCountsRequest)) and answer.client < 0:
                answer.client = notebook
            # The store reads batches and queries from one queue, so this query sees the rows of this flush.
            if self.view.unwritten:
                self._flush(now)
            how = self._timeline.ask(now) if isinstance(answer, TimelineRequest) else None
            self._store.ask(answer, lambda found: reply(encode_json(_at(found, now))), how)
        return None

    def _block_output(self, ask: BlockOutputRequest, reply: Callable[[bytes], None]) -> None:
        row = self.view.blocks.rows.get((ask.executor, ask.block))
        if row is None:
            text = f"This run has no block {ask.block} of {ask.executor}, or it ended long ago."
            reply(self.error_reply(ask.request_id, text))
        else:
            # A copy, because another thread reads it while the view changes the row.
            self._files.ask(ask.request_id, copy(row), lambda found: reply(encode_json(found)))

    def close(self, now: float, timeout: float = 2.0) -> list[bytes]:
        """Store all rows and close the store; return the last messages to broadcast."""
        self._apply(now)
        deltas: list[Reply] = list(self._feed.last(now))
        if self.view.unwritten:
            self._flush(now)
        self._store.close(timeout)
        return [encode_json(delta) for delta in deltas]

    def _due(self, now: float) -> bool:
        """Whether to apply events now.

        The monitor applies them within ``APPLY`` seconds if a panel listens or events are few.  In a burst without a
        panel it waits for a quiet moment.  Until an event is read, the loop writes the later moves of its task into it
        (``decisions/0023-one-event-for-an-unread-task.md``), so a late reader has fewer events to apply.
        """
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
            # Quiet: few events and few ends of tasks since the last look.  Most ends add no event, so both count.
            self._catching_up = waiting - self._known + self.ended - self._known_ended < MANY
            self._looked, self._known, self._known_ended = now, waiting, self.ended
        self._catching_up = self._catching_up or waiting >= LOTS or now >= self._oldest + LATE
        return self._catching_up

    def _apply(self, now: float, most: int | None = None) -> None:
        while self._reports:
            self.notice(*self._reports.popleft(), now)
        self._check_clock(now)
        recorded = self._recorded
        if recorded:
            # Up to twice as many at once, because a small rest would cost one more turn of the loop.
            if most is None or len(recorded) <= 2 * most:
                self._recorded, self._known = [], 0
                self._oldest, self._catching_up = None, False
                self.view.apply(recorded, now)
            else:
                self.view.apply(recorded[:most], now)
                del recorded[:most]
        self._applied = now

    def _check_clock(self, now: float) -> None:
        """Report a change of the wall clock to panels, so that they show true times before and after it."""
        offset = self._clock_offset()
        if abs(offset - self._shown_offset) >= CLOCK_STEP:
            # The events that wait are newer than the last look, and nearly always newer than the change, too.
            since = min(now, self._recorded[0].time) if self._recorded else now
            self.view.clock_changed(since, offset)
            self._shown_offset = offset

    def _flush(self, now: float) -> None:
        self._flushed = now
        batch = self.view.take_batch()
        self._store.write(batch)
        self._timeline.note(batch, now)

    def _reported(self, level: str, text: str) -> None:
        """Keep a notice of the store until the loop raises it; the store's thread calls this."""
        self._reports.append((level, text))
        if self._post is not None:
            self._post(_wake)


def _at(answer: Reply, now: float) -> Reply:
    """Set the time of an answer that has one: the database has no clock."""
    if isinstance(answer, CellCounts):
        answer.now = now
    return answer


def _wake() -> None:
    """Do nothing: the call wakes the loop, which then asks ``next_deadline``."""


def _request_id(text: bytes) -> str:
    """Return the request id of a message that does not decode, or an empty text, so that the panel gets the error."""
    try:
        return msgspec.json.decode(text, type=_AnyRequest).request_id
    except (msgspec.DecodeError, UnicodeError):
        return ""


class _AnyRequest(msgspec.Struct):
    request_id: str = ""
