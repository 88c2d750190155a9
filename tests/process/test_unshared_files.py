"""An executor that says that its nodes share no disk, whose block is on this host all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import File, bash_app, python_app
from tests.process.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import DataFlowKernel


@pytest.fixture
def dfk() -> Iterator[DataFlowKernel]:
    with Sandbox().entered() as sandbox:
        executor = parslab.HighThroughputExecutor(max_workers_per_node=1, shared_filesystem=False)
        with parslab.load(parslab.Config(executors=[executor], run_dir=sandbox.runs)) as dfk:
            yield dfk
        parslab.clear()


@python_app
def where(file: Any) -> str:
    import os

    found: str = os.path.realpath(file)
    return found


@bash_app
def copy(inputs: Any = (), outputs: Any = ()) -> str:
    return f"cat {inputs[0]} > {outputs[0]}"


def test_a_file_that_the_node_sees_is_used_in_place(dfk: DataFlowKernel, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("here")
    assert where(File(data)).result(60) == str(data.resolve())


def test_an_output_is_at_its_path_when_the_task_is_done(dfk: DataFlowKernel, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("here")
    target = tmp_path / "new" / "copy.txt"
    done = copy(inputs=[File(tmp_path / "data.txt")], outputs=[File(target)])
    assert done.outputs[0].result(60).filepath == str(target)
    assert target.read_text() == "here"
    assert [path.name for path in target.parent.iterdir()] == ["copy.txt"]


def test_the_lifetime_of_a_cached_file_is_one_of_three() -> None:
    with pytest.raises(parslab.errors.ConfigurationError, match="cache must be 'task', 'run' or 'forever', not 'long'"):
        File("data.txt", cache="long")  # type: ignore[arg-type]
