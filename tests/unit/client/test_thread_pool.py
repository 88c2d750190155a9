"""A thread pool starts threads only when they are needed, and never too few of them."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from parslab.client.thread_pool import Lender, ThreadPool, waits_in

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    made = ThreadPool("test", 3)
    yield made
    made.close(5.0)


def test_jobs_that_wait_for_each_other_all_have_a_thread(pool: ThreadPool) -> None:
    """A thread that had just taken a job counted as idle, and the next job waited behind it."""
    for _ in range(200):
        together, passed = threading.Barrier(3), threading.Semaphore(0)
        for _ in range(3):
            pool.submit(partial(meet, together, passed))
        for _ in range(3):
            assert passed.acquire(timeout=5)


def meet(together: threading.Barrier, passed: threading.Semaphore) -> None:
    together.wait(5)
    passed.release()


def test_no_more_threads_than_allowed(pool: ThreadPool) -> None:
    names: set[str] = set()
    all_done = threading.Semaphore(0)

    def job() -> None:
        names.add(threading.current_thread().name)
        all_done.release()

    for _ in range(100):
        pool.submit(job)
    for _ in range(100):
        assert all_done.acquire(timeout=5)
    assert names <= {f"parslab-test-{n}" for n in range(3)}


def test_a_pool_without_jobs_has_no_threads() -> None:
    before = threading.active_count()
    ThreadPool("test", 3).close(1.0)
    assert threading.active_count() == before


def test_jobs_that_wait_for_later_jobs_do_not_use_up_the_pool() -> None:
    """Bodies of join apps that waited for other joins filled the pool, and all of them waited for ever."""
    made = ThreadPool("test", 2, lends=True)
    ends = [threading.Event() for _ in range(21)]

    def job(number: int) -> None:
        pool = waits_in()
        assert pool is made
        if number:
            made.submit(partial(job, number - 1))
            with pool.waiting():
                assert ends[number - 1].wait(5)
        ends[number].set()

    made.submit(partial(job, 20))
    assert ends[20].wait(5)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("parslab-test-")]
    for thread in threads[2:]:
        thread.join(5)
    made.close(5.0)


def test_threads_in_the_place_of_waiting_jobs_end_when_these_go_on() -> None:
    made = ThreadPool("test", 1, lends=True)
    first_waits, second_done, all_done = threading.Event(), threading.Event(), threading.Semaphore(0)

    def first() -> None:
        with made.waiting():
            first_waits.set()
            assert second_done.wait(5)
        all_done.release()

    def second() -> None:
        second_done.set()
        all_done.release()

    made.submit(first)
    assert first_waits.wait(5)
    made.submit(second)
    for _ in range(2):
        assert all_done.acquire(timeout=5)
    names: set[str] = set()

    def later() -> None:
        names.add(threading.current_thread().name)
        all_done.release()

    for _ in range(20):
        made.submit(later)
        assert all_done.acquire(timeout=5)
    made.close(5.0)
    assert names <= {"parslab-test-0", "parslab-test-1"}


def test_a_thread_of_another_pool_lends_nothing(pool: ThreadPool) -> None:
    found: list[Lender | None] = []
    done = threading.Event()

    def job() -> None:
        found.append(waits_in())
        done.set()

    pool.submit(job)
    assert done.wait(5)
    assert found == [None]
    assert waits_in() is None


def test_short_jobs_share_one_thread_of_a_patient_pool() -> None:
    """Ten threads shared one interpreter lock, and a burst of short bodies took twice the time of one thread."""
    made = ThreadPool("test", 10, patience=60.0)
    names: set[str] = set()
    all_done = threading.Semaphore(0)

    def job() -> None:
        names.add(threading.current_thread().name)
        all_done.release()

    for _ in range(100):
        made.submit(job)
    for _ in range(100):
        assert all_done.acquire(timeout=5)
    made.close(5.0)
    assert names == {"parslab-test-0"}


def test_jobs_behind_long_ones_get_threads_of_a_patient_pool() -> None:
    made = ThreadPool("test", 10, patience=0.001)
    together, passed = threading.Barrier(10), threading.Semaphore(0)
    for _ in range(10):
        made.submit(partial(meet, together, passed))
    for _ in range(10):
        assert passed.acquire(timeout=5)
    made.close(5.0)


def test_no_job_is_stuck_while_threads_of_a_patient_pool_end() -> None:
    """A thread that ends because it finds no job must not leave a new job to a thread that is occupied."""
    made = ThreadPool("test", 3, patience=0.0001)
    for _ in range(200):
        go_on, done = threading.Event(), threading.Semaphore(0)

        def long(go_on: threading.Event = go_on, done: threading.Semaphore = done) -> None:
            assert go_on.wait(5)
            done.release()

        made.submit(long)
        made.submit(done.release)
        assert done.acquire(timeout=5)  # the second job, while the first one occupies a thread
        made.submit(go_on.set)
        assert done.acquire(timeout=5)
    made.close(5.0)


class _SlowEvent(threading.Event):
    """An event whose ``set`` returns only when the thread that waits for it has cleared it again."""

    def __init__(self) -> None:
        super().__init__()
        self._cleared = threading.Event()

    def set(self) -> None:
        self._cleared.clear()
        super().set()
        self._cleared.wait(2.0)  # not for ever: nobody clears the event of a pool that is closed

    def clear(self) -> None:
        super().clear()
        self._cleared.set()


def test_the_watcher_of_a_patient_pool_finds_the_job_for_which_it_woke(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher could look into the queue before the job was there, and slept although a long job was in front."""
    made = ThreadPool("test", 3, patience=0.001)
    monkeypatch.setattr(made, "_jobs_queued", _SlowEvent())
    begun, go_on, done = threading.Event(), threading.Event(), threading.Semaphore(0)

    def long() -> None:
        begun.set()
        assert go_on.wait(10)

    made.submit(long)
    assert begun.wait(5)
    made.submit(done.release)
    assert done.acquire(timeout=5)
    go_on.set()
    made.close(5.0)


def test_a_job_that_waits_is_replaced_at_once_in_a_patient_pool() -> None:
    made = ThreadPool("test", 1, lends=True, patience=60.0)
    second_done, all_done = threading.Event(), threading.Semaphore(0)

    def first() -> None:
        with made.waiting():
            assert second_done.wait(5)
        all_done.release()

    def second() -> None:
        second_done.set()
        all_done.release()

    for job in (first, second):
        made.submit(job)
    for _ in range(2):
        assert all_done.acquire(timeout=5)
    made.close(5.0)
