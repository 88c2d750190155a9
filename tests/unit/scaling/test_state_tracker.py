"""From blocks and load to pictures: what is learned, what is remembered, and what a user has pinned."""

from __future__ import annotations

from typing import Any

import pytest

from parslab.scaling.block_table import BlockTable
from parslab.scaling.controller_owner import BlockLoad, ExecutorLoad
from parslab.scaling.state_tracker import StateTracker, slots_of
from parslab.scaling.strategies import BlockLimits, Decision, ScalingState

NOTHING = ExecutorLoad(0, 0, {})


class Seen:
    """A sight with its blocks and a clock."""

    def __init__(self, slots: int = 2, nodes: int = 1, **limits: Any) -> None:
        self.limits = BlockLimits(**{"max_blocks": 10, "max_idletime": 60.0, "init_blocks": 0, **limits})
        self.sight = StateTracker(self.limits, slots, nodes)
        self.blocks = BlockTable()
        self.now = 0.0

    def block(self, came: bool = True) -> str:
        block = self.blocks.request(self.now)
        self.blocks.accepted(block, f"job{block.id}", self.now)
        if came:
            self.blocks.came(block.id, f"m{block.id}", "node", self.now)
        return block.id

    def picture(self, load: ExecutorLoad = NOTHING, after: float = 0.0) -> ScalingState:
        self.now += after
        return self.sight.picture(self.blocks, load, self.now)


def load(waiting: int, **held: int) -> ExecutorLoad:
    """Blocks are named b0, b1 ...; of two workers each, with so many tasks."""
    blocks = {name[1:]: BlockLoad(1, 2, tasks, None if tasks else 0.0) for name, tasks in held.items()}
    return ExecutorLoad(waiting + sum(held.values()), waiting, blocks)


# ----- pictures


def test_tasks_of_usable_blocks_and_those_that_wait_count() -> None:
    seen = Seen()
    seen.block(), seen.block()
    seen.blocks.blocks["1"].held = True
    picture = seen.picture(load(3, b0=2, b1=2))
    assert (picture.tasks, picture.waiting, picture.needed) == (5, 3, 3)
    assert [view.id for view in picture.usable] == ["0"]


def test_a_draining_block_leaves_and_counts_against_the_limit() -> None:
    seen = Seen()
    first = seen.block()
    seen.block()
    seen.blocks.drain(seen.blocks.blocks[first], seen.now, "idle")
    picture = seen.picture(load(0, b0=1, b1=0))
    assert ([view.id for view in picture.blocks], picture.leaving, picture.tasks) == (["1"], 1, 0)


def test_a_block_whose_managers_are_gone_is_not_counted_on() -> None:
    seen = Seen()
    seen.block()
    seen.blocks.parted("0", "m0", "lost its connection", seen.now)
    picture = seen.picture(load(1))
    assert (picture.blocks, picture.leaving) == ((), 1)


def test_managers_started_by_hand_do_their_share() -> None:
    assert Seen().picture(load(5, bhand=0)).tasks == 3
    assert Seen().picture(load(1, bhand=0)).tasks == 0


def test_a_block_tells_what_one_more_will_bring() -> None:
    seen = Seen(slots=0, nodes=2)
    assert seen.picture(load(100)).needed == 1
    seen.block()
    half = ExecutorLoad(100, 96, {"0": BlockLoad(1, 4, 4, None)})
    assert seen.picture(half).needed == 1, "one of its two nodes is there"
    whole = ExecutorLoad(100, 92, {"0": BlockLoad(2, 8, 8, None)})
    assert seen.picture(whole).needed == 13
    assert seen.sight.slots_per_block == 8


def test_quiet_begins_with_the_last_task() -> None:
    seen = Seen()
    assert seen.picture(load(1)).quiet_since is None
    assert seen.picture(after=5.0).quiet_since == 5.0
    assert seen.picture(after=5.0).quiet_since == 5.0
    assert seen.picture(load(1)).quiet_since is None


def test_the_most_that_was_needed_is_remembered_for_a_while() -> None:
    seen = Seen()
    assert seen.picture(load(8)).needed_lately == 4
    assert seen.picture(load(4), after=30.0).needed_lately == 4
    assert seen.picture(load(4), after=29.0).needed_lately == 4
    assert seen.picture(load(2), after=1.0).needed_lately == 2
    assert seen.picture(load(0), after=58.0).needed_lately == 2
    assert seen.picture(load(0), after=1.0).needed_lately == 1
    assert seen.picture(load(0), after=1.0).needed_lately == 0


# ----- floor


def test_first_blocks_are_kept_until_they_have_come() -> None:
    seen = Seen(init_blocks=2)
    assert seen.picture().floor == 2
    seen.block(came=False), seen.block(came=False)
    assert seen.picture(after=1e6).floor == 2
    seen.blocks.came("0", "m0", "node", seen.now)
    assert seen.picture().floor == 2
    seen.blocks.came("1", "m1", "node", seen.now)
    assert seen.picture().floor == 0


