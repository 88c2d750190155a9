"""Temporary files of nodes that share no disk, and what a lost node costs: exactly the calls whose files are needed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import File, python_app
from parslab.errors import ConfigurationError, StagingError
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, is_gone, patience, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import AppFuture, DataFlowKernel

PATIENCE = 60.0


def node(label: str) -> Any:
    """An executor with a manager of its own, which counts as a node without our disk."""
    return parslab.HighThroughputExecutor(
        label=label, max_workers_per_node=1, cores_per_worker=0.1, shared_filesystem=False, heartbeat_period=0.5
    )


@pytest.fixture
def dfk(monkeypatch: pytest.MonkeyPatch) -> Iterator[DataFlowKernel]:
    with Sandbox().entered() as sandbox:
        monkeypatch.setenv("PARSLAB_FILE_CACHE", str(sandbox.runs / "caches"))
        with parslab.load(
            parslab.Config(executors=[node("writers"), node("readers")], run_dir=sandbox.runs, app_cache=False)
        ) as dfk:
            yield dfk
        parslab.clear()


@python_app(executors=["writers"])
def write(number: int, ran: Path, inputs: Any = (), outputs: Any = ()) -> tuple[int, str]:
    """Write a number, or the sum of the inputs and the number; return the manager of the node, and its folder."""
    import os

    with open(ran, "a") as file:
        file.write(f"{number}\n")
    total = number
    for path in inputs:
        with open(path) as file:
            total += int(file.read())
    with open(outputs[0], "w") as file:
        file.write(str(total))
    return os.getppid(), os.environ["PARSLAB_FILES_FOLDER"]


@python_app(executors=["readers"])
def read(inputs: Any = ()) -> list[int]:
    found = []
    for path in inputs:
        with open(path) as file:
            found.append(int(file.read()))
    return found


def runs(ran: Path) -> list[int]:
    return sorted(int(line) for line in ran.read_text().split())


def result(future: AppFuture) -> Any:
    return future.result(PATIENCE * patience())


def lose(future: AppFuture) -> None:
    """Kill the manager of the node that ran a task, with all files of the node."""
    manager, folder = result(future)
    # First the files: the next manager of this host must not find them.
    shutil.rmtree(Path(folder).parent / "run")
    os.kill(manager, signal.SIGKILL)
    until(lambda: is_gone(manager), 30, "the manager is gone")


def test_a_lost_node_with_100_files_costs_exactly_the_calls_whose_files_are_needed(
    dfk: DataFlowKernel, tmp_path: Path
) -> None:
    ran, folder = tmp_path / "ran", tmp_path / "files"
    made = [write(n, ran, outputs=[File(folder / str(n), temporary=True)]) for n in range(100)]
    assert [result(future)[0] for future in made] == [result(made[0])[0]] * 100
    assert not folder.exists()
    lose(made[0])
    needed = [*range(0, 60, 3), 99]
    gathered = read(inputs=[made[n].outputs[0] for n in needed])
    single = [read(inputs=[made[n].outputs[0]]) for n in needed]
    assert result(gathered) == needed
    assert [result(future) for future in single] == [[n] for n in needed]
    assert runs(ran) == sorted([*range(100), *needed])
    for n in needed:
        text = dfk.explain(made[n])
        assert f"(write) ran, and once again as a recovery task: {folder / str(n)} was lost with host" in text
    assert "recovery" not in dfk.explain(made[1])
    # Each one is a task of the panel, too.
    until(lambda: picture(dfk).overview.apps["write"] == {"exec_done": 100 + len(needed)})


def test_lost_inputs_are_made_again_and_nothing_else(dfk: DataFlowKernel, tmp_path: Path) -> None:
    """A chain of three files, and one beside it that nobody needs."""
    ran = tmp_path / "ran"

    def made(number: int, *inputs: Any) -> AppFuture:
        return write(number, ran, inputs=inputs, outputs=[File(tmp_path / f"chain-{number}", temporary=True)])

    first = made(1)
    second = made(2, first.outputs[0])
    beside = made(10, first.outputs[0])
    third = made(4, second.outputs[0])
    assert [result(future)[0] for future in (beside, third)] == [result(first)[0]] * 2
    lose(first)
    assert result(read(inputs=[third.outputs[0]])) == [7]
    assert runs(ran) == [1, 1, 2, 2, 4, 4, 10]


def test_a_call_that_fails_when_it_runs_again_is_the_reason_of_the_error(dfk: DataFlowKernel, tmp_path: Path) -> None:
    @python_app(executors=["writers"])
    def once(mark: Path, outputs: Any = ()) -> tuple[int, str]:
        import os

        mark.touch(exist_ok=False)
        with open(outputs[0], "w") as file:
            file.write("1")
        return os.getppid(), os.environ["PARSLAB_FILES_FOLDER"]

    made = once(tmp_path / "mark", outputs=[File(tmp_path / "once.txt", temporary=True)])
    lose(made)
    error = read(inputs=[made.outputs[0]]).exception(PATIENCE * patience())
    assert isinstance(error, StagingError)
    assert error.url == str(tmp_path / "once.txt")
    assert error.host
    assert error.path.endswith("once.txt")
    assert f"task {made.task_id} (once), which wrote it, ran again and failed: FileExistsError" in error.reason


def test_a_temporary_file_has_no_url() -> None:
    with pytest.raises(ConfigurationError, match="a temporary file needs a path"):
        File("https://example.org/a.csv", temporary=True)
