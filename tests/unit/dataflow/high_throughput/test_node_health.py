"""Which manager is to be held: one that fails what others do well, and no other."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from parslab.dataflow.high_throughput.node_health import QUICK, FailedAttempt, NodeHealth

AFTER = 3


class Watch:
    """Managers a, b, c ... and what becomes of tasks on them, each task another one unless it is named."""

    def __init__(self, after: int = AFTER) -> None:
        self.health = NodeHealth(after)
        self.now = 0.0
        self.running: set[int] = set()
        self._tasks = itertools.count(100)

    def fails(self, manager: str, times: int = 1, task: int | None = None, fn: int = 0, **how: Any) -> None:
        for _ in range(times):
            self.now += 0.01
            number = next(self._tasks) if task is None else task
            reason, took = how.get("reason", ""), how.get("took", 0.01)
            attempt = FailedAttempt(number, fn, reason, took, "E: no")
            self.health.failed(manager, attempt, now=self.now, elsewhere=lambda: sorted(self.running))

    def succeeds(self, manager: str, times: int = 1, fn: int = 0) -> None:
        for _ in range(times):
            if self.health.streaks:  # as the shell does
                self.health.succeeded(manager, fn)

    def held(self, manager: str) -> bool:
        return self.health.unhealthy(manager, self.running.__contains__, self.now) is not None


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_one_that_fails_what_others_do_well_is_held(watch: Watch) -> None:
    watch.fails("a", AFTER - 1)
    watch.succeeds("b")
    assert not watch.held("a")
    watch.fails("a")
    assert not watch.held("b")
    streak = watch.health.unhealthy("a", watch.running.__contains__, watch.now)
    assert streak is not None
    assert (len(streak.tasks), streak.error) == (AFTER, "E: no")
    assert not watch.health.streaks  # when it is released it begins anew
    assert not watch.held("a")


def test_what_failed_on_a_held_manager_does_not_hold_it_again(watch: Watch) -> None:
    """Tasks that it had got before it was held fail after that; the user then releases it."""
    watch.fails("a", AFTER)
    watch.succeeds("b")
    assert watch.held("a")
    watch.fails("a", AFTER)
    watch.health.released("a")
    watch.succeeds("b")
    assert watch.health.next_candidate() == ""
    assert not watch.held("a")


def test_a_function_that_fails_everywhere_holds_nobody(watch: Watch) -> None:
    for _ in range(50):
        watch.fails("a")
        watch.fails("b")
        assert not watch.held("a")
        assert not watch.held("b")


def test_successes_before_the_streak_prove_nothing(watch: Watch) -> None:
    watch.succeeds("b", 100)
    watch.fails("a", 10)
    assert not watch.held("a")


def test_a_success_ends_a_streak(watch: Watch) -> None:
    for _ in range(20):
        watch.fails("a", AFTER - 1)
        watch.succeeds("b")
        watch.succeeds("a")
    assert not watch.held("a")


def test_other_functions_prove_nothing(watch: Watch) -> None:
    watch.fails("a", 10, fn=1)
    watch.succeeds("b", 10, fn=2)
    assert not watch.held("a")
    watch.succeeds("b", fn=1)
    assert watch.held("a")


@pytest.mark.parametrize("good", [1, 3, 10])
def test_a_function_that_fails_on_some_arguments_proves_nothing(good: int) -> None:
    """Whatever the mix, somewhere there are ten failures in a row."""
    dice = random.Random(good)
    watch = Watch(after=10)
    for _ in range(30_000):
        manager = dice.choice("abcd"[: 1 + good])
        if dice.random() < 0.5:
            watch.fails(manager)
            assert not watch.held(manager)
        else:
            watch.succeeds(manager)


def test_one_task_that_fails_again_and_again_is_one(watch: Watch) -> None:
    watch.fails("a", 10, task=7)
    watch.succeeds("b")
    assert not watch.held("a")


@pytest.mark.parametrize("reason", ["worker_lost", "out_of_memory"])
def test_lost_workers_count_however_long_they_ran(watch: Watch, reason: str) -> None:
    watch.fails("a", AFTER, reason=reason, took=1000.0)
    watch.succeeds("b")
    assert watch.held("a")


def test_slow_errors_and_limits_are_the_tasks_own(watch: Watch) -> None:
    watch.fails("a", 10, took=QUICK * 2)
    watch.fails("a", 10, reason="walltime", took=0.1)
    assert not watch.health.streaks
    watch.succeeds("b")
    assert not watch.held("a")


def test_what_still_runs_elsewhere_speaks_for_others(watch: Watch) -> None:
    """Tasks of an hour: the good nodes have not ended one yet, and the bad one is through with all of the work."""
    watch.running = {1, 2}
    watch.fails("a", 10 * AFTER, took=0.01)
    assert not watch.held("a")  # they have run for a moment only
    watch.now += 1.0
    assert watch.held("a")


def test_what_runs_elsewhere_must_have_run_for_longer(watch: Watch) -> None:
    watch.running = {1, 2}
    watch.fails("a", AFTER, took=0.5)
    watch.now += 4.0
    assert not watch.held("a")
    watch.now += 2.0
    watch.running = {3}
    assert not watch.held("a")
    watch.running = {2}
    assert watch.held("a")


def test_other_suspects_prove_nothing_either_way(watch: Watch) -> None:
    for manager in "abc":
        watch.fails(manager, AFTER)
    watch.succeeds("d")
    assert watch.held("a")
    assert watch.held("b")
    assert watch.held("c")


def test_from_the_first_failure_on_another_manager_is_worth_waiting_for(watch: Watch) -> None:
    assert not watch.health.suspected("a")
    watch.fails("a")
    assert watch.health.suspected("a")
    assert not watch.health.suspected("b")
    watch.succeeds("a")
    assert not watch.health.suspected("a")


def test_a_host_keeps_its_streak_when_its_manager_is_replaced(watch: Watch) -> None:
    watch.fails("a", AFTER - 1)
    watch.health.manager_left("a", "node7")
    assert not watch.health.streaks
    watch.health.manager_joined("z", "node8")
    watch.health.manager_joined("y", "node7")
    watch.fails("y")
    watch.succeeds("b")
    assert watch.held("y")
    assert not watch.held("z")


def test_those_that_wait_for_proof_are_named_in_turn(watch: Watch) -> None:
    assert watch.health.next_candidate() == ""
    watch.fails("a", AFTER)
    watch.fails("b", AFTER + 1)
    watch.fails("c", AFTER - 1)
    assert [watch.health.next_candidate() for _ in range(3)] == ["a", "b", "a"]
    watch.succeeds("a")
    assert [watch.health.next_candidate() for _ in range(2)] == ["b", "b"]


def test_zero_never_holds() -> None:
    watch = Watch(after=0)
    watch.fails("a", 100)
    watch.succeeds("b", 100)
    assert not watch.held("a")
    assert not watch.health.streaks


def test_kept_failures_are_bounded(watch: Watch) -> None:
    watch.fails("a", 10_000)
    watch.fails("b", 10_000)
    assert sum(len(streak.tasks) for streak in watch.health.streaks.values()) <= 20 * AFTER
    assert not watch.health.streaks["a"].alongside
