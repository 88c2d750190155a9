"""Keeps the results of cached calls by key, and lets equal calls wait for one another [core].

The task table calls this through ``memoized_calls``.  The key of a call is a hash of its function, its arguments and,
for each task that it depends on, the key of that task.  So the memo finds the end of a chain although its head has not
been computed.  A task whose app does not cache counts by a hash of its value instead.

Values are opaque.  When they take more memory than a bound, the least recently used ones leave it: those that are in a
checkpoint are read from there again (``fetch``), the others are dropped.  Failures are never kept.

Invariants: of equal calls that have not ended at most one runs, and the others are its followers.  The result under a
key is the result of a call with this key.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from parslab.dataflow.graph.task import MemoCall
from parslab.records.states import FINAL, SUCCESSES
from parslab.serialize.shared.values import unshared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.graph.values import StoredValue
    from parslab.wire.messages.client import SubmitTask

__all__ = ["BOUND", "Memo", "MemoEntry"]

BOUND = 256 << 20
"""Bytes of values that are held in memory."""

_OVERHEAD = 600
"""Bytes that an entry costs beyond those of its value."""
_CALLS = 10_000
"""How many calls can be explained after their tasks were dropped; the memo holds up to twice as many."""
_KNOWN = 1_000
"""How many results of each app a new call can be compared with."""

# Why a call has no key, as the rest of a sentence.
OFF = "caching is switched off for this run (Config(app_cache=False))"
INPUTS_AT_CLIENT = "it is tried again, and only the notebook knows its inputs"
NO_IDENTITY = "its arguments have no identity"


class MemoEntry:
    """A result in memory."""

    __slots__ = ("call", "size", "value")

    def __init__(self, call: MemoCall, value: StoredValue) -> None:
        self.call = call
        self.value = value
        self.size = value.size + _OVERHEAD


class FunctionLookup(Protocol):
    """The fingerprints of the run's functions and the parts of these, by the functions' numbers."""

    fingerprints: list[bytes]
    parts: list[dict[str, bytes]]


class Memo:
    """The memo of one run.

    Parameters
    ----------
    functions
        The functions of the run.
    on
        Whether the memo keeps anything at all.
    bound
        Bytes of values that the memo may hold in memory.

    Attributes
    ----------
    held
        Bytes of values that it holds.
    hits
        How many calls got the result of an equal one.
    fetch
        Reads a result from a checkpoint, by its place; returns None when it cannot be read (any more).
    durable
        Whether results are written to a checkpoint, so that those over the bound are written instead of dropped.
    pressed
        Whether results that have not been written take more than the bound.
    unwritten
        Results that are in no checkpoint, least recently used first.
    calls
        The newest calls, by task.
    known
        The newest results of each app, for explanations.
    """

    def __init__(self, functions: FunctionLookup, on: bool = True, bound: int = BOUND) -> None:
        self.functions = functions
        self.on = on
        self.bound = bound
        self.held = 0
        self.hits = 0
        self.fetch: Callable[[int], tuple[MemoCall, StoredValue] | None] | None = None
        self.durable = False
        self.pressed = False
        self.unwritten: OrderedDict[bytes, MemoEntry] = OrderedDict()
        self.calls: dict[int, MemoCall] = {}
        self.known: dict[str, deque[MemoCall]] = {}
        self._written: OrderedDict[bytes, MemoEntry] = OrderedDict()
        """Results that are in memory and in a checkpoint, least recently used first."""
        self._places: dict[bytes, int] = {}
        """The places of results in checkpoints."""
        self._running: dict[bytes, Task] = {}
        """The task that leads the calls with this key: it has not ended, or the client has not sent its value yet."""
        self._order = 0

    def __len__(self) -> int:
        return len(self.unwritten) + len(self._places)

    # ----- calls

    def register(self, task: Task, message: SubmitTask) -> None:
        """Register a new call."""
        fingerprint = self.functions.fingerprints[message.fn] if message.fn >= 0 else b""
        call = MemoCall(task.id, task.app, fingerprint, shown=message.shown, deps=message.deps, at=message.at)
        if message.fn >= 0:
            call.parts = self.functions.parts[message.fn]
        self._order += 1
        call.order = self._order
        task.call = call
        calls = self.calls
        # Kept beyond the life of the task, so that ``explain`` can still describe it.
        calls[task.id] = call
        if len(calls) >= 2 * _CALLS:
            # Many at once: to find its first key, a dictionary walks over the gaps that earlier deletions have left.
            for old in list(calls)[:_CALLS]:
                del calls[old]
        call.identity = message.identity
        if not self.on:
            call.why = OFF
        elif message.unknown:
            call.why = f"nothing distinguishes it from other calls: {message.unknown}"
        elif message.fn < 0 and not message.identity:
            call.why = NO_IDENTITY  # the client has the arguments, and did not send a hash of them

    def look_up(self, task: Task, needs: Iterable[Task], last: bool) -> StoredValue | None:
        """Find the result of an equal call.

        Without one the task may run, or it follows an equal call that has not ended (``call.leader``).

        Parameters
        ----------
        last
            Whether all needs have ended, so that nobody asks again.
        """
        call = task.call
        assert call is not None
        if call.key is not None or call.why:
            return None
        if not self._set_key(task, call, needs, last):
            return None
        key = call.key
        assert key is not None
        value = self._find(call, key)
        if value is not None:
            self.hits += 1
            return value
        # One look-up both finds the leader and makes the first call the leader.
        leader = self._running.setdefault(key, task)
        if leader is not task:
            assert leader.call is not None
            leader.call.followers.append(task)
            call.leader, call.source = leader, leader.call
        return None

    def _set_key(self, task: Task, call: MemoCall, needs: Iterable[Task], last: bool) -> bool:
        if not call.deps:
            call.key = _key(task, call, b"")
            return True
        inputs: list[bytes] = []
        for need in needs:
            other = need.call
            # The key of an input is known before its value: so a whole chain is found without running it.
            if other is not None and other.key is not None:
                inputs.append(other.key)
            elif need.state in SUCCESSES and need.value is not None:
                inputs.append(need.value.digest)
            else:
                if last:
                    call.why = f"the value of its input, task {need.id} ({need.app}), lies in the notebook's process"
                return False
        if len(inputs) < len(call.deps):
            call.why = INPUTS_AT_CLIENT  # a task that a client runs drops its needs when it begins
            return False
        call.inputs = tuple(inputs)
        call.key = _key(task, call, b"".join(inputs))
        return True

    def reset(self, task: Task) -> None:
        """Reset the call of an ended task that runs again, perhaps with another function."""
        call = task.call
        assert call is not None
        if call.leader is not None:  # it was cancelled while it followed another call
            leading = call.leader.call
            if leading is not None and task in leading.followers:
                leading.followers.remove(task)
        if task.fn >= 0:
            call.fingerprint, call.parts = self.functions.fingerprints[task.fn], self.functions.parts[task.fn]
        self._order += 1
        call.order = self._order
        call.key, call.source, call.where, call.leader = None, None, None, None

    def rejoined(self, task: Task) -> None:
        """Note that a join waits again for what its body returned: equal calls follow it."""
        if task.call is not None and task.call.key is not None:
            self._running.setdefault(task.call.key, task)

    # ----- values

    def _find(self, call: MemoCall, key: bytes) -> StoredValue | None:
        held = self.unwritten.get(key)
        if held is not None:
            self.unwritten.move_to_end(key)
        else:
            held = self._written.get(key)
            if held is not None:
                self._written.move_to_end(key)
            else:
                held = self._fetched(key)
                if held is None:
                    return None
        call.source, call.where = held.call, held.call.where
        return held.value

    def _fetched(self, key: bytes) -> MemoEntry | None:
        place = self._places.get(key)
        if place is None or self.fetch is None:
            return None
        found = self.fetch(place)
        # Another run may have replaced the file: the place may hold another result by now.
        if found is None or found[0].key != key:
            del self._places[key]
            return None
        kept, value = found
        held = self._written[key] = MemoEntry(kept, value)
        self.held += held.size
        self._shrink()
        return held

    def keep(self, call: MemoCall, value: StoredValue) -> None:
        """Keep the result of a call."""
        key = call.key
        assert key is not None
        self._drop(key)
        self._places.pop(key, None)
        held = self.unwritten[key] = MemoEntry(call, value)
        self.held += held.size
        self._order += 1
        call.kept = self._order
        self._note(call)
        self._shrink()

    def _note(self, call: MemoCall) -> None:
        known = self.known.get(call.app)
        if known is None:
            known = self.known[call.app] = deque(maxlen=_KNOWN)
        known.append(call)

    def _drop(self, key: bytes) -> None:
        held = self.unwritten.pop(key, None) or self._written.pop(key, None)
        if held is not None:
            self.held -= held.size

    def _shrink(self) -> None:
        while self.held > self.bound:
            # Written results first: they can be read again, others would be lost.
            if self._written:
                self._drop(next(iter(self._written)))
            elif self.durable:
                # Nothing is lost here: the loop writes the results in this round, and ``relieve`` drops them.
                self.pressed = True
                return
            # The newest result stays even if it alone is over the bound, so that an equal call soon after finds it.
            elif len(self.unwritten) > 1:
                self._drop(next(iter(self.unwritten)))
            else:
                return

    def loaded(self, call: MemoCall, place: int) -> None:
        """Note that a checkpoint holds this result; a newer place replaces an older one."""
        key = call.key
        assert key is not None
        # A result that this run has computed is newer than the one in the file.
        if key not in self.unwritten:
            self._drop(key)
            self._places[key] = place
        call.kept = -1
        self._note(call)

    def wrote(self, key: bytes, place: int | None) -> None:
        """Note that a result is in a checkpoint now; without a place it never will be."""
        held = self.unwritten.pop(key, None)
        if held is not None:
            self._written[key] = held
            if place is not None:
                self._places[key] = place

    def relieve(self, durable: bool) -> None:
        """Drop results over the bound, after the caller has written all that it could.

        Parameters
        ----------
        durable
            Whether results can still be written later.
        """
        self.durable, self.pressed = durable, False
        self._shrink()

    # ----- ends

    def leads(self, task: Task) -> bool:
        """Return whether equal calls follow this task."""
        call = task.call
        return call is not None and call.key is not None and self._running.get(call.key) is task

    def take_followers(self, task: Task) -> list[Task]:
        """Take the calls that followed a task, which has ended; in the order of their calls."""
        call = task.call
        assert call is not None
        assert call.key is not None
        # From now on equal calls find the result, or run themselves if there is none.
        del self._running[call.key]
        followers, call.followers = call.followers, []
        call.awaited = False
        left = [
            follower
            for follower in followers
            if follower.state not in FINAL and follower.call is not None and follower.call.leader is task
        ]
        for follower in left:
            assert follower.call is not None
            follower.call.leader = None
        return left

    def promote(self, followers: list[Task]) -> Task:
        """Make the first of these calls the leader of the others."""
        first = followers[0]
        assert first.call is not None
        assert first.call.key is not None
        self._running[first.call.key] = first
        # The new leader runs itself; its result is nobody else's.
        first.call.source = None
        first.call.followers = followers[1:]
        for follower in followers[1:]:
            assert follower.call is not None
            follower.call.leader, follower.call.source = first, first.call
        return first

    def exclude(self, task: Task, why: str) -> None:
        """Keep a call out of the memo from now on."""
        assert task.call is not None
        task.call.key, task.call.source, task.call.why = None, None, why

    def adopt(self, task: Task, message: SubmitTask, needs: Iterable[Task]) -> None:
        """Take the result of an ended task that was adopted from a lost kernel."""
        self.register(task, message)
        call = task.call
        assert call is not None
        if not call.why and self._set_key(task, call, needs, True) and task.value is not None:
            self.keep(call, task.value)


def _key(task: Task, call: MemoCall, inputs: bytes) -> bytes:
    """Hash the function, the arguments and the inputs of a call.

    Each part of variable length is preceded by its length, so that different calls never give the same bytes.
    """
    if call.identity:
        text = b"i%d %d " % (len(call.identity), len(inputs)) + call.fingerprint + call.identity + inputs
        return blake2b(text, digest_size=16).digest()
    args, buffers = unshared(task.args, task.frames)
    hasher = blake2b(b"a%d %d " % (len(args), len(buffers)) + call.fingerprint + args, digest_size=16)
    for buffer in buffers:
        hasher.update(b"%d " % len(buffer))
        hasher.update(buffer)
    hasher.update(inputs)
    return hasher.digest()
