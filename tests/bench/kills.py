"""The command ``python -m tests.bench.kills``: 1,000 kills at random over a run of 20,000 tasks.

Workers, managers and whole blocks are killed all over the run; every task must end once, and nothing may be left. It
takes minutes, so the tests run a small one (``tests/process/test_high_throughput_faults.py``).
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from tests.process.blocks import block_leaders, blocks_run, managers, workers
from tests.process.house import House, is_gone, until
from tests.process.storm import storm


def main() -> None:
    """Run it and print what it cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kills", description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    dice = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder, House().lived_in() as house:
        with blocks_run(house, retries=asked.kills, blocks=asked.blocks) as dfk:
            report = storm(dfk, Path(folder) / "log", asked.tasks, asked.kills, dice)
            everybody = [dfk.pid, *block_leaders(dfk.pid), *managers(dfk.pid), *workers(dfk.pid)]
        for pid in everybody:
            until(is_gone(pid), 5)
    killed = ", ".join(f"{count} {kind}s" for kind, count in report.kinds.most_common())
    print(
        f"{asked.tasks} tasks in {report.seconds:.0f} s under {report.kills} kills ({killed}): each ended once, "
        f"{report.again} were begun again, nothing is left."
    )


if __name__ == "__main__":
    main()
