"""Who fetches from whom: the hub sends once, nodes pass it on, firewalls and lost nodes stop nobody."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parslab.dataflow.files.locations import HUB, Locations
from parslab.wire.messages.files import ContentId

X = ContentId(b"x" * 32, 100)
Y = ContentId(b"y" * 32, 100)
NODES = [f"n{number}" for number in range(1, 6)]


def at_the_hub(*contents: ContentId) -> Locations:
    locations = Locations()
    for node in NODES:
        locations.join(node)
    for content in contents:
        locations.hold(HUB, content)
    return locations


def test_the_hub_sends_once_and_nodes_pass_it_on_while_it_arrives() -> None:
    locations = at_the_hub(X)
    sources = [locations.choose(node, X) for node in NODES]
    assert sources.count(HUB) == 1
    assert sources[0] == HUB
    assert sources[1] == "n1"
    assert max(sources.count(node) for node in NODES) <= 2  # no node serves all others


def test_a_node_that_has_it_all_serves_the_next_one() -> None:
    locations = at_the_hub(X)
    locations.choose("n1", X)
    locations.hold("n1", X)
    assert locations.choose("n2", X) == "n1"


def test_a_node_that_cannot_be_reached_is_replaced_by_the_hub_and_not_tried_again() -> None:
    locations = at_the_hub(X, Y)
    locations.hold("n1", X)
    locations.hold("n1", Y)
    assert locations.choose("n2", X) == "n1"
    locations.fail("n2", X, "n1", unreachable=True)
    assert locations.choose("n2", X) == HUB
    assert locations.choose("n2", Y) == HUB
    assert locations.choose("n3", Y) != HUB  # another node may reach it


def test_a_node_that_nobody_reaches_is_not_tried_by_others() -> None:
    locations = at_the_hub(X)
    locations.hold("n1", X)
    for node in ("n2", "n3"):
        locations.fail(node, X, "n1", unreachable=True)
    assert locations.choose("n4", X) == HUB


def test_a_node_that_reaches_nobody_goes_to_the_hub() -> None:
    locations = at_the_hub(X)
    for node in ("n1", "n2", "n3"):
        locations.hold(node, X)
    for node in ("n1", "n2"):
        locations.fail("n4", X, node, unreachable=True)
    assert locations.choose("n4", X) == HUB
    assert locations.choose("n5", X) == "n1"


def test_a_node_that_reached_nobody_makes_one_attempt_for_each_content() -> None:
    """A firewall that drops packets costs each attempt more than a second."""
    locations = at_the_hub(X, Y)
    for node in ("n1", "n2", "n3"):
        locations.hold(node, X)
        locations.hold(node, Y)
    first = locations.choose("n4", X)
    locations.fail("n4", X, first, unreachable=True)
    assert locations.choose("n4", X) == HUB
    second = locations.choose("n4", Y)
    assert second not in (first, HUB)
    locations.hold("n4", Y)
    locations.stop("n4", X)
    assert locations.choose("n4", X) not in (first, HUB)  # it has reached a node, so it tries others


def test_a_source_that_failed_with_one_content_may_serve_another() -> None:
    locations = at_the_hub(X, Y)
    locations.hold("n1", X)
    locations.hold("n1", Y)
    locations.fail("n2", X, "n1", unreachable=False)
    assert locations.choose("n2", X) == HUB
    assert locations.choose("n2", Y) == "n1"


def test_the_hub_relays_what_only_a_closed_node_has() -> None:
    locations = at_the_hub()
    locations.hold("n1", X)
    locations.fail("n2", X, "n1", unreachable=True)
    assert locations.choose("n2", X) == HUB
    assert locations.choose(HUB, X) == "n1"


def test_nobody_has_it() -> None:
    assert at_the_hub().choose("n1", X) == ""


def test_a_lost_node_takes_its_only_copies_with_it() -> None:
    locations = at_the_hub(Y)
    for content in (X, Y):
        locations.hold("n1", content)
    assert locations.leave("n1") == [X]
    assert locations.holders(Y) == {HUB}


def test_dropping_the_only_copy_is_reported() -> None:
    locations = at_the_hub()
    locations.hold("n1", X)
    locations.hold("n2", X)
    assert not locations.drop("n1", X)
    assert locations.drop("n2", X)
    assert not locations.drop("n2", X)


class _Machine(RuleBasedStateMachine):
    """Any order of what nodes do keeps the invariants."""

    def __init__(self) -> None:
        super().__init__()
        self.locations = at_the_hub(X)
        self.held: dict[ContentId, set[str]] = {X: {HUB}, Y: set()}
        self.fetching: dict[tuple[str, ContentId], str] = {}
        self.closed: set[tuple[str, str]] = set()

    nodes = st.sampled_from(NODES)
    contents = st.sampled_from([X, Y])

    @rule(node=nodes, one=contents)
    def want(self, node: str, one: ContentId) -> None:
        if node in self.held[one]:
            return
        source = self.locations.choose(node, one)
        self.fetching.pop((node, one), None)
        assert bool(source) or not self.held[one]
        if source:
            assert source != node
            assert (node, source) not in self.closed
            assert source == HUB or source in self.held[one] or (source, one) in self.fetching
            self.fetching[node, one] = source

    @rule(node=nodes, one=contents)
    def have(self, node: str, one: ContentId) -> None:
        self.locations.hold(node, one)
        self.held[one].add(node)
        self.fetching.pop((node, one), None)

    @rule(node=nodes, one=contents, unreachable=st.booleans())
    def fail(self, node: str, one: ContentId, unreachable: bool) -> None:
        source = self.fetching.pop((node, one), "")
        if source:
            self.locations.fail(node, one, source, unreachable)
            if unreachable and source != HUB:
                self.closed.add((node, source))

    @rule(node=nodes)
    def lose(self, node: str) -> None:
        lost = self.locations.leave(node)
        for one, held in self.held.items():
            assert (one in lost) == (held == {node})
            held.discard(node)
            self.fetching.pop((node, one), None)
        self.closed = {pair for pair in self.closed if node not in pair}
        self.locations.join(node)

    @invariant()
    def nobody_waits_for_itself(self) -> None:
        for (node, one), source in self.fetching.items():
            seen = {node}
            while source != HUB and source not in self.held[one] and (source, one) in self.fetching:
                assert source not in seen
                seen.add(source)
                source = self.fetching[source, one]


TestMachine = _Machine.TestCase
TestMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
