"""MPI tasks that share a block of eight slots: how many ranks are alive at once, and how busy the slots are.

Called by ``tests.bench.cases`` in a fresh process; arguments and figures as there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["shared_block"]

SLOTS, RANKS = 8, 2
_MPIEXEC = """#!/bin/sh
[ "$1" = --version ] && { echo "HYDRA build details:"; exit; }
ranks=$2; shift 6
while [ "$ranks" -gt 0 ]; do "$@" & ranks=$((ranks - 1)); done
wait
"""
_RANK = """#!/bin/sh
began=$(date +%s.%N)
sleep "$2"
echo "$began $(date +%s.%N)" > "$1/rank-$$"
"""


def shared_block(tasks: int, seconds: float) -> dict[str, float]:
    """Tasks of two ranks each that wait for so many seconds, four at a time in a block of eight slots.

    The launcher is a script that starts the ranks as processes, so the figures are those of parslab alone.
    """
    import parslab

    folder = Path(tempfile.mkdtemp(prefix="mpi-"))
    for name, text in (("mpiexec", _MPIEXEC), ("rank", _RANK)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    os.environ["PARSLAB_CORES"] = str(SLOTS)
    config = parslab.Config(executors=[parslab.MPIExecutor()], run_dir=folder / "runs")
    try:
        with parslab.load(config):
            app = _app(folder, seconds)
            for future in [app() for _ in range(SLOTS // RANKS)]:
                future.result()
            for path in folder.glob("rank-*"):
                path.unlink()
            begun = time.perf_counter()
            for future in [app() for _ in range(tasks)]:
                future.result()
            took = time.perf_counter() - begun
        parslab.clear()
        spans = [tuple(map(float, path.read_text().split())) for path in folder.glob("rank-*")]
        busy = sum(ended - began for began, ended in spans)
        assert len(spans) == tasks * RANKS, len(spans)
        return {"most": float(_most(spans)), "busy": busy / (took * SLOTS), "took": took}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _app(folder: Path, seconds: float) -> Any:
    from parslab import bash_app

    command = f"$PARSL_MPI_PREFIX {folder}/rank {folder} {seconds}"

    @bash_app(resource_specification={"num_ranks": RANKS})
    def ranks(text: str = command) -> str:
        return text

    return ranks


def _most(spans: list[tuple[float, ...]]) -> int:
    """Return the largest number of spans that contain one moment."""
    steps = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most
