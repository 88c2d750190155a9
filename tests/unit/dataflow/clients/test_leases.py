"""Leases: who keeps a run alive, what is kept for whom, and until when; every test ends with the invariants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.dataflow.clients.leases import FIRST_CLIENT, Leases, LeaveOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MINE, OTHER = "/books/fit.ipynb", "/books/plot.ipynb"


@pytest.fixture
def leases() -> Iterator[Callable[..., Leases]]:
    made: list[Leases] = []

    def make(linger: float, notebook: str = MINE) -> Leases:
        one = Leases(linger, notebook, 0.0)
        assert one.attached(0, notebook, owner=True)
        made.append(one)
        return one

    yield make
    for one in made:
        one.check()


def test_without_a_linger_the_run_ends_with_its_owner(leases: Callable[..., Leases]) -> None:
    run = leases(0.0, "")
    assert not run.attached(1)
    assert run.left(1, 1.0) is LeaveOutcome.released
    assert not run.attached(2, OTHER)
    assert run.left(0, 2.0) is LeaveOutcome.ends


def test_the_run_outlives_its_last_client_by_its_linger(leases: Callable[..., Leases]) -> None:
    run = leases(600.0)
    assert (run.next_deadline(), run.ends, run.away) == (None, None, None)
    assert run.left(0, 100.0) is LeaveOutcome.kept
    assert (run.away, run.ends, run.next_deadline()) == (100.0, 700.0, 700.0)
    assert run.end_reason(699.9) == ""
    assert run.end_reason(700.0) == "nobody came back within 10 min (linger)"


def test_who_comes_back_is_an_owner_and_finds_what_was_kept(leases: Callable[..., Leases]) -> None:
    run = leases(600.0)
    run.left(0, 100.0)
    assert (run.absent(MINE), run.left_at(MINE)) == ([0], 100.0)
    assert run.attached(1, MINE)
    assert run.end_reason(1e9) == ""
    assert run.expired(1e9) == []  # for ever, while the notebook is here
    assert run.absent(MINE) == [0]
    assert run.left(1, 5000.0) is LeaveOutcome.kept
    assert run.absent(MINE) == [0, 1]
    assert run.next_deadline() == run.ends == 5600.0
    assert run.expired(5599.0) == []
    assert run.expired(5600.0) == [0, 1]


def test_a_client_that_comes_back_by_its_number_is_not_gone(leases: Callable[..., Leases]) -> None:
    run = leases(600.0)
    run.left(0, 100.0)
    assert run.attached(0, MINE)
    assert run.absent(MINE) == []


def test_a_notebook_of_somebody_else_is_kept_for_the_linger_while_others_stay(leases: Callable[..., Leases]) -> None:
    run = leases(60.0)
    assert not run.attached(1, OTHER)
    assert run.left(1, 10.0) is LeaveOutcome.kept
    assert run.next_deadline() == 70.0
    assert run.end_reason(70.0) == ""  # its owner is here
    assert run.expired(70.0) == [1]
    assert run.next_deadline() is None
    assert run.left(1, 71.0) is LeaveOutcome.released  # twice is safe


def test_a_guest_without_a_notebook_cannot_come_back(leases: Callable[..., Leases]) -> None:
    run = leases(60.0)
    run.attached(1)
    assert run.left(1, 10.0) is LeaveOutcome.released
    run.attached(2)
    assert run.left(0, 20.0) is LeaveOutcome.kept
    assert run.away is None  # a guest keeps the run
    assert run.left(2, 500.0) is LeaveOutcome.released
    assert run.ends == 560.0


def test_what_an_owner_without_a_notebook_has_called_is_kept_as_long_as_the_lease(
    leases: Callable[..., Leases],
) -> None:
    run = leases(60.0, "")
    run.attached(1)
    assert run.left(0, 10.0) is LeaveOutcome.kept
    assert run.absent("") == []  # nobody can say that it is his
    assert run.expired(69.0) == []
    assert run.expired(70.0) == [0]


def test_two_kernels_of_a_notebook_share_the_run(leases: Callable[..., Leases]) -> None:
    run = leases(60.0)
    assert run.attached(1, MINE)
    assert (run.sharers(0), run.sharers(1)) == ([1], [0])
    assert run.left(0, 10.0) is LeaveOutcome.kept
    assert run.next_deadline() is None
    run.set_linger(0.0)
    assert run.attached(2, MINE)
    assert run.left(1, 20.0) is LeaveOutcome.released  # the other one is an owner too
    assert run.left(2, 30.0) is LeaveOutcome.ends


def test_keeping_and_releasing(leases: Callable[..., Leases]) -> None:
    run = leases(0.0)
    run.set_linger(8 * 3600.0)
    assert run.left(0, 0.0) is LeaveOutcome.kept
    assert run.end_reason(8 * 3600.0) == "nobody came back within 8 h (linger)"
    run.attached(1, OTHER)
    run.set_linger(-1.0)
    assert run.linger == 0.0
    assert run.expired(1.0) == [0]
    assert run.left(1, 2.0) is LeaveOutcome.ends  # there is no owner any more whom the run could end with


def test_a_run_to_which_nobody_comes_ends(leases: Callable[..., Leases]) -> None:
    for linger in (0.0, 600.0):
        run = Leases(linger, MINE, 50.0)
        assert run.end_reason(50.0 + FIRST_CLIENT - 1) == ""
        assert run.end_reason(50.0 + max(FIRST_CLIENT, linger)) == "nobody came"
        run.check()


@given(st.lists(st.tuples(st.sampled_from("aalllkt"), st.integers(0, 5), st.sampled_from(["", MINE, OTHER]))))
def test_any_coming_and_going_keeps_the_invariants(steps: list[tuple[str, int, str]]) -> None:
    run, now, ended = Leases(10.0, MINE, 0.0), 0.0, False
    for what, number, notebook in steps:
        now += 1.0
        if what == "a":
            run.attached(number, notebook)
        elif what == "l":
            ended = run.left(number, now) is LeaveOutcome.ends
        elif what == "k":
            run.set_linger(float(number))
        else:
            due = run.next_deadline()
            run.expired(now)
            after = run.next_deadline()
            assert after is None or after > now or run.end_reason(now), (due, after)
        run.check()
        if ended or run.end_reason(now):
            return
