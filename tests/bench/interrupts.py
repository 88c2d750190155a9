"""The command ``python -m tests.bench.interrupts``: interrupts at random moments all over a run of 50,000 tasks.

A script calls apps, waits for them in every way there is, and interrupts itself by real SIGINTs. No process of the run
may end, no task may be lost and none may run twice. The tests run a small one (``tests/process/test_interrupts.py``).
"""

from __future__ import annotations

import argparse

from tests.process.house import House
from tests.process.random_interrupts import interrupt_at_random


def main() -> None:
    """Run it and print what it cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.interrupts", description=__doc__)
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--interrupts", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with House().lived_in() as house:
        told = interrupt_at_random(house, asked.tasks, asked.interrupts, asked.seed, patience=asked.tasks / 50)
    bad = {what: told[what] for what in ("died", "lost", "twice", "wrong") if told[what]}
    print(
        f"{told['tasks']} tasks in {told['seconds']:.0f} s under {told['hits']} interrupts (and {told['swallowed']} "
        f"that Python could not raise), waited for in {sum(told['ways'].values())} places: "
        + (f"WRONG: {bad}" if bad else f"all {told['processes']} processes live, no task is lost, none ran twice.")
    )
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
