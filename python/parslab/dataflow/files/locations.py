"""Knows which node has which content, and decides who fetches from whom [core].

The first node that wants a content of the DataFlowKernel's host gets it from the hub.  Each further one gets it from a
node, also from one to which the content is still arriving: so the hub sends it once.  Where two nodes cannot connect,
the hub sends it, and fetches it before that if it does not have it.

Invariants
----------
- Nobody fetches from a node that neither has the content nor fetches it.
- Nobody fetches, directly or through others, from itself.
- Nobody is sent to a node that it could not reach before.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parslab.wire.messages.files import ContentId

__all__ = ["HUB", "Locations"]

HUB = "hub"
"""The name of the DataFlowKernel's host among the nodes; managers have longer names."""
_CLOSED = 2
"""Failed connections to or from different nodes, without one that worked, after which a node is not tried any more."""


class Locations:
    """The contents of all nodes."""

    def __init__(self) -> None:
        self._nodes: set[str] = set()
        self._holders: defaultdict[ContentId, set[str]] = defaultdict(set)
        """Who has all bytes of a content."""
        self._fetching: defaultdict[ContentId, dict[str, str]] = defaultdict(dict)
        """Who fetches a content now, and from whom."""
        self._excluded: defaultdict[tuple[str, ContentId], set[str]] = defaultdict(set)
        """Sources that failed a reader with one content; forgotten when its transfer ends."""
        self._attempted: set[tuple[str, ContentId]] = set()
        """Readers that could not connect to a source of a content; forgotten when the transfer ends."""
        self._unreachable: set[tuple[str, str]] = set()
        """Pairs of reader and source that could not connect."""
        self._reached: set[tuple[str, str]] = set()
        """Pairs of reader and source that have moved a content."""

    # ----- nodes

    def join(self, node: str) -> None:
        """Add a node, which has nothing."""
        self._nodes.add(node)

    def leave(self, node: str) -> list[ContentId]:
        """Remove a node; return the contents of which it had the only copy."""
        self._nodes.discard(node)
        lost = []
        for content, holders in list(self._holders.items()):
            if node in holders:
                holders.discard(node)
                if not holders:
                    del self._holders[content]
                    lost.append(content)
        for fetching in self._fetching.values():
            fetching.pop(node, None)
        for pairs in (self._unreachable, self._reached):
            pairs -= {pair for pair in pairs if node in pair}
        for key in [key for key in self._excluded if key[0] == node]:
            del self._excluded[key]
        self._attempted -= {key for key in self._attempted if key[0] == node}
        return lost

    # ----- contents

    def holders(self, content: ContentId) -> frozenset[str]:
        """Return who has all bytes of a content."""
        return frozenset(self._holders.get(content, ()))

    def hold(self, node: str, content: ContentId) -> None:
        """Note that a node has all bytes of a content."""
        source = self._fetching[content].pop(node, "")
        if source:
            self._reached.add((node, source))
        self._forget_failures(node, content)
        self._holders[content].add(node)
        self._tidy(content)

    def drop(self, node: str, content: ContentId) -> bool:
        """Note that a node has a content no more; return whether that was the only copy."""
        holders = self._holders.get(content)
        if holders is None or node not in holders:
            return False
        holders.discard(node)
        if holders:
            return False
        del self._holders[content]
        return True

    def stop(self, node: str, content: ContentId) -> None:
        """Note that a node does not fetch a content any more."""
        self._fetching[content].pop(node, None)
        self._forget_failures(node, content)
        self._tidy(content)

    def _forget_failures(self, node: str, content: ContentId) -> None:
        self._excluded.pop((node, content), None)
        self._attempted.discard((node, content))

    def _tidy(self, content: ContentId) -> None:
        if not self._fetching[content]:
            del self._fetching[content]

    # ----- who fetches from whom

    def fail(self, reader: str, content: ContentId, source: str, unreachable: bool) -> None:
        """Note that a source failed a reader; ``unreachable``: they could not connect, which concerns all contents."""
        self._fetching[content].pop(reader, None)
        self._tidy(content)
        if source == HUB:
            return  # there is no way around the hub: its link is the one that brings this message
        if unreachable:
            self._unreachable.add((reader, source))
            self._attempted.add((reader, content))
        else:
            self._excluded[reader, content].add(source)

    def choose(self, reader: str, content: ContentId) -> str:
        """Return from whom a reader fetches a content, and note that it does; empty if nobody has it."""
        fetching = self._fetching[content]
        fetching.pop(reader, None)
        # The hub reaches every node: one that has all bytes is never in need of the hub itself.
        sources = self._sources(content) if reader != HUB else self._holders.get(content, set())
        possible = [node for node in sources if self._may_fetch(reader, node, content)]
        if possible:
            source = min(possible, key=lambda node: (self._cost(node, content), node))
        elif reader != HUB and self._holders.get(content) and reader not in self._path(HUB, content, reader):
            source = HUB
        else:
            self._tidy(content)
            return ""
        fetching[reader] = source
        return source

    def _sources(self, content: ContentId) -> set[str]:
        """Return the nodes that have a content or fetch it, without the hub."""
        return {*self._holders.get(content, ()), *self._fetching[content]} - {HUB}

    def _may_fetch(self, reader: str, source: str, content: ContentId) -> bool:
        if source == reader or source in self._excluded.get((reader, content), ()):
            return False
        if reader != HUB and not self._may_connect(reader, source, content):
            return False
        return reader not in self._path(source, content, reader)

    def _may_connect(self, reader: str, source: str, content: ContentId) -> bool:
        """Return whether it is worth a try that a reader connects to a source.

        A firewall answers nothing, so each attempt takes more than a second.  A reader that has reached no node so far
        makes one attempt for each content, and two in all.
        """
        if (reader, source) in self._unreachable:
            return False
        if not any(r == reader and s != HUB for r, s in self._reached):
            out = sum(r == reader for r, _ in self._unreachable)
            if out >= _CLOSED or (reader, content) in self._attempted:
                return False
        into = sum(s == source for _, s in self._unreachable)
        return into < _CLOSED or any(s == source and r != HUB for r, s in self._reached)

    def _path(self, source: str, content: ContentId, reader: str) -> list[str]:
        """Return from whom a source fetches, and so on, up to one that has all bytes, or to the reader."""
        fetching, path = self._fetching[content], []
        complete = self._holders.get(content, ())
        while source not in complete and source in fetching:
            source = fetching[source]
            path.append(source)
            if source == reader:
                break
        return path

    def _cost(self, source: str, content: ContentId) -> int:
        """Return how long a reader would wait here, in steps: each reader of a source slows it down like two stops."""
        readers = sum(list(fetching.values()).count(source) for fetching in self._fetching.values())
        return 2 * readers + len(self._path(source, content, ""))
