"""The paper's elasticity study (section 5.4): ``python -m tests.bench.elasticity`` writes a table and a plot.

Four stages of sleeping tasks, 20 wide, 1, 20 wide, 1, on blocks of five workers, at most four: once with four blocks
from the beginning to the end, once with blocks that follow the work.  The clock starts when the first blocks are there,
the same number in both.  The paper's tasks take 100 s and 50 s, here a tenth of that.  Utilization is the time of tasks
over the time of workers.  A block's workers count until its manager has left, from the moment when the run knew that
its job runs: with Slurm that is about when its manager came, so its last second of starting is not in the figure.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import parslab
from parslab import Config, HighThroughputExecutor, SlurmProvider
from parslab.providers import LocalProvider
from tests.bench.apps import sleep, wait_until
from tests.bench.steps import Steps, html, svg

if TYPE_CHECKING:
    from parslab.providers.base import Provider

WORKERS, BLOCKS = 5, 4
WIDE, LONG, SHORT = 20, 100.0, 50.0
"""The paper's stages: so many tasks of so many seconds, then a single one."""
GAIN, COST = 1.23, 1.10
"""What the paper gained in utilization (68.15 % to 84.28 %) and paid in makespan (301 s to 331 s), as bounds."""


@dataclass(frozen=True)
class Study:
    """One run of the four stages."""

    place: str
    elastic: bool
    makespan: float
    utilization: float
    tasks: float
    """Seconds of all tasks together, and of all workers."""
    workers: float
    blocks: int
    steps: Steps


def provider(place: str, init_blocks: int) -> Provider:
    """Where blocks come from."""
    if place == "local":
        return LocalProvider(init_blocks=init_blocks, max_blocks=BLOCKS)
    # All virtual nodes of a test bed share a few cores, and sleeping tasks need none.
    return SlurmProvider(
        init_blocks=init_blocks, max_blocks=BLOCKS, walltime=600, exclusive=False, cores_per_node=1, worker_init=""
    )


def studied(place: str, first: int, scale: float, idle: float, folder: Path) -> Study:
    """Run the stages once; elastic with ``first`` blocks to begin with, or with all of them all the time (0)."""
    elastic, blocks = bool(first), first or BLOCKS
    executor = HighThroughputExecutor(
        label="study",
        provider=provider(place, blocks),
        max_workers_per_node=WORKERS,
        cores_per_worker=0.1,
    )
    strategy = "htex_auto_scale" if elastic else "none"
    config = Config(executors=[executor], strategy=strategy, max_idletime=idle, run_dir=str(folder))
    with parslab.load(config) as dfk:
        run_dir = Path(dfk.run_dir)
        assemble(WORKERS * blocks)
        began = time.time()
        for count, seconds in ((WIDE, LONG), (1, SHORT)) * 2:
            for future in [sleep(seconds * scale) for _ in range(count)]:
                future.result()
        ended = time.time()
    return measured(place, elastic, run_dir, began, ended)


def assemble(workers: int) -> None:
    """Wait until so many workers run at the same time: the clock starts when the first blocks are there."""
    for _ in range(40):
        when = time.time() + 3.0
        begun = [future.result() for future in [wait_until(when) for _ in range(workers)]]
        if max(begun) < when:
            return
    sys.exit(f"{workers} workers did not come within two minutes")


