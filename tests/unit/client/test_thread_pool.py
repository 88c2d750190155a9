"""A thread pool starts threads only when they are needed, and never too few of them."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from parslab.client.thread_pool import ThreadPool

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
