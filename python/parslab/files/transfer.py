"""Decides the course of one transfer: what to ask from whom, when to try another source, when to give up [core].

The shell writes the bytes and computes their hash.  A transfer asks for chunks in order, with at most ``WINDOW`` bytes
on the way.  It starts at the bytes that an earlier source, or an earlier process, has delivered.  The DataFlowKernel
chooses the sources: the transfer names those that failed, and asks for another one.  Time is an argument.

Invariants
----------
- ``written`` never decreases, except when the hash of all bytes is wrong: then the transfer starts from zero.
- Chunks of an earlier request never count.
- Each transfer ends: every failure counts, and only chunks that arrive reset the count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, TypeAlias

from parslab.records.state_machine import step

if TYPE_CHECKING:
    from parslab.wire.messages.files import ContentId

__all__ = [
    "CHUNK",
    "SILENCE",
    "TRANSFER",
    "WINDOW",
    "AskForSource",
    "Command",
    "GiveUp",
    "RequestChunks",
    "StartAgain",
    "Transfer",
    "TransferSignal",
    "TransferState",
    "VerifyHash",
]

CHUNK = 1 << 18
"""Bytes of a chunk: the encryption of one takes less than a millisecond, so messages of tasks hardly wait for it."""
WINDOW = 32 * CHUNK
"""Bytes on the way: enough for a gigabit link with a round trip of 50 ms."""
SILENCE = 10.0
"""Seconds without a chunk after which a source counts as failed."""
FAILURES = 5
"""Failures in a row, without one chunk in between, after which a transfer gives up."""
MISMATCHES = 3
"""Wrong hashes after which a transfer gives up."""
PAUSE = 0.2
"""Seconds before the second request for a source; each further pause is twice as long."""


class TransferState(Enum):
    """What a transfer does."""

    seeking = "seeking"
    """It waits for a source."""
    receiving = "receiving"
    """It waits for chunks."""
    verifying = "verifying"
    """All bytes are here, and the shell compares their hash."""
    done = "done"
    failed = "failed"


class TransferSignal(IntEnum):
    """What happens to a transfer."""

    sourced = 1
    """The DataFlowKernel named a source."""
    filled = 2
    """The last byte arrived."""
    interrupted = 3
    """The source failed."""
    verified = 4
    mismatched = 5
    gave_up = 6


S, T = TransferState, TransferSignal

TRANSFER: dict[tuple[TransferState, TransferSignal], TransferState] = {
    (S.seeking, T.sourced): S.receiving,
    (S.seeking, T.filled): S.verifying,  # nothing is missing: an empty file, or all bytes from an earlier process
    (S.seeking, T.interrupted): S.seeking,  # no source can be had now
    (S.seeking, T.gave_up): S.failed,
    (S.receiving, T.filled): S.verifying,
    (S.receiving, T.interrupted): S.seeking,
    (S.receiving, T.gave_up): S.failed,
    (S.verifying, T.verified): S.done,
    (S.verifying, T.mismatched): S.seeking,
    (S.verifying, T.gave_up): S.failed,
}


@dataclass(frozen=True, slots=True)
class AskForSource:
    """Ask the DataFlowKernel for a source; ``failed`` is the source that failed last, and why."""

    failed: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RequestChunks:
    """Ask a source for bytes."""

    source: str
    ask: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class VerifyHash:
    """Compare the hash of all bytes with that of the content."""


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Drop all bytes: their hash is wrong."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the transfer with this reason."""

    reason: str


Command: TypeAlias = AskForSource | RequestChunks | VerifyHash | StartAgain | GiveUp


