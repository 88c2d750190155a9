"""The pacer: everything marked is called, in order, and its thread goes when there is nothing to do."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from parslab.jupyter.rate_limit import RateLimiter

if TYPE_CHECKING:
    import pytest


def test_what_is_marked_is_called_in_order() -> None:
    pacer = RateLimiter(0.0, "test")
    called: list[str] = []
    first, second = (lambda: called.append("first")), (lambda: called.append("second"))
    pacer.mark(first)
    pacer.mark(second)
    assert pacer.settle(5.0)
    assert called == ["first", "second"]


def test_marks_made_while_it_is_called_are_not_lost() -> None:
    pacer = RateLimiter(0.0, "test")
    begun, go_on = threading.Event(), threading.Event()
    calls = 0

    def update() -> None:
        nonlocal calls
        calls += 1
        begun.set()
        go_on.wait(5.0)

    pacer.mark(update)
    assert begun.wait(5.0)
    for _ in range(100):
        pacer.mark(update)
    go_on.set()
    assert pacer.settle(5.0)
    assert calls == 2


def test_the_thread_goes_and_comes_back() -> None:
    pacer = RateLimiter(0.0, "test")
    threads: list[threading.Thread] = []
    for _ in range(2):
        pacer.mark(lambda: threads.append(threading.current_thread()))
        assert pacer.settle(5.0)
    assert len(set(threads)) == 2
    assert {thread.name for thread in threads} == {"parslab-test"}


def test_a_failing_call_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    pacer = RateLimiter(0.0, "test")
    called: list[int] = []
    with caplog.at_level(logging.ERROR):
        pacer.mark(lambda: called.append(1 // 0))
        pacer.mark(lambda: called.append(2))
        assert pacer.settle(5.0)
    assert called == [2]
    assert "an update of a front end failed" in caplog.text
