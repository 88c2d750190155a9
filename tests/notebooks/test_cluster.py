"""The tutorial on blocks runs from top to bottom in a real kernel: blocks come, are commanded, break, and go."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import parslab

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "notebooks/02-cluster.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what each cell put out, by the name of the cell."""
    folder = tmp_path_factory.mktemp("cluster")
    command = [sys.executable, "notebooks/run.py", str(SOURCE), "--to", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    executed = nbformat.read(folder / SOURCE.name, as_version=4)
    return {cell["id"]: "\n".join(map(text_of, cell.get("outputs", ()))) for cell in executed.cells}


def text_of(output: dict[str, dict[str, str]]) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain") or "")


def test_the_magnet_melts_where_it_should(cells: dict[str, str]) -> None:
    found = re.search(r"meet at (\d\.\d+); Onsager's answer is 2\.269", cells["plot"])
    assert found is not None
    assert float(found[1]) == pytest.approx(2.269, abs=0.03)


def test_blocks_come_with_the_work_and_go_after_it(cells: dict[str, str]) -> None:
    assert "No blocks." in cells["ext"]
    assert re.search(r"magnets/\d  running", cells["look"])
    assert "Blocks of magnets: " in cells["look"]
    over = [line for line in cells["shrink"].splitlines() if line.startswith("magnets/")]
    assert len(over) >= 2
    assert all("scaled in" in line for line in over)


def test_blocks_are_commanded(cells: dict[str, str]) -> None:
    assert re.search(r"magnets (goes from 2 to 1 block|stays at 1 block)", cells["scale"])
    assert "goes from 1 to 2 blocks" in cells["scale-again"]


def test_tasks_go_wrong_as_the_text_says(cells: dict[str, str]) -> None:
    assert re.match(r"AppTimeout: Task \d+ ran longer than its limit of 2 s", cells["limit"])
    assert re.match(r"worker \d+ had more luck", cells["retry"])


def test_a_block_that_cannot_start_says_why(cells: dict[str, str]) -> None:
    assert "BadStateException: " in cells["bad"]
    assert "3 blocks in a row could not start" in cells["bad"]
    assert "activate-simulations: command not found. Correct that command in worker_init" in cells["bad"]


def test_what_it_only_shows_is_right_too() -> None:
    """The last section is text: its ready configuration exists, and its Python makes a Config."""
    from parslab.sites import names

    (text,) = [cell.source for cell in nbformat.read(SOURCE, as_version=4).cells if cell.id == "cluster-text"]
    copied = re.search(r"parslab config copy (\w+)", text)
    shown = re.search(r"```python\n(.*?)dfk = parslab\.load\(magnets\)\n```", text, re.DOTALL)
    assert copied is not None
    assert shown is not None
    assert copied[1] in names()
    known = {"Config": parslab.Config, "HighThroughputExecutor": parslab.HighThroughputExecutor}
    exec(shown[1], known)
    assert isinstance(known["magnets"], parslab.Config)
