"""Spans of time as users write and read them."""

from __future__ import annotations

import pytest

from parslab.records.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28800), ("10min", 600), ("10 m", 600), ("30s", 30), ("2d", 172800), ("45", 45), (" 1.5H ", 5400), ("0", 0)],
)
def test_what_users_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "8 hours or so", "-5min", "1e9", "8h 5min"])
def test_what_is_no_span_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write 30s, 10min, 8h or 2d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.04, "0.04 s"), (2.54, "2.5 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (600, "10 min"),
        (3599, "1 h"), (5400, "1 h 30 min"), (28800, "8 h"), (47.9 * 3600, "47 h 54 min"), (49 * 3600, "2 days"),
    ],
)  # fmt: skip
def test_what_users_read(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
