"""A waiter polls while answers come soon, and leaves the core to others where they need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.wire import spin_wait
from parslab.wire.spin_wait import AWAKE, CREDIT, CROWDED, LONGEST_PAUSE, SHORTEST_PAUSE, SpinWait

if TYPE_CHECKING:
    from collections.abc import Callable


class Machine:
    """A clock, and a yield that takes so many seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.yield_takes = 2e-6
        self.sleeps = 0

    def sched_yield(self) -> None:
        self.now += self.yield_takes

    def look_from(self, when: float) -> Callable[[], bool]:
        """Return a ``look`` that finds something from this time on."""
        return lambda: self.now >= when

    def sleep_until(self, when: float) -> Callable[[], bool]:
        """Return a ``sleep`` that ends at this time."""

        def sleep() -> bool:
            self.sleeps += 1
            self.now = max(self.now, when)
            return True

        return sleep

    def answer_after(self, waiter: SpinWait, seconds: float) -> bool:
        """Have a waiter wait for an answer that arrives after so many seconds; return whether it slept."""
        before, when = self.sleeps, self.now + seconds
        assert waiter.wait(self.look_from(when), self.sleep_until(when))
        return self.sleeps > before


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(spin_wait, "perf_counter", lambda: made.now)
    monkeypatch.setattr("os.sched_yield", made.sched_yield)
    return made


def test_a_waiter_polls_after_a_short_sleep(machine: Machine) -> None:
    waiter = SpinWait()
    assert machine.answer_after(waiter, AWAKE / 2)
    assert not machine.answer_after(waiter, AWAKE / 2)


def test_a_waiter_stops_polling_when_polls_find_nothing(machine: Machine) -> None:
    """A sleep behind a poll without success counted as short, so tasks of half a millisecond kept all cores busy."""
    waiter = SpinWait()
    machine.answer_after(waiter, AWAKE / 2)
    for _ in range(CREDIT):
        assert waiter.credit
        assert machine.answer_after(waiter, AWAKE * 1.2)
    assert not waiter.credit
    assert machine.answer_after(waiter, AWAKE * 1.2)
    assert not waiter.credit


def test_a_waiter_never_polls_in_a_quiet_run(machine: Machine) -> None:
    waiter = SpinWait()
    for _ in range(100):
        assert machine.answer_after(waiter, 1.0)
        assert not waiter.credit


def test_pauses_grow_where_others_need_the_core_and_shrink_where_polls_succeed(machine: Machine) -> None:
    """The pause had one length: too long after a single late yield, too short on a machine that is always busy."""
    waiter = SpinWait()
    pauses: list[int] = []
    for _ in range(10):
        machine.answer_after(waiter, AWAKE / 2)
        assert waiter.credit
        machine.yield_takes = 2 * CROWDED
        machine.answer_after(waiter, AWAKE / 2)
        machine.yield_takes = 2e-6
        pauses.append(waiter.hold_off)
        while waiter.hold_off:
            assert machine.answer_after(waiter, AWAKE / 2)
    assert pauses[0] in (SHORTEST_PAUSE, SHORTEST_PAUSE - 1)
    assert pauses == sorted(pauses)
    assert LONGEST_PAUSE - 1 <= pauses[-1] <= LONGEST_PAUSE
    for _ in range(LONGEST_PAUSE + 10):
        machine.answer_after(waiter, AWAKE / 2)
    assert waiter.pause == SHORTEST_PAUSE