def rows(run_dir: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask the database of a run."""
    base = sqlite3.connect(f"file:{run_dir / 'monitoring.db'}?mode=ro", uri=True)
    try:
        return base.execute(query).fetchall()
    finally:
        base.close()


def measured(place: str, elastic: bool, run_dir: Path, began: float, ended: float) -> Study:
    """What the database says of the time in which the stages ran."""
    found = rows(run_dir, "SELECT started, ended FROM task")
    tasks = [(start, min(end, ended)) for start, end in found if start >= began]
    lives = [
        (max(start, began), min(end, ended))
        for start, end in rows(run_dir, "SELECT b.started, m.since FROM manager m JOIN block b USING (executor, block)")
        if end > began
    ]
    expected = 2 * (WIDE + 1)
    assert len(tasks) == expected, f"{len(tasks)} tasks of {expected} are in {run_dir}"
    used = sum(end - start for start, end in tasks)
    paid = WORKERS * sum(end - start for start, end in lives)
    steps = Steps.of(
        workers=[(start - began, end - began, WORKERS) for start, end in lives],
        busy=[(start - began, end - began, 1) for start, end in tasks],
    )
    return Study(place, elastic, ended - began, used / paid, used, paid, len(lives), steps)


# --- what is written --------------------------------------------------------------------------------------------------


def table(studies: list[Study]) -> str:
    """Medians of all runs, beside the paper's."""
    lines = [
        f"{'':8}{'blocks':10}{'makespan':>10}{'utilization':>13}{'gain':>9}{'cost':>9}   runs",
        f"{'paper':8}{'fixed':10}{'301 s':>10}{'68.2 %':>13}",
        f"{'paper':8}{'elastic':10}{'331 s':>10}{'84.3 %':>13}{'+23.7 %':>9}{'+10.0 %':>9}",
    ]
    for place in dict.fromkeys(study.place for study in studies):
        for elastic in (False, True):
            makespan, utilization = medians(studies, place, elastic)
            line = f"{place:8}{'elastic' if elastic else 'fixed':10}{makespan:>8.1f} s{100 * utilization:>11.1f} %"
            if elastic:
                gain, cost = ratios(studies, place)
                line += f"{100 * gain - 100:>+7.1f} %{100 * cost - 100:>+7.1f} %"
                line += f"   {len([s for s in studies if s.place == place and s.elastic])}"
            lines.append(line)
    return "\n".join(lines)


def medians(studies: list[Study], place: str, elastic: bool) -> tuple[float, float]:
    """Makespan and utilization."""
    chosen = [study for study in studies if study.place == place and study.elastic is elastic]
    return statistics.median(s.makespan for s in chosen), statistics.median(s.utilization for s in chosen)


def ratios(studies: list[Study], place: str) -> tuple[float, float]:
    """What elasticity gains in utilization, and costs in makespan: medians of the ratios within each run."""
    chosen = [study for study in studies if study.place == place]
    pairs = list(
        zip((s for s in chosen if not s.elastic), (s for s in chosen if s.elastic), strict=True),
    )
    gain = statistics.median(elastic.utilization / fixed.utilization for fixed, elastic in pairs)
    cost = statistics.median(elastic.makespan / fixed.makespan for fixed, elastic in pairs)
    return gain, cost


def write(studies: list[Study], out: Path) -> None:
    """The table, the figures of every run, and the plots of the last."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "elasticity.txt").write_text(table(studies) + "\n")
    (out / "elasticity.json").write_text(json.dumps([asdict(study) for study in studies], indent=1) + "\n")
    last = {(study.place, study.elastic): study for study in studies}
    charts = [
        (
            f"{study.place}, {'elastic' if study.elastic else 'fixed'}: {study.makespan:.1f} s, "
            f"{100 * study.utilization:.0f} % of the workers' time used",
            study.steps,
        )
        for study in last.values()
    ]
    (out / "elasticity.svg").write_text(svg(charts))
    if find_spec("bokeh"):
        (out / "elasticity.html").write_text(html("Elasticity", charts))


def missed(studies: list[Study]) -> list[str]:
    """The bounds that did not hold."""
    found = []
    for place in dict.fromkeys(study.place for study in studies):
        gain, cost = ratios(studies, place)
        if gain < GAIN:
            found.append(f"{place}: utilization grew by a factor of {gain:.3f}, not {GAIN}")
        if cost > COST:
            found.append(f"{place}: the makespan grew by a factor of {cost:.3f}, more than {COST}")
    return found


def slurm_answers() -> bool:
    """Whether there is a Slurm to be used."""
    if not shutil.which("sinfo"):
        return False
    return subprocess.run(["sinfo", "-h"], capture_output=True, check=False, timeout=30).returncode == 0


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.elasticity", description=__doc__)
    parser.add_argument("places", nargs="*", default=[], help="local and slurm; none: local, and Slurm if it answers")
    parser.add_argument("--runs", type=int, default=3, help="runs whose median is shown (3)")
    parser.add_argument("--scale", type=float, default=0.1, help="of the paper's task lengths, 100 s and 50 s (0.1)")
    parser.add_argument("--idle", type=float, default=None, help="max_idletime; by default 3 s, scaled like the tasks")
    parser.add_argument("--first", type=int, default=BLOCKS, help="blocks that the elastic run begins with (4)")
    parser.add_argument("--out", type=Path, default=Path("elasticity"), help="folder for table and plots")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a bound is missed")
    asked = parser.parse_args()
    if unknown := set(asked.places) - {"local", "slurm"}:
        parser.error(f"no such place: {', '.join(unknown)} (of local, slurm)")
    if "slurm" in asked.places and not slurm_answers():
        parser.error("no Slurm answers here: set PATH and SLURM_CONF so that sinfo does")
    return asked


def main() -> int:
    """Run the study, write it, and say by the exit status whether the bounds held."""
    asked = arguments()
    places = asked.places or (["local", "slurm"] if slurm_answers() else ["local"])
    idle = 3.0 * asked.scale if asked.idle is None else asked.idle
    studies: list[Study] = []
    # Nodes must see the run's folder; the one we are in is the best guess for that.
    with tempfile.TemporaryDirectory(dir=".", prefix=".elasticity-") as folder:
        for run in range(asked.runs):
            for place in places:
                for first in (0, asked.first):
                    print(f"run {run + 1}: {place}, {'elastic' if first else 'fixed'}", file=sys.stderr, flush=True)
                    studies.append(studied(place, first, asked.scale, idle, Path(folder).resolve()))
    write(studies, asked.out)
    print(table(studies))
    for text in missed(studies):
        print(f"missed: {text}")
    print(f"written to {asked.out.resolve()}", file=sys.stderr)
    return 1 if asked.check and missed(studies) else 0


if __name__ == "__main__":
    sys.exit(main())
