"""Runs the tests in two pytest processes side by side, and adds their results up.

Half of the time the tests wait: for a scheduler, a browser, a timer.  So two lanes on two cores need little more than
half of the time.  What measures time runs alone and first: a test that fails there says something about the code.

Each lane has its own sessions, temporary folders and run folders, and a test knows only processes that it started.
``make test`` calls this; with words for pytest, it runs one pytest as ever.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALONE = ("tests/bench", "tests/lab/test_reload_while_busy.py")
LANE = ("tests/process", "tests/notebooks")
"""About half of all time; every other folder below ``tests`` is in the other lane."""

_REPORT = re.compile(r"=+ (ERRORS|FAILURES|warnings summary|slowest|short test summary info)\b")
"""The first line of what pytest prints when its last test has ended."""
_KINDS = ("failed", "passed", "skipped", "error")
_printing = threading.Lock()


class Lane:
    """One pytest process.

    Parameters
    ----------
    name
        Of the lane, for its temporary files.
    folders
        Of its tests.
    scratch
        A folder for its result.
    """

    def __init__(self, name: str, folders: list[str], scratch: Path) -> None:
        self.folders = folders
        self.status = -1
        self.process: subprocess.Popen[str] | None = None
        self.output: list[str] = []
        self._result = scratch / f"{name}.xml"
        self._command = [
            *(sys.executable, "-u", "-m", "pytest", *folders, f"--junitxml={self._result}"),
            *(f"--ignore={one}" for one in ALONE if one not in folders),
            *("-o", f"cache_dir=.pytest_cache/{name}"),  # each lane replaces the list of failed tests in its own
        ]

    def run(self) -> None:
        """Run the tests; the lines of both lanes are printed as they come, and each report in one piece."""
        report: list[str] = []
        with subprocess.Popen(
            self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as self.process:
            assert self.process.stdout is not None
            for text in self.process.stdout:
                line = text.rstrip("\n")
                self.output.append(line)
                if report or _REPORT.match(line):
                    report.append(line)
                else:
                    _print(line)
        self.status = self.process.returncode
        _print(*report)

    def stop(self) -> None:
        """End it, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def counts(self) -> Counter[str]:
        """How many tests passed, failed, were skipped or had an error."""
        found = Counter[str]()
        try:
            suites = ElementTree.parse(self._result).getroot().iter("testsuite")
        except (OSError, ElementTree.ParseError):
            return Counter(error=1)  # it was killed, or could not begin
        for suite in suites:
            number = {kind: int(suite.get(kind, 0)) for kind in ("tests", "failures", "errors", "skipped")}
            found["failed"] += number["failures"]
            found["error"] += number["errors"]
            found["skipped"] += number["skipped"]
            found["passed"] += number["tests"] - number["failures"] - number["errors"] - number["skipped"]
        return found

    def failures(self) -> list[str]:
        """The lines of its short summary that name a test."""
        return [line for line in self.output if line.startswith(("FAILED ", "ERROR "))]


def _print(*lines: str) -> None:
    with _printing:
        for line in lines:
            print(line, flush=True)


def folders() -> list[str]:
    """The folders below ``tests`` that hold tests."""
    found = {path.relative_to(ROOT).parts[1] for path in (ROOT / "tests").rglob("test_*.py")}
    return [f"tests/{name}" for name in sorted(found)]


def summary(lanes: list[Lane], seconds: float) -> str:
    """The last line: ``==== 1 failed, 4250 passed, 3 skipped in 701.12s (00:11:41) ====``."""
    total = sum([lane.counts() for lane in lanes], Counter[str]())
    words = ", ".join(f"{total[kind]} {kind}" for kind in _KINDS if total[kind]) or "no tests ran"
    clock = time.strftime("%H:%M:%S", time.gmtime(seconds))
    return f" {words} in {seconds:.2f}s ({clock}) ".center(80, "=")


def main() -> int:
    """Run every test.

    Returns
    -------
    int
        Exit status: 0 when all of them passed.
    """
    began = time.monotonic()
    rest = [folder for folder in folders() if folder not in ALONE + LANE]
    with tempfile.TemporaryDirectory(prefix="parslab-lanes-") as scratch:
        alone = Lane("alone", list(ALONE), Path(scratch))
        pair = [Lane("first", list(LANE), Path(scratch)), Lane("second", rest, Path(scratch))]
        lanes = [alone, *pair]
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            alone.run()
            side_by_side(pair)
        finally:
            for lane in lanes:
                lane.stop()
        for lane in lanes:
            _print(*lane.failures())
        _print(summary(lanes, time.monotonic() - began))
        return int(any(lane.status for lane in lanes))


def side_by_side(lanes: list[Lane]) -> None:
    """Run lanes at the same time."""
    threads = [threading.Thread(target=lane.run) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
