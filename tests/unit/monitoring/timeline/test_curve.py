"""Averages over time, against counting each thing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.monitoring.timeline.curve import Curve

TIME = st.floats(0.0, 100.0).map(lambda time: round(time, 3))
THINGS = st.lists(st.tuples(TIME, TIME), max_size=20)


@given(st.lists(THINGS, max_size=3), THINGS, st.lists(TIME, min_size=2, max_size=8, unique=True))
def test_the_average_is_that_of_counting(
    parts: list[list[tuple[float, float]]], more: list[tuple[float, float]], edges: list[float]
) -> None:
    curve = Curve()
    edges.sort()
    for things in parts:  # asking between two additions changes nothing
        curve.extend(things)
        curve.averages(edges)
    everything = [thing for things in parts for thing in things] + more
    for (low, high), average in zip(pairwise(edges), curve.averages(edges, more), strict=True):
        spent = sum(max(0.0, min(end, high) - max(begin, low)) for begin, end in everything)
        assert average == pytest.approx(spent / (high - low), abs=1e-3 + 1e-6 / (high - low))


def test_a_window_without_length_has_no_things() -> None:
    curve = Curve()
    curve.extend([(0.0, 2.0)])
    assert curve.averages([1.0, 1.0]) == [0.0]
