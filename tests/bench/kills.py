"""The command ``python -m tests.bench.kills``: 1,000 kills at random over a run of 20,000 tasks.

Workers, managers and whole blocks are killed all over the run; every task must end once, and nothing may be left.  With
``--everything`` it is a notebook's run, whose DataFlowKernel and kernel are killed, too (200 kills by default); a task
may be executed again only if what it ran on was killed.  It takes minutes, so the tests run small ones
(``tests/process/test_high_throughput_faults.py``, ``tests/process/test_random_failovers.py``).
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.process.blocks import block_leaders, blocks_run, managers, workers
from tests.process.random_failovers import RandomFailovers
from tests.process.random_kills import kill_at_random
from tests.process.sandbox import Sandbox, is_gone, until

if TYPE_CHECKING:
    from collections import Counter


def main() -> None:
    """Run it and print what it cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kills", description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--everything", action="store_true", help="a notebook's DataFlowKernel and kernel, too")
    asked = parser.parse_args()
    dice = random.Random(asked.seed)
    if asked.everything:
        everything(asked.tasks, asked.kills or 200, dice)
    else:
        parts(asked.tasks, asked.kills or 1000, asked.blocks, dice)


def parts(tasks: int, kills: int, blocks: int, dice: random.Random) -> None:
    """What runs tasks is killed."""
    with tempfile.TemporaryDirectory() as folder, Sandbox().entered() as sandbox:
        with blocks_run(sandbox, retries=kills, blocks=blocks) as dfk:
            report = kill_at_random(dfk, Path(folder) / "log", tasks, kills, dice)
            everybody = [dfk.pid, *block_leaders(dfk.pid), *managers(dfk.pid), *workers(dfk.pid)]
        for pid in everybody:
            until(is_gone(pid), 5)
    tell(tasks, report.seconds, report.kinds, report.again)


def everything(tasks: int, kills: int, dice: random.Random) -> None:
    """The DataFlowKernel and the kernel of a notebook are killed, too."""
    with Sandbox().checked_at_end() as sandbox:
        failovers = RandomFailovers(sandbox, tasks, kills, dice)
        failovers.run()
    tell(tasks, failovers.took, failovers.kinds, failovers.again)


def tell(tasks: int, seconds: float, kinds: Counter[str], again: int) -> None:
    """In a sentence."""
    killed = ", ".join(f"{kind} x {count}" for kind, count in kinds.most_common())
    print(
        f"{tasks} tasks in {seconds:.0f} s under {kinds.total()} kills ({killed}): each ended once, "
        f"{again} were begun again, nothing is left."
    )


if __name__ == "__main__":
    main()
