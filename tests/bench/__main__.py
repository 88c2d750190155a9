"""The command ``python -m tests.bench``: measures parslab beside its floors, prints a table, writes JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from tests.bench.plan import FULL, MEASURES, QUICK, ROOT, Bench, Figures, scratch
from tests.bench.report import lines, table

PACKAGES = ("parslab", "pyzmq", "msgspec", "cloudpickle", "joblib", "loky")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)}; none: all")
    parser.add_argument("--runs", type=int, default=None, help="runs whose median is shown (3; 1 with --quick)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure of every run there; -: print it")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work, are bounds far away?")
    parser.add_argument("--floors", action="store_true", help="measure the floors only, without parslab")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a bound is missed")
    asked = parser.parse_args()
    if unknown := set(asked.measures) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))} (of {', '.join(MEASURES)})")
    if not asked.floors and find_spec("parslab") is None:
        parser.error("parslab is not installed here: set PYTHONPATH=python, or measure --floors only")
    return asked


def commit() -> str:
    """The commit that is checked out, with a plus where files differ from it; empty outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": psutil.cpu_count(),
        "load": os.getloadavg(),
        "versions": versions,
    }


def main() -> int:
    """Measure, print, and say by the exit status whether all bounds held."""
    asked = arguments()
    measures = asked.measures or list(MEASURES)
    host = machine()
    count = asked.runs or (1 if asked.quick else 3)
    runs: list[Figures] = []
    sources: dict[str, str] = {}
    with scratch() as folder:
        for run in range(count):

            def say(text: str, run: int = run) -> None:
                print(f"run {run + 1} of {count}: {text}", file=sys.stderr, flush=True)

            bench = Bench(QUICK if asked.quick else FULL, not asked.floors, folder, say)
            figures: Figures = {}
            for measure in measures:
                found = MEASURES[measure](bench, run)
                sources |= dict.fromkeys(found, measure)
                figures |= found
            runs.append(figures)
    rows = lines(runs)
    report = {
        "machine": host,
        "quick": asked.quick,
        "rows": [line.as_json() for line in rows],
        "runs": runs,
        "sources": sources,
    }
    if asked.json is None or str(asked.json) != "-":
        print(f"Python {host['python']}, {host['cores']} cores, {host['platform']}, medians of {count} runs\n")
        print(table(rows))
    if asked.json is not None:
        text = json.dumps(report, indent=1)
        if str(asked.json) == "-":
            print(text)
        else:
            asked.json.write_text(text + "\n")
    return int(asked.check and any(line.ok is False for line in rows))


if __name__ == "__main__":
    sys.exit(main())
