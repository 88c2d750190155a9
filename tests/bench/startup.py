"""How long a user waits after typing ``python``: until parslab is imported, until the first result is there.

Measured from outside, in wall time from the start of the process.  Compiled modules are cached in a folder of the
benchmark, as an installed package has them; the first, unmeasured start fills it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PROGRAMS", "measure", "start"]

PROGRAMS = {
    "python": "print()",
    "import": "import parslab; print()",
    "names": "from parslab import Config, LowLatencyExecutor, dfk, load, python_app; print()",
    "pool": """
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    pool = ProcessPoolExecutor()
    pool.submit(int).result()
    print()
    pool.shutdown()
""",
    "first": """
import parslab
parslab.load()
@parslab.python_app
def hello():
    return "hello"
assert hello().result() == "hello"
print()
parslab.dfk().cleanup()
""",
}
"""What is started; each prints a line when it is where it should be."""

NEED_PARSLAB = ("import", "names", "first")


def start(program: str, environment: dict[str, str], folder: Path) -> float:
    """Seconds until a new Python has run ``program`` to its first line of output."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=folder) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - begun
    if process.returncode:
        message = f"a start-up program ended with exit status {process.returncode}:\n{program}"
        raise RuntimeError(message)
    return seconds


def measure(starts: int, with_parslab: bool, environment: dict[str, str], folder: Path) -> dict[str, float]:
    """The median of so many starts of each program, in turns."""
    environment = {k: v for k, v in environment.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "pycache")
    names = [name for name in PROGRAMS if with_parslab or name not in NEED_PARSLAB]
    for name in names:
        start(PROGRAMS[name], environment, folder)
    rounds = [{name: start(PROGRAMS[name], environment, folder) for name in names} for _ in range(starts)]
    found = {name: statistics.median(r[name] for r in rounds) for name in names}
    for name in {"import", "names"} & set(names):
        found[f"{name}_minus_python"] = statistics.median(r[name] - r["python"] for r in rounds)
    return found
