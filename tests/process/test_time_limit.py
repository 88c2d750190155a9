"""A limit of time raises AppTimeout in the thread of a call, and never after the call."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from parslab.app.python import timeout
from parslab.bodies.time_limit import TimeLimit, limited
from parslab.errors import AppTimeout


def loops_for_ever() -> None:
    while True:
        time.sleep(0.001)


def spins_until(end: float) -> str:
    while time.perf_counter() < end:
        pass
    return "in time"


def test_python_code_is_interrupted() -> None:
    with pytest.raises(AppTimeout, match=r"loops_for_ever ran longer than its limit of 0\.05 s and was stopped"):
        timeout(loops_for_ever, 0.05)()


def test_a_call_in_time_keeps_its_result_and_its_error() -> None:
    assert limited(60.0, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        limited(60.0, divmod, 7, 0)


def waits_and_loops(event: threading.Event) -> None:
    event.wait()
    loops_for_ever()


def test_the_limit_is_reported_while_the_thread_is_blocked() -> None:
    late = threading.Event()  # nothing but the report ends the wait
    limit = TimeLimit(0.05, late.set)
    with pytest.raises(AppTimeout):
        limit.call(waits_and_loops, late)
    assert limit.late


def test_a_function_that_catches_everything_is_late_all_the_same() -> None:
    def stubborn() -> str:
        with contextlib.suppress(BaseException):
            loops_for_ever()
        return "caught"

    with pytest.raises(AppTimeout):
        limited(0.05, stubborn)


# Python drops an exception that arrives in a finalizer, and says so; the call is late all the same.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_exception_never_arrives_after_the_call() -> None:
    """Calls that end as their time ends: each of them is late or has its result, and nothing comes afterwards."""
    outcomes = set()
    for _ in range(300):
        end = time.perf_counter() + 0.001
        try:
            outcomes.add(limited(0.001, spins_until, end))
        except AppTimeout:
            outcomes.add("late")
        for _ in range(50):  # Python code, into which a stray exception would come
            outcomes.discard(None)
    assert outcomes <= {"late", "in time"}


def test_a_call_within_a_call_has_a_limit_of_its_own() -> None:
    def outer() -> str:
        with pytest.raises(AppTimeout):
            limited(0.05, loops_for_ever)
        return "outer goes on"

    assert limited(60.0, outer) == "outer goes on"