class Transfer:
    """The transfer of one content to one cache.

    Parameters
    ----------
    content
        What to transfer.
    written
        Bytes that are here already.

    Attributes
    ----------
    source
        Who sends at this moment; empty while nobody does.
    ask
        The number of the current request; it changes with each source.
    """

    def __init__(self, content: ContentId, written: int = 0) -> None:
        self.content = content
        self.state = TransferState.seeking
        self.written = written
        self.source = ""
        self.ask = 0
        self._requested = written
        """Up to where bytes were requested from the current source."""
        self._failures = 0
        self._mismatches = 0
        self._due: float | None = None
        self._failed = AskForSource()
        self._last_failure = ""

    def next_deadline(self) -> float | None:
        """Return when :meth:`check` is due; None if nothing is."""
        return self._due

    def begin(self) -> list[Command]:
        """Start: ask for a source, unless all bytes are here."""
        if self.written >= self.content.size:
            self._step(TransferSignal.filled)
            return [VerifyHash()]
        return [AskForSource()]

    def sourced(self, source: str, ask: int, now: float) -> list[Command]:
        """Ask this source for the missing bytes; ``ask`` is a number that no earlier request has."""
        if self.state is not TransferState.seeking:
            return []  # the answer to a question that was asked twice
        self._step(TransferSignal.sourced)
        self.source, self.ask = source, ask
        self._requested = self.written
        self._due = now + SILENCE
        return self._fill_window()

    def accepts(self, ask: int, offset: int, length: int) -> bool:
        """Return whether a chunk is the next one of the current request; the shell drops all others."""
        return (
            self.state is TransferState.receiving
            and ask == self.ask
            and offset == self.written
            and 0 < length <= self._requested - self.written
        )

    def wrote(self, length: int, now: float) -> list[Command]:
        """Note that the shell has written a chunk that :meth:`accepts` has accepted."""
        self.written += length
        self._failures = 0
        if self.written == self.content.size:
            self._step(TransferSignal.filled)
            self.source, self._due = "", None
            return [VerifyHash()]
        self._due = now + SILENCE
        return self._fill_window()

    def _fill_window(self) -> list[Command]:
        # Half a window at a time: a request for each chunk would be as many messages as the chunks.
        if self._requested - self.written > WINDOW // 2:
            return []
        length = min(self.written + WINDOW, self.content.size) - self._requested
        if length <= 0:
            return []
        offset, self._requested = self._requested, self._requested + length
        return [RequestChunks(self.source, self.ask, offset, length)]

    def source_failed(self, ask: int, reason: str, now: float) -> list[Command]:
        """Look for another source: the current one refused, broke or was silent."""
        if self.state is not TransferState.receiving or ask != self.ask:
            return []
        failed, self.source = self.source, ""
        self._last_failure = f"{failed}: {reason}"
        return self._interrupted(failed, self._last_failure, now)

    def no_source(self, reason: str, now: float) -> list[Command]:
        """Wait before the next question, because nobody can send the content now."""
        if self.state is not TransferState.seeking:
            return []
        # The failure of the last source says more than that there is no other one.
        return self._interrupted("", f"{reason} ({self._last_failure})" if self._last_failure else reason, now)

    def _interrupted(self, failed: str, reason: str, now: float) -> list[Command]:
        self._failures += 1
        if self._failures >= FAILURES:
            return self._give_up(reason)
        self._step(TransferSignal.interrupted)
        self._failed = AskForSource(failed, reason)
        if self._failures == 1 and failed:
            self._due = None
            return [self._failed]  # at once: most failures concern one source, and another one is there
        self._due = now + PAUSE * 2 ** (self._failures - 1)
        return []

    def verified(self, right: bool, now: float) -> list[Command]:
        """Note whether the hash is that of the content."""
        if right:
            self._step(TransferSignal.verified)
            return []
        self._mismatches += 1
        if self._mismatches >= MISMATCHES:
            return self._give_up(f"its checksum was wrong {MISMATCHES} times")
        self._step(TransferSignal.mismatched)
        self.written = self._requested = 0
        self._due = None
        return [StartAgain(), AskForSource(reason="its checksum was wrong")]

    def stop(self, reason: str) -> list[Command]:
        """Give up, because of something that no other source can help: a full disk, a file that is gone."""
        if self.state in (TransferState.done, TransferState.failed):
            return []
        return self._give_up(reason)

    def check(self, now: float) -> list[Command]:
        """Do what is due: the source is silent, or the pause before the next question is over."""
        if self._due is None or now < self._due:
            return []
        self._due = None
        if self.state is TransferState.receiving:
            return self.source_failed(self.ask, f"it sent nothing for {SILENCE:.0f} s", now)
        if self.state is TransferState.seeking:
            return [self._failed]
        return []

    def _give_up(self, reason: str) -> list[Command]:
        self._step(TransferSignal.gave_up)
        self.source, self._due = "", None
        return [GiveUp(reason)]

    def _step(self, signal: TransferSignal) -> None:
        story = f"transfer of {self.content.hex}, {self.written} bytes written, source {self.source or '-'}"
        self.state = step(TRANSFER, self.state, signal, story)
