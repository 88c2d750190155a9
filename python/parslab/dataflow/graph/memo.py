"""Which results are remembered, under which keys, and which calls wait for an equal one [core].

Called by the task table.  The key of a call is a hash of its function, its arguments, and for each task that it depends
on the key of that task (so the end of a chain is found although its head has not been computed), or a hash of that
task's value where its app remembers nothing.  Values are opaque, are held once, and leave memory, least recently used
first, when they take more than a bound: those that are in a checkpoint are read from there again (``fetch``), others
are forgotten.  Failures are never kept.

Invariants: of equal calls that have not ended at most one runs, the others are its followers; what is found under a
key was given by a call with this key.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from parslab.dataflow.graph.task import MemoCall
from parslab.records.states import FINAL, SUCCESSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.graph.values import StoredValue
    from parslab.wire.messages.client import SubmitTask

__all__ = ["BOUND", "Memo", "MemoEntry"]

BOUND = 256 << 20
"""Bytes of values that are held in memory."""

_OVERHEAD = 600
"""Bytes that a value costs beside its own."""
_CALLS = 10_000
"""Calls that can be explained when their tasks have been forgotten; up to twice as many are held."""
_KNOWN = 1_000
"""Results of each app that a call can be compared with."""

OFF = "lookups are switched off for this run (Config(app_cache=False))"
GIVEN = "it is tried again, and what it was given is known to the notebook alone"
NO_IDENTITY = "its arguments cannot be told apart"


class MemoEntry:
    """A value in memory."""

    __slots__ = ("call", "size", "value")

    def __init__(self, call: MemoCall, value: StoredValue) -> None:
        self.call = call
        self.value = value
        self.size = value.size + _OVERHEAD


class FunctionLookup(Protocol):
    """What is known of the functions of the run, by their numbers."""

    fingerprints: list[bytes]
    parts: list[dict[str, bytes]]


class Memo:
    """All results that are remembered.

    Parameters
    ----------
    functions
        Fingerprints by the number of the function.
    on
        Whether anything is remembered at all.
    bound
        Bytes of values that are held in memory.
    """

    def __init__(self, functions: FunctionLookup, on: bool = True, bound: int = BOUND) -> None:
        self.functions = functions
        self.on = on
        self.bound = bound
        self.held = 0
        """Bytes."""
        self.hits = 0
        self.fetch: Callable[[int], tuple[MemoCall, StoredValue] | None] | None = None
        """Reads a result that is in a checkpoint, by its place; None when it cannot be read (any more)."""
        self.durable = False
        """Results are written to a checkpoint, so that those over the bound are written rather than forgotten."""
        self.pressed = False
        """Results that have not been written take more than the bound."""
        self.unwritten: OrderedDict[bytes, MemoEntry] = OrderedDict()
        """Results that are in memory alone, least recently used first."""
        self.calls: dict[int, MemoCall] = {}
        """The last calls, by task."""
        self.known: dict[str, deque[MemoCall]] = {}
        """The last results of each app."""
        self._written: OrderedDict[bytes, MemoEntry] = OrderedDict()
        """Results that are in memory and in a checkpoint."""
        self._places: dict[bytes, int] = {}
        """Where results lie in checkpoints."""
        self._running: dict[bytes, Task] = {}
        """Calls that have not ended, or whose value has not come yet: the one that others with this key follow."""
        self._order = 0

    def __len__(self) -> int:
        return len(self.unwritten) + len(self._places)

    # ----- calls

    def begin(self, task: Task, message: SubmitTask) -> None:
        """Take note of a call."""
        fingerprint = self.functions.fingerprints[message.fn] if message.fn >= 0 else b""
        call = MemoCall(task.id, task.app, fingerprint, shown=message.shown, deps=message.deps, at=message.at)
        if message.fn >= 0:
            call.parts = self.functions.parts[message.fn]
        self._order += 1
        call.order = self._order
        task.call = call
        calls = self.calls
        calls[task.id] = call
        if len(calls) >= 2 * _CALLS:
            for old in list(calls)[:_CALLS]:  # one by one each would be looked for behind all that went before
                del calls[old]
        call.identity = message.identity
        if not self.on:
            call.why = OFF
        elif message.unknown:
            call.why = f"it cannot be told from others: {message.unknown}"
        elif message.fn < 0 and not message.identity:
            call.why = NO_IDENTITY  # its arguments are with the client

    def ask(self, task: Task, needs: Iterable[Task], last: bool) -> StoredValue | None:
        """The result of an equal call.  Without one the task may run (``last``: it needs nothing any more), or follows
        an equal call that has not ended (``call.leader``)."""
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
            if other is not None and other.key is not None:
                inputs.append(other.key)
            elif need.state in SUCCESSES and need.value is not None:
                inputs.append(need.value.digest)
            else:
                if last:
                    call.why = f"the value of its input, task {need.id} ({need.app}), lies in the notebook's process"
                return False
        if len(inputs) < len(call.deps):
            call.why = GIVEN  # a body that runs at the client lets go of what it needs when it begins
            return False
        call.inputs = tuple(inputs)
        call.key = _key(task, call, b"".join(inputs))
        return True

    def again(self, task: Task) -> None:
        """An ended task runs again, perhaps with another function: what was said of it does not hold any more."""
        call = task.call
        assert call is not None
        if call.leader is not None:  # it was cancelled while it waited
            leading = call.leader.call
            if leading is not None and task in leading.followers:
                leading.followers.remove(task)
        if task.fn >= 0:
            call.fingerprint, call.parts = self.functions.fingerprints[task.fn], self.functions.parts[task.fn]
        self._order += 1
        call.order = self._order
        call.key, call.source, call.where, call.leader = None, None, None, None

    def rejoined(self, task: Task) -> None:
        """A join waits again for what its body has returned."""
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
        if found is None or found[0].key != key:
            del self._places[key]
            return None
        held = self._written[key] = MemoEntry(*found)
        self.held += held.size
        self._shrink()
        return held

    def keep(self, call: MemoCall, value: StoredValue) -> None:
        """Remember what a call has given."""
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
            if self._written:
                self._drop(next(iter(self._written)))
            elif self.durable:
                self.pressed = True
                return
            elif len(self.unwritten) > 1:
                self._drop(next(iter(self.unwritten)))
            else:
                return

    def loaded(self, call: MemoCall, place: int) -> None:
        """A checkpoint holds this result; a later one takes the place of an earlier one."""
        key = call.key
        assert key is not None
        if key not in self.unwritten:
            self._drop(key)
            self._places[key] = place
        call.kept = -1
        self._note(call)

    def wrote(self, key: bytes, place: int | None) -> None:
        """This result is in a checkpoint now; None: it will never be in one."""
        held = self.unwritten.pop(key, None)
        if held is not None:
            self._written[key] = held
            if place is not None:
                self._places[key] = place

    def relieve(self, durable: bool) -> None:
        """What could be written is written; ``durable``: more can be, some time."""
        self.durable, self.pressed = durable, False
        self._shrink()

    # ----- ends

    def leads(self, task: Task) -> bool:
        """Whether equal calls would follow this task."""
        call = task.call
        return call is not None and call.key is not None and self._running.get(call.key) is task

    def ended(self, task: Task) -> list[Task]:
        """The task, which led, has ended: those that followed it, in order."""
        call = task.call
        assert call is not None
        assert call.key is not None
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

    def lead(self, followers: list[Task]) -> Task:
        """The first of these goes on by itself and the others follow it."""
        first = followers[0]
        assert first.call is not None
        assert first.call.key is not None
        self._running[first.call.key] = first
        first.call.source = None
        first.call.followers = followers[1:]
        for follower in followers[1:]:
            assert follower.call is not None
            follower.call.leader, follower.call.source = first, first.call
        return first

    def part(self, task: Task, why: str) -> None:
        """Nothing will be remembered of this call."""
        assert task.call is not None
        task.call.key, task.call.source, task.call.why = None, None, why

    def adopt(self, task: Task, message: SubmitTask, needs: Iterable[Task]) -> None:
        """A task that has ended already was taken over from a lost kernel: what is remembered of it holds here, too."""
        self.begin(task, message)
        call = task.call
        assert call is not None
        if not call.why and self._set_key(task, call, needs, True) and task.value is not None:
            self.keep(call, task.value)


def _key(task: Task, call: MemoCall, inputs: bytes) -> bytes:
    """A hash of function, arguments and inputs; what has no fixed length comes with it, so that all texts differ."""
    if call.identity:
        text = b"i%d %d " % (len(call.identity), len(inputs)) + call.fingerprint + call.identity + inputs
        return blake2b(text, digest_size=16).digest()
    hasher = blake2b(b"a%d %d " % (len(task.args), len(task.frames)) + call.fingerprint + task.args, digest_size=16)
    for frame in task.frames:
        hasher.update(b"%d " % len(frame))
        hasher.update(frame)
    hasher.update(inputs)
    return hasher.digest()