def test_first_blocks_are_not_kept_when_as_many_were_needed() -> None:
    seen = Seen(init_blocks=2)
    seen.picture(load(4))
    assert seen.picture().floor == 0


def test_min_blocks_are_always_kept() -> None:
    assert Seen(min_blocks=1).picture().floor == 1


# ----- pinned by the user


def test_nothing_is_pinned_at_first() -> None:
    seen = Seen()
    assert seen.sight.pin(seen.picture(load(9))) is None


def test_a_pinned_number_holds_against_work() -> None:
    seen = Seen()
    seen.sight.pinned = 2
    assert seen.sight.pin(seen.picture(load(99))) == Decision(add=2)
    seen.block(), seen.block()
    assert seen.sight.pin(seen.picture(load(99, b0=2, b1=2))) == Decision(add=0)
    assert seen.sight.pin(seen.picture(load(99, b0=2, b1=2), after=1e6)) == Decision(add=0)


def test_those_that_lose_least_go_first() -> None:
    seen = Seen()
    for _ in range(4):
        seen.block()
    seen.block(came=False)
    seen.sight.pinned = 1
    decision = seen.sight.pin(seen.picture(load(0, b0=1, b1=2, b2=0, b3=2)))
    assert decision is not None
    assert decision.release == ("4", "2", "0", "3")


def test_the_pin_ends_when_the_blocks_have_come_worked_and_rested() -> None:
    seen = Seen()
    seen.sight.pinned = 2
    seen.block()
    assert seen.sight.pin(seen.picture(load(0, b0=0))) == Decision(add=1)
    assert seen.sight.pin(seen.picture(load(0, b0=0), after=500.0)) == Decision(add=1)
    seen.block()
    rested = load(0, b0=0, b1=0)
    assert seen.sight.pin(seen.picture(rested)) is None
    assert seen.sight.pinned is None


def test_the_pin_holds_while_there_is_work_and_a_while_after() -> None:
    seen = Seen()
    seen.sight.pinned = 1
    seen.block()
    assert seen.sight.pin(seen.picture(load(0, b0=1), after=500.0)) is not None
    assert seen.sight.pin(seen.picture(load(0, b0=0))) is not None
    assert seen.sight.pin(seen.picture(load(0, b0=0), after=59.0)) is not None
    assert seen.sight.pin(seen.picture(load(0, b0=0), after=1.0)) is None


def test_none_at_all_is_not_undone_by_tasks_that_wait() -> None:
    seen = Seen()
    seen.sight.pinned = 0
    assert seen.sight.pin(seen.picture(load(9), after=1e6)) == Decision()
    assert seen.sight.pin(seen.picture(after=60.0)) is not None
    assert seen.sight.pin(seen.picture(after=60.0)) is None


def test_fewer_than_min_blocks_holds_until_told_otherwise() -> None:
    seen = Seen(min_blocks=2)
    seen.sight.pinned = 1
    seen.block()
    assert seen.sight.pin(seen.picture(load(0, b0=0), after=1e6)) == Decision(add=0)
    assert seen.sight.pinned == 1


# ----- when to look again


def test_the_next_look_is_when_a_block_has_been_idle_for_long_enough() -> None:
    seen = Seen()
    seen.block()
    picture = seen.picture(load(1, b0=0), after=10.0)
    assert seen.sight.next_deadline(picture) == 60.0
    assert seen.sight.next_deadline(seen.picture(load(1, b0=0), after=60.0)) is None


# ----- what the settings tell


@pytest.mark.parametrize(
    ("options", "manager", "nodes", "slots"),
    [
        ({}, {}, 1, 0),
        ({}, {"max_workers": 8}, 2, 16),
        ({"cores_per_node": 64}, {"cores_per_worker": 4.0}, 1, 16),
        ({"cores_per_node": 64}, {"max_workers": 8}, 1, 8),
        ({"cores_per_node": 4}, {"cores_per_worker": 0.5, "max_workers": 20}, 1, 8),
        ({"cores_per_node": 64, "mem_per_node": 100.0}, {"mem_per_worker": 10.0}, 1, 10),
        ({"cores_per_node": 64}, {"accelerators": ["0", "1"]}, 1, 2),
        ({}, {"accelerators": ["0", "1"]}, 1, 0),
        ({"cores_per_node": 1}, {"cores_per_worker": 2.0}, 1, 1),
    ],
)
def test_slots_of_a_block(options: dict[str, Any], manager: dict[str, Any], nodes: int, slots: int) -> None:
    given = {"max_workers": None, "cores_per_worker": 1.0, "mem_per_worker": None, "accelerators": [], **manager}
    settings = {"provider": {"options": options}, "manager": given, "nodes_per_block": nodes, "local": False}
    assert slots_of(settings) == slots


def test_slots_of_a_block_on_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSLAB_CORES", "6")
    given: dict[str, Any] = {"max_workers": None, "cores_per_worker": 2.0, "mem_per_worker": None, "accelerators": []}
    assert slots_of({"provider": {}, "manager": given, "nodes_per_block": 2, "local": True}) == 6
