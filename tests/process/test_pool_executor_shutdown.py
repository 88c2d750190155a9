"""The end of ``ParslPoolExecutor``: what its shutdown cancels, waits for and leaves alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab.parsl.api.pool_executor import ParslPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT = 60.0


def square(x: int) -> int:
    return x * x


def opened(gate: str, begun: str) -> str:
    Path(begun).touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return "opened"


@pytest.fixture
def config(tmp_path: Path) -> parslab.Config:
    return parslab.Config(executors=[parslab.LowLatencyExecutor(workers=1)], run_dir=str(tmp_path / "runinfo"))


@pytest.fixture
def narrow(config: parslab.Config) -> Iterator[ParslPoolExecutor]:
    """An executor with a run of its own, whose only worker runs one call at a time."""
    with ParslPoolExecutor(config=config) as made:
        yield made


def until_begun(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_a_closed_iterator_cancels_its_calls(narrow: ParslPoolExecutor, tmp_path: Path) -> None:
    gate, begun, late = tmp_path / "gate", tmp_path / "begun", tmp_path / "late"
    results: Any = narrow.map(opened, [str(gate)] * 2, [str(begun), str(late)], timeout=0.0)
    with pytest.raises(TimeoutError):
        next(results)
    gate.touch()
    assert narrow.submit(square, 2).result(_LIMIT) == 4
    assert not late.exists()


def test_shutdown_cancels_what_has_not_begun(narrow: ParslPoolExecutor, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    running = narrow.submit(opened, str(gate), str(begun))
    until_begun(begun)
    while not running.running():
        time.sleep(0.01)
    waiting = [narrow.submit(square, running_and) for running_and in [running] * 3]
    narrow.shutdown(wait=False, cancel_futures=True)
    gate.touch()
    assert running.result(_LIMIT) == "opened"
    assert [future.cancelled() for future in waiting] == [True] * 3


def test_shutdown_leaves_tasks_of_others_alone(config: parslab.Config, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with parslab.load(config) as kernel:
        other = parslab.python_app(opened)(str(gate), str(begun))
        until_begun(begun)
        pool = ParslPoolExecutor(dfk=kernel)
        mine = pool.submit(square, other)  # it waits for the other task, so it has not begun
        pool.shutdown(wait=False, cancel_futures=True)
        assert mine.cancelled()
        gate.touch()
        assert other.result(_LIMIT) == "opened"


def test_shutdown_without_a_wait_ends_the_run_later(config: parslab.Config, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    pool = ParslPoolExecutor(config=config)
    kernel = parslab.dfk()
    future = pool.submit(opened, str(gate), str(begun))
    pool.shutdown(wait=False)
    gate.touch()
    assert future.result(_LIMIT) == "opened"
    pool.shutdown(wait=True)
    assert kernel.cleanup_called
