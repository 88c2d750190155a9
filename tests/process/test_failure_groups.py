"""Failed tasks in a real run: they are grouped, retried as a group, and copied as a cell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import parslab
from parslab import Config, LowLatencyExecutor, python_app
from parslab.errors import ParslabError
from parslab.records import panel

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.client.handle.dfk import DataFlowKernel

LIMIT = 3


@python_app
def fragile(number: int, gate: str) -> int:
    if not os.path.exists(gate):
        raise ValueError(f"number {number} is bad")
    return number + LIMIT


@python_app
def missing(key: str) -> str:
    empty: dict[str, str] = {}
    return empty[key]


@python_app
def add(*parts: int) -> int:
    return sum(parts)


def groups(dfk: DataFlowKernel) -> dict[str, panel.FailureGroupRow]:
    answer = dfk.commands.ask(panel.SnapshotRequest(subscribe=False))
    assert isinstance(answer, panel.Snapshot)
    return {group.kind: group for group in answer.failures}


def command(dfk: DataFlowKernel, request: panel.Request) -> str:
    answer = dfk.commands.ask(request, None)
    if isinstance(answer, panel.ErrorReply):
        raise ParslabError(answer.text)
    assert isinstance(answer, panel.CommandReply)
    return answer.text


def config(folder: Path) -> Config:
    return Config(executors=[LowLatencyExecutor(workers=2)], run_dir=str(folder / "runs"))


def test_a_group_is_listed_and_retried(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with parslab.load(config(tmp_path)) as dfk:
        bad = [fragile(number, str(gate)) for number in range(5)]
        victim, lost = add(bad[0]), missing("x")
        for future in [*bad, victim, lost]:
            assert future.exception() is not None
        found = groups(dfk)
        assert {kind: group.tasks for kind, group in found.items()} == {"ValueError": 5, "KeyError": 1}
        group = found["ValueError"]
        assert (group.message, group.apps) == ("number N is bad", {"fragile": 5})
        assert len(group.hosts) == 1
        assert group.first is not None
        page = dfk.commands.ask(panel.TaskPageRequest("", failures=group.number, sort="id", descending=False))
        assert isinstance(page, panel.TaskPage)
        assert [row.id for row in page.rows] == [future.task_id for future in bad]
        gate.touch()
        text = command(dfk, panel.RetryRequest("", failures=group.number))
        assert text.startswith("6 tasks run again, 1 of them because")
        assert [future.result() for future in bad] == [3, 4, 5, 6, 7]
        assert victim.result() == 3
        assert list(groups(dfk)) == ["KeyError"]
        text = command(dfk, panel.RetryRequest("", failures=group.number))
        assert text == "No task of this group has failed any more."


def test_a_call_is_copied_as_a_cell(tmp_path: Path) -> None:
    with parslab.load(config(tmp_path)) as dfk:
        futures = [fragile(add(1, 1), str(tmp_path / "gate")), missing("y" * 200_000)]
        small, large = futures
        assert all(future.exception() is not None for future in futures)
        text = command(dfk, panel.ReproducerRequest("", small.task_id))
        assert text.startswith("# Task ")
        assert "failed: ValueError: number 2 is bad" in text
        assert "fragile.func(2, " in text
        assert "arguments are too large" in command(dfk, panel.ReproducerRequest("", large.task_id))
        with pytest.raises(ParslabError, match="does not hold task 99"):
            command(dfk, panel.ReproducerRequest("", 99))
