"""From blocks and load to states: what is learned, what is remembered, and what a user has pinned."""

from __future__ import annotations

from typing import Any

import pytest

from parslab.records.executor_settings import (
    EncodedDescription,
    HighThroughputSettings,
    ManagerSettings,
    ProviderSettings,
)
from parslab.scaling.block_table import BlockTable
from parslab.scaling.controller_owner import BlockLoad, ExecutorLoad
from parslab.scaling.state_tracker import StateTracker, expected_slots
from parslab.scaling.strategies import BlockLimits, Decision, ScalingState

NOTHING = ExecutorLoad(0, 0, {})


class Seen:
    """A tracker with its blocks and a clock."""

    def __init__(self, slots: int = 2, nodes: int = 1, **limits: Any) -> None:
        self.limits = BlockLimits(**{"max_blocks": 10, "max_idletime": 60.0, "init_blocks": 0, **limits})
        self.tracker = StateTracker(self.limits, slots, nodes)
        self.table = BlockTable()
        self.now = 0.0

    def block(self, joined: bool = True) -> str:
        block = self.table.request(self.now)
        self.table.accepted(block, f"job{block.id}", self.now)
        if joined:
            self.table.manager_joined(block.id, f"m{block.id}", "node", self.now)
        return block.id

    def state(self, load: ExecutorLoad = NOTHING, after: float = 0.0) -> ScalingState:
        self.now += after
        return self.tracker.state(self.table, load, self.now)


def load(waiting: int, **held: int) -> ExecutorLoad:
    """Blocks are named b0, b1 ...; of two workers each, with so many tasks."""
    blocks = {name[1:]: BlockLoad(1, 2, tasks, None if tasks else 0.0) for name, tasks in held.items()}
    return ExecutorLoad(waiting + sum(held.values()), waiting, blocks)


# ----- states


def test_tasks_of_usable_blocks_and_those_that_wait_count() -> None:
    seen = Seen()
    seen.block(), seen.block()
    seen.table.blocks["1"].held = True
    state = seen.state(load(3, b0=2, b1=2))
    assert (state.tasks, state.waiting, state.needed) == (5, 3, 3)
    assert [view.id for view in state.usable] == ["0"]


def test_a_draining_block_leaves_and_counts_against_the_limit() -> None:
    seen = Seen()
    first = seen.block()
    seen.block()
    seen.table.drain(seen.table.blocks[first], seen.now, "idle")
    state = seen.state(load(0, b0=1, b1=0))
    assert ([view.id for view in state.blocks], state.ending, state.tasks) == (["1"], 1, 0)


def test_a_block_whose_managers_are_gone_is_not_counted_on() -> None:
    seen = Seen()
    seen.block()
    seen.table.manager_left("0", "m0", "lost its connection", seen.now)
    state = seen.state(load(1))
    assert (state.blocks, state.ending) == ((), 1)


def test_managers_started_by_hand_do_their_share() -> None:
    assert Seen().state(load(5, bhand=0)).tasks == 3
    assert Seen().state(load(1, bhand=0)).tasks == 0


def test_complete_block_shows_the_slots_of_one_more() -> None:
    seen = Seen(slots=0, nodes=2)
    assert seen.state(load(100)).needed == 1
    seen.block()
    half = ExecutorLoad(100, 96, {"0": BlockLoad(1, 4, 4, None)})
    assert seen.state(half).needed == 1, "one of its two nodes is there"
    whole = ExecutorLoad(100, 92, {"0": BlockLoad(2, 8, 8, None)})
    assert seen.state(whole).needed == 13
    assert seen.tracker.slots_per_block == 8


def test_quiet_begins_with_the_last_task() -> None:
    seen = Seen()
    assert seen.state(load(1)).no_tasks_since is None
    assert seen.state(after=5.0).no_tasks_since == 5.0
    assert seen.state(after=5.0).no_tasks_since == 5.0
    assert seen.state(load(1)).no_tasks_since is None


def test_the_most_that_was_needed_is_kept_for_a_while() -> None:
    seen = Seen()
    assert seen.state(load(8)).recently_needed == 4
    assert seen.state(load(4), after=30.0).recently_needed == 4
    assert seen.state(load(4), after=29.0).recently_needed == 4
    assert seen.state(load(2), after=1.0).recently_needed == 2
    assert seen.state(load(0), after=58.0).recently_needed == 2
    assert seen.state(load(0), after=1.0).recently_needed == 1
    assert seen.state(load(0), after=1.0).recently_needed == 0


# ----- floor


def test_first_blocks_are_kept_until_they_have_come() -> None:
    seen = Seen(init_blocks=2)
    assert seen.state().minimum == 2
    seen.block(joined=False), seen.block(joined=False)
    assert seen.state(after=1e6).minimum == 2
    seen.table.manager_joined("0", "m0", "node", seen.now)
    assert seen.state().minimum == 2
    seen.table.manager_joined("1", "m1", "node", seen.now)
    assert seen.state().minimum == 0


def test_first_blocks_are_not_kept_when_as_many_were_needed() -> None:
    seen = Seen(init_blocks=2)
    seen.state(load(4))
    assert seen.state().minimum == 0


