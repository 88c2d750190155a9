"""The clock of a run does not follow the wall clock, and nothing that waits reads the wall clock."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from parslab import clock
from parslab.remote.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(clock.__file__).parent
ROOMS = ("client", "dataflow", "monitoring", "remote", "scaling", "wire")
WALL = {
    "client/reattach.py": "compares with the time of a file, and with when a process was born",
    "dataflow/main.py": "other processes compare the start of the run with their wall clock",
    "remote/manager/main.py": "the scheduler of the cluster says by the wall clock when a job ends",
    "remote/software/cache.py": "compares with the times of files, which other processes have set",
    "remote/worker/children.py": "without /proc only the wall clock tells when a process was born",
}
"""Files of these rooms that may read the wall clock, and why."""


@pytest.fixture
def anchored() -> Iterator[None]:
    before = clock.anchor()
    yield
    clock.set_anchor(before)


def reads_the_wall_clock(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="time"), attr="time"):
            return True
        case ast.ImportFrom(module="time", names=names):
            return any(alias.name == "time" for alias in names)
    return False


def readers_of_the_wall_clock() -> set[str]:
    return {
        str(path.relative_to(PACKAGE))
        for room in ROOMS
        for path in (PACKAGE / room).rglob("*.py")
        if any(map(reads_the_wall_clock, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }


def test_only_what_compares_with_files_or_other_programs_reads_the_wall_clock() -> None:
    assert readers_of_the_wall_clock() == set(WALL)


@pytest.mark.parametrize("jump", [120.0, -3600.0, -400 * 86400.0])
def test_a_jump_of_the_wall_clock_is_not_seen(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    wall = time.time
    before = clock.steady_time()
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    assert 0 <= clock.steady_time() - before < 5
    assert clock.to_wall_time(before) == pytest.approx(before + jump, abs=5)


def test_a_process_goes_by_the_clock_of_the_one_that_started_it(anchored: None) -> None:
    clock.set_anchor(clock.anchor() - 3600)
    assert clock.to_wall_time(clock.steady_time()) - clock.steady_time() == pytest.approx(3600, abs=5)
    clock.set_anchor()
    assert clock.steady_time() == pytest.approx(time.time(), abs=5)


def test_the_loop_waits_an_hour_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []

    def select(timeout: float | None = None) -> list[object]:
        waits.append(timeout)
        loop.running = not timeout
        return []

    loop = Loop(lambda: clock.steady_time() + 400 * 86400, lambda error: None)
    monkeypatch.setattr(loop, "_poll", select)
    loop.run()
    loop.close()
    assert max(wait for wait in waits if wait is not None) == 3600
