"""The command ``python -m tests.bench.failover``: the DataFlowKernel is killed half way through 10,000 tasks.

Measures how soon a call made afterwards has its result, how many tasks were executed twice, and that all results are.
What workers had been sent ahead is what they may execute twice: they go on for the milliseconds that a process takes to
die.  On low-latency workers, or on a block of this host (``--blocks``).
"""

from __future__ import annotations

import argparse
import collections
import os
import signal
import tempfile
import time
from pathlib import Path

import parslab
from tests.process.blocks import executor
from tests.process.sandbox import Sandbox, until


@parslab.python_app
def work(log: str, number: int) -> int:
    """Leaves a line for each execution."""
    import os

    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, b"%d\n" % number)
    os.close(file)
    return number


def main() -> None:
    """Run it and print what it cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.failover", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--blocks", action="store_true", help="on a block of this host")
    asked = parser.parse_args()
    count = asked.tasks
    kind = executor(1, workers=2) if asked.blocks else parslab.LowLatencyExecutor(workers=2)
    with tempfile.TemporaryDirectory() as folder, Sandbox().entered() as sandbox:
        log = str(Path(folder) / "log")
        with parslab.load(parslab.Config(executors=[kind], run_dir=sandbox.runs)) as dfk:
            futures = [work(log, number) for number in range(count)]
            until(futures[count // 2].done, 120)
            had = {number for number, future in enumerate(futures) if future.done()}
            killed = time.monotonic()
            os.kill(dfk.pid, signal.SIGKILL)
            work(log, count).result(60)
            first = time.monotonic() - killed
            assert [future.result(60) for future in futures] == list(range(count))
            rest = time.monotonic() - killed
        runs = collections.Counter(map(int, Path(log).read_text().split()))
    twice = {number for number, times in runs.items() if times > 1}
    print(
        f"{count:,} tasks, killed when {len(had):,} had ended: a call made then had its result after {first:.1f} s, "
        f"all were there after {rest:.1f} s; {len(twice)} tasks were executed twice, {len(had & twice)} of those that "
        f"had ended, at most {max(runs.values())} times."
    )


if __name__ == "__main__":
    main()
