"""The index of a node's cache: limit, lifetimes, contents in use, and what a scan finds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parslab.files.cache_index import CacheFull, CacheIndex, FoundContent, Lifetime
from parslab.wire.messages.files import ContentId


def content(name: str, size: int) -> ContentId:
    return ContentId(name.encode().ljust(32, b"."), size)


def filled(limit: int, *contents: ContentId, lifetime: Lifetime = Lifetime.run) -> CacheIndex:
    index = CacheIndex(limit)
    for at, one in enumerate(contents):
        assert index.reserve(one, lifetime, float(at)) == []
        index.finish(one)
    return index


A, B, C = content("a", 40), content("b", 40), content("c", 40)


def test_the_content_that_was_used_least_recently_makes_room() -> None:
    index = filled(100, A, B)
    index.use(A, "task 1", 5.0)
    index.release("task 1")
    assert index.reserve(C, Lifetime.run, 6.0) == [B]
    assert A in index
    assert B not in index
    assert index.size == 80


def test_a_content_in_use_is_never_dropped() -> None:
    index = filled(100, A, B)
    index.use(A, "task 1", 5.0)
    index.use(B, "transfer", 5.0)
    with pytest.raises(CacheFull, match=r"tasks use so much of the 100 bytes of the cache that 20 are missing"):
        index.reserve(C, Lifetime.run, 6.0)
    assert A in index
    assert B in index
    assert index.size == 80


def test_a_content_that_arrives_is_never_dropped() -> None:
    index = CacheIndex(100)
    index.reserve(A, Lifetime.run, 0.0)
    index.reserve(B, Lifetime.run, 0.0)
    with pytest.raises(CacheFull):
        index.reserve(C, Lifetime.run, 1.0)
    assert A not in index  # it has not arrived
    index.discard(A)
    assert index.reserve(C, Lifetime.run, 1.0) == []


def test_a_content_larger_than_the_cache_is_refused_with_both_sizes() -> None:
    with pytest.raises(CacheFull, match=r"it has 2,000 bytes, and the cache may hold 1,000"):
        CacheIndex(1000).reserve(content("x", 2000), Lifetime.run, 0.0)


def test_the_lifetime_of_a_task_ends_with_the_last_task_that_uses_it() -> None:
    index = filled(100, A, lifetime=Lifetime.task)
    index.use(A, "task 1", 1.0)
    index.use(A, "task 2", 1.0)
    assert index.release("task 1") == []
    assert index.release("task 2") == [A]
    assert A not in index
    assert index.size == 0


def test_the_longest_lifetime_that_anybody_asked_for_counts() -> None:
    index = filled(100, A, lifetime=Lifetime.task)
    assert index.reserve(A, Lifetime.forever, 1.0) == []
    index.use(A, "task 1", 1.0)
    assert index.release("task 1") == []
    assert index.end_run() == []
    assert A in index


def test_only_what_lives_forever_survives_the_run() -> None:
    index = filled(200, A, lifetime=Lifetime.run)
    index.reserve(B, Lifetime.forever, 0.0)
    index.finish(B)
    index.reserve(C, Lifetime.forever, 0.0)  # half of it has arrived
    assert index.end_run() == [A, C]
    assert index.complete == [B]


def test_a_scan_keeps_the_newest_contents_within_the_limit() -> None:
    index = CacheIndex(100)
    assert index.restore([FoundContent(A, 1.0), FoundContent(B, 3.0), FoundContent(C, 2.0)]) == [A]
    assert set(index.complete) == {B, C}
    assert index.size == 80


class _Machine(RuleBasedStateMachine):
    """Any order of calls keeps the invariants of the index."""

    LIMIT = 100

    def __init__(self) -> None:
        super().__init__()
        self.index = CacheIndex(self.LIMIT)
        self.now = 0.0
        self.held: dict[str, set[ContentId]] = {}

    contents = st.builds(content, st.sampled_from("abcdef"), st.just(30))
    holders = st.sampled_from(["1", "2", "3"])

    def in_use(self) -> set[ContentId]:
        return set().union(*self.held.values()) if self.held else set()

    @rule(one=contents, lifetime=st.sampled_from(Lifetime))
    def reserve(self, one: ContentId, lifetime: Lifetime) -> None:
        self.now += 1
        arriving = {c for c in map(content, "abcdef", [30] * 6) if self.index.entry(c) and c not in self.index}
        try:
            dropped = self.index.reserve(one, lifetime, self.now)
        except CacheFull:
            return
        assert not set(dropped) & (self.in_use() | arriving)

    @rule(one=contents)
    def finish(self, one: ContentId) -> None:
        if self.index.entry(one):
            self.index.finish(one)

    @rule(one=contents, holder=holders)
    def use(self, one: ContentId, holder: str) -> None:
        self.now += 1
        if one in self.index:
            self.index.use(one, holder, self.now)
            self.held.setdefault(holder, set()).add(one)

    @rule(holder=holders)
    def release(self, holder: str) -> None:
        self.held.pop(holder, None)
        assert not set(self.index.release(holder)) & self.in_use()

    @rule(one=contents)
    def discard(self, one: ContentId) -> None:
        if one not in self.in_use():
            self.index.discard(one)

    @invariant()
    def within_the_limit(self) -> None:
        known = [c for c in map(content, "abcdef", [30] * 6) if self.index.entry(c)]
        assert self.index.size == sum(c.size for c in known) <= self.LIMIT
        assert len(self.index) == len(known)

    @invariant()
    def what_is_used_is_there(self) -> None:
        assert all(one in self.index for one in self.in_use())


TestMachine = _Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 60), st.floats(0, 9)), unique_by=lambda i: i[0]))
def test_a_scan_never_exceeds_the_limit(found: list[tuple[str, int, float]]) -> None:
    index = CacheIndex(100)
    surplus = index.restore([FoundContent(content(name, size), used) for name, size, used in found])
    assert index.size <= 100
    assert len(surplus) + len(index) == len(found)
