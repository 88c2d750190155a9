"""The command ``python -m tests.bench.storms``: storms of kills, each over a run of its own.

The tests run a few of them (``tests/process/test_storms.py``).
"""

from __future__ import annotations

import argparse
import random
import time
import traceback
from collections import Counter

from tests.process.random_storms import Storm
from tests.process.sandbox import Sandbox


def main() -> None:
    """Run them and print what they cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.storms", description=__doc__)
    parser.add_argument("--storms", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    began, failed = time.monotonic(), []
    kinds: Counter[str] = Counter()
    lost = again = 0
    longest = 0.0
    for seed in range(asked.seed, asked.seed + asked.storms):
        sandbox = Sandbox()
        storm = Storm(sandbox, random.Random(seed))
        try:
            with sandbox.checked_at_end():
                storm.run()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failed.append(seed)
            print(f"storm {seed} FAILED after {storm.kills}:")
            traceback.print_exc()
        kinds.update(kind for _, kind in storm.kills)
        lost += len(storm.lost)
        again += storm.again
        longest = max(longest, storm.longest_load)
        print(f"storm {seed}: {[kind for _, kind in storm.kills]}, {storm.took:.1f} s, {storm.again} again", flush=True)
    print(
        f"{asked.storms} storms in {time.monotonic() - began:.0f} s, {kinds.total()} kills ({dict(kinds)}): "
        f"{again} executions again, {lost} tasks without retries failed with their machine, the longest load() took "
        f"{longest:.1f} s; " + (f"FAILED: {failed}" if failed else "every promise was kept.")
    )
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
