"""The tutorial on blocks, on a real Slurm: nothing but its provider is changed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.schedulers.conftest import Scheduler

ROOT = Path(__file__).parents[2]
HERE = "LocalProvider(init_blocks=0, min_blocks=0, max_blocks=2)"
ONE_CORE = "exclusive=False, cores_per_node=1, mem_per_node=1"
THERE = f"parslab.SlurmProvider(init_blocks=0, max_blocks=2, walltime=600, {ONE_CORE})"


def test_the_same_notebook_finds_the_same_answer(slurm: Scheduler, tmp_path: Path) -> None:
    text = (ROOT / "notebooks/02-cluster.ipynb").read_text(encoding="utf-8")
    assert text.count(HERE) == 1
    moved = tmp_path / "cluster.ipynb"
    moved.write_text(text.replace(HERE, THERE), encoding="utf-8")
    command = [sys.executable, "notebooks/run.py", str(moved), "--to", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "the curves meet at 2.2" in done.stdout
    # Jobs of Slurm are numbers; those of this host are not.
    assert len(re.findall(r"magnets/\d +scaled in +\d+ +0", done.stdout)) >= 2
    left = subprocess.run(["squeue", "--noheader", "--format=%j"], capture_output=True, text=True, check=True).stdout
    assert "magnets" not in left