def test_min_blocks_are_always_kept() -> None:
    assert Seen(min_blocks=1).state().minimum == 1


# ----- pinned by the user


def test_nothing_is_pinned_at_first() -> None:
    seen = Seen()
    assert seen.tracker.pinned_decision(seen.state(load(9))) is None


def test_a_pinned_number_holds_against_work() -> None:
    seen = Seen()
    seen.tracker.pinned = 2
    assert seen.tracker.pinned_decision(seen.state(load(99))) == Decision(add=2)
    seen.block(), seen.block()
    assert seen.tracker.pinned_decision(seen.state(load(99, b0=2, b1=2))) == Decision(add=0)
    assert seen.tracker.pinned_decision(seen.state(load(99, b0=2, b1=2), after=1e6)) == Decision(add=0)


def test_those_that_lose_least_go_first() -> None:
    seen = Seen()
    for _ in range(4):
        seen.block()
    seen.block(joined=False)
    seen.tracker.pinned = 1
    decision = seen.tracker.pinned_decision(seen.state(load(0, b0=1, b1=2, b2=0, b3=2)))
    assert decision is not None
    assert decision.release == ("4", "2", "0", "3")


def test_the_pin_ends_when_the_blocks_have_come_worked_and_rested() -> None:
    seen = Seen()
    seen.tracker.pinned = 2
    seen.block()
    assert seen.tracker.pinned_decision(seen.state(load(0, b0=0))) == Decision(add=1)
    assert seen.tracker.pinned_decision(seen.state(load(0, b0=0), after=500.0)) == Decision(add=1)
    seen.block()
    rested = load(0, b0=0, b1=0)
    assert seen.tracker.pinned_decision(seen.state(rested)) is None
    assert seen.tracker.pinned is None


def test_the_pin_holds_while_there_is_work_and_a_while_after() -> None:
    seen = Seen()
    seen.tracker.pinned = 1
    seen.block()
    assert seen.tracker.pinned_decision(seen.state(load(0, b0=1), after=500.0)) is not None
    assert seen.tracker.pinned_decision(seen.state(load(0, b0=0))) is not None
    assert seen.tracker.pinned_decision(seen.state(load(0, b0=0), after=59.0)) is not None
    assert seen.tracker.pinned_decision(seen.state(load(0, b0=0), after=1.0)) is None


def test_none_at_all_is_not_undone_by_tasks_that_wait() -> None:
    seen = Seen()
    seen.tracker.pinned = 0
    assert seen.tracker.pinned_decision(seen.state(load(9), after=1e6)) == Decision()
    assert seen.tracker.pinned_decision(seen.state(after=60.0)) is not None
    assert seen.tracker.pinned_decision(seen.state(after=60.0)) is None


def test_pin_below_min_blocks_stays_in_force() -> None:
    seen = Seen(min_blocks=2)
    seen.tracker.pinned = 1
    seen.block()
    assert seen.tracker.pinned_decision(seen.state(load(0, b0=0), after=1e6)) == Decision(add=0)
    assert seen.tracker.pinned == 1


# ----- when to look again


def test_the_next_look_is_when_a_block_has_been_idle_for_long_enough() -> None:
    seen = Seen()
    seen.block()
    state = seen.state(load(1, b0=0), after=10.0)
    assert seen.tracker.next_deadline(state) == 60.0
    assert seen.tracker.next_deadline(seen.state(load(1, b0=0), after=60.0)) is None


# ----- what the settings tell


@pytest.mark.parametrize(
    ("options", "manager", "nodes", "slots"),
    [
        ({}, {}, 1, 0),
        ({}, {"max_workers_per_node": 8}, 2, 16),
        ({"cores_per_node": 64}, {"cores_per_worker": 4.0}, 1, 16),
        ({"cores_per_node": 64}, {"max_workers_per_node": 8}, 1, 8),
        ({"cores_per_node": 4}, {"cores_per_worker": 0.5, "max_workers_per_node": 20}, 1, 8),
        ({"cores_per_node": 64, "mem_per_node": 100.0}, {"mem_per_worker": 10.0}, 1, 10),
        ({"cores_per_node": 64}, {"available_accelerators": ["0", "1"]}, 1, 2),
        ({}, {"available_accelerators": ["0", "1"]}, 1, 0),
        ({"cores_per_node": 1}, {"cores_per_worker": 2.0}, 1, 1),
    ],
)
def test_slots_of_a_block(options: dict[str, Any], manager: dict[str, Any], nodes: int, slots: int) -> None:
    assert expected_slots(executor(ManagerSettings(**manager), nodes_per_block=nodes, **options)) == slots


def test_slots_of_a_block_on_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSLAB_CORES", "6")
    assert expected_slots(executor(ManagerSettings(cores_per_worker=2.0), nodes_per_block=2, local=True)) == 6


def executor(manager: ManagerSettings, **options: Any) -> HighThroughputSettings:
    provider = ProviderSettings(description=EncodedDescription("x:X"), **options)
    return HighThroughputSettings(label="htex", provider=provider, manager=manager)
