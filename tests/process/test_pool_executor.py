"""``ParslPoolExecutor`` behaves as the standard library documents its executors."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.parsl.api.pool_executor import ParslPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import parslab

_LIMIT = 60.0


def square(x: int) -> int:
    return x * x


def fails_at(x: int, where: int) -> int:
    if x == where:
        raise LookupError(x)
    return x


def opened(gate: str, begun: str) -> str:
    Path(begun).touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return "opened"


@pytest.fixture
def pool(shared: parslab.DataFlowKernel) -> Iterator[ParslPoolExecutor]:
    """An executor on the run that the tests of this module share."""
    with ParslPoolExecutor(dfk=shared) as made:
        yield made


def test_calls(pool: ParslPoolExecutor) -> None:
    assert pool.submit(square, 3).result(_LIMIT) == 9
    assert pool.submit(pow, 2, exp=5).result(_LIMIT) == 32
    assert pool.submit(functools.partial(divmod, 7), 3).result(_LIMIT) == (2, 1)
    assert isinstance(pool.submit(fails_at, 1, 1).exception(_LIMIT), LookupError)


def test_objects_that_are_called_need_no_app_of_their_own(pool: ParslPoolExecutor) -> None:
    assert [pool.submit(functools.partial(square, n)).result(_LIMIT) for n in range(20)] == [n * n for n in range(20)]
    assert pool.app_count == 0


@pytest.mark.parametrize("chunksize", [1, 2, 3, 10])
def test_map_keeps_the_order(pool: ParslPoolExecutor, chunksize: int) -> None:
    assert list(pool.map(square, range(7), chunksize=chunksize)) == [n * n for n in range(7)]
    assert list(pool.map(pow, [2, 3, 4], [3, 2], chunksize=chunksize)) == [8, 9]
    assert list(pool.map(square, [], chunksize=chunksize)) == []


def test_a_chunk_is_one_task(pool: ParslPoolExecutor) -> None:
    before = pool.submit(square, 0)
    assert list(pool.map(square, range(10), chunksize=5))[-1] == 81
    assert pool.submit(square, 0).task_id - before.task_id == 3


def test_map_raises_where_the_call_failed(pool: ParslPoolExecutor) -> None:
    results = pool.map(fails_at, range(4), [2] * 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(LookupError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_has_a_timeout(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    results = pool.map(opened, [str(gate)], [str(begun)], timeout=0.2)
    with pytest.raises(TimeoutError):
        next(results)
    gate.touch()


def test_map_reads_only_as_far_as_its_buffer(pool: ParslPoolExecutor) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(6):
            read.append(n)
            yield n

    results = pool.map(square, numbers(), buffersize=2)
    assert read == [0, 1]
    assert next(results) == 0
    assert read == [0, 1, 2]
    assert list(results) == [1, 4, 9, 16, 25]


@pytest.mark.parametrize(
    ("option", "error"),
    [({"chunksize": 0}, ValueError), ({"buffersize": 0}, ValueError), ({"buffersize": 1.5}, TypeError)],
)
def test_map_refuses_impossible_numbers(
    pool: ParslPoolExecutor, option: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        pool.map(square, [1], **option)


def test_no_call_after_the_shutdown(pool: ParslPoolExecutor) -> None:
    future = pool.submit(square, 2)
    pool.shutdown()
    assert future.result(0) == 4
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        pool.submit(square, 2)
    with pytest.raises(RuntimeError):
        pool.map(square, [1])
    pool.shutdown()
