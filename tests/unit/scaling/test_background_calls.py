"""Blocking calls on threads: their answers come through the inbox, and no more run than allowed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from parslab.scaling.background_calls import BackgroundCalls, Inbox

if TYPE_CHECKING:
    from collections.abc import Callable


class Desk:
    """An inbox whose loop is the test."""

    def __init__(self) -> None:
        self.posted = threading.Semaphore(0)
        self.inbox = Inbox(lambda _: self.posted.release())
        self.answers: list[Any] = []

    def done(self, answer: Any, error: Exception | None) -> None:
        self.answers.append(error if error is not None else answer)

    def take(self) -> Any:
        assert self.inbox.wait(10.0)
        return self.answers[-1]


def raises() -> None:
    raise OSError("no answer")


def test_answers_and_errors_come_back() -> None:
    desk = Desk()
    errands = BackgroundCalls("test", desk.inbox, 1)
    errands.run(lambda: 42, desk.done)
    assert desk.take() == 42
    errands.run(raises, desk.done)
    assert str(desk.take()) == "no answer"
    assert errands.busy == 0
    assert desk.posted.acquire(timeout=10)


def test_done_is_called_where_answers_are_taken() -> None:
    desk, threads = Desk(), list[str]()
    BackgroundCalls("test", desk.inbox, 1).run(
        lambda: threads.append(threading.current_thread().name),
        lambda *_: threads.append(threading.current_thread().name),
    )
    assert desk.inbox.wait(10.0)
    assert threads == ["parslab-test", threading.current_thread().name]


def test_a_call_that_hangs_holds_one_place() -> None:
    desk, released = Desk(), threading.Event()
    errands = BackgroundCalls("test", desk.inbox, 2)
    calls: list[Callable[[], Any]] = [lambda: released.wait(10) and "slow", lambda: 1, lambda: 2]
    for call in calls:
        errands.run(call, desk.done)
    assert [desk.take(), desk.take()] == [1, 2]
    assert errands.busy == 1
    assert not desk.inbox.wait(0.0)
    released.set()
    assert desk.take() == "slow"


def test_no_more_run_at_a_time_than_allowed() -> None:
    desk, lock = Desk(), threading.Lock()
    running, most = 0, 0
    gate = threading.Barrier(2, timeout=10)

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait()
        with lock:
            running -= 1

    errands = BackgroundCalls("test", desk.inbox, 2)
    for _ in range(6):
        errands.run(call, desk.done)
    for _ in range(6):
        desk.take()
    assert most == 2


def test_an_answer_after_the_end_is_kept_for_who_collects() -> None:
    def closed(_: Callable[[], None]) -> None:
        raise OSError("closed")

    inbox, calls = Inbox(closed), list[int]()
    inbox.put(lambda: calls.append(1))
    inbox.collect()
    assert calls == [1]
