"""The command ``python -m tests.bench.interrupts``: interrupts at random moments all over a run of 50,000 tasks.

A script calls apps, waits for them in every way there is, and interrupts itself by real SIGINTs. No process of the run
may end, no task may be lost and none may run twice. The tests run a small one (``tests/process/test_interrupts.py``).
"""

from __future__ import annotations

import argparse

from tests.process.random_interrupts import interrupt_at_random
from tests.process.sandbox import Sandbox


def main() -> None:
    """Run it and print what it cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.interrupts", description=__doc__)
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--interrupts", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with Sandbox().entered() as sandbox:
        result = interrupt_at_random(sandbox, asked.tasks, asked.interrupts, asked.seed, patience=asked.tasks / 50)
    bad = {what: result[what] for what in ("died", "lost", "twice", "wrong") if result[what]}
    print(
        f"{result['tasks']} tasks in {result['seconds']:.0f} s under {result['hits']} interrupts "
        f"(and {result['swallowed']} "
        f"that Python could not raise), waited for in {sum(result['ways'].values())} places: "
        + (f"WRONG: {bad}" if bad else f"all {result['processes']} processes live, no task is lost, none ran twice.")
    )
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
