"""How often a manager looks for a DataFlowKernel that it lost."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from parslab.remote.manager.meeting import meet, pauses
from parslab.wire.invitations import RunOver, file_name, withdraw, write

if TYPE_CHECKING:
    from pathlib import Path


def first(count: int, seed: int = 1) -> list[float]:
    return list(itertools.islice(pauses(random.Random(seed)), count))


def test_soon_at_first_and_rarely_later() -> None:
    assert sum(first(4)) < 1.0
    assert all(2.0 < pause < 4.0 for pause in first(30)[15:])


def test_a_thousand_managers_do_not_come_at_the_same_moment() -> None:
    assert len({round(sum(first(10, seed)), 3) for seed in range(100)}) > 90


def test_nobody_is_looked_for_when_the_run_is_over(tmp_path: Path) -> None:
    path = tmp_path / file_name("htex")
    write(path, {"addresses": []})
    withdraw(tmp_path, "it has ended")
    with pytest.raises(RunOver, match="it has ended"):
        meet(str(path), "0", 60.0)


def test_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        meet(str(tmp_path / "gone" / file_name("htex")), "0", 60.0)
