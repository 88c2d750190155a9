"""Programs in the style of Parsl's documentation run unchanged, and with only their imports changed.

Each program of `tests/compat/programs` checks what it observes, and prints `done` at its end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in this folder; warnings are shown, and the program that hangs is ended by the test's own limit."""
    environment = {**os.environ, "PYTHONWARNINGS": "default", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_for_parsl_runs_without_any_change(program: Path) -> None:
    done = run("-m", "parslab.parsl", str(program))
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["done"]), done.stdout + done.stderr


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_for_parsl_runs_with_its_imports_changed(program: Path) -> None:
    text = re.sub(r"^import parsl$", "import parslab as parsl", program.read_text(encoding="utf-8"), flags=re.MULTILINE)
    changed = Path(program.name)
    text = re.sub(r"^(\s*)import parsl\.", r"\1import parslab.", text, flags=re.MULTILINE)
    changed.write_text(re.sub(r"^(\s*)from parsl\b", r"\1from parslab", text, flags=re.MULTILINE), encoding="utf-8")
    done = run(str(changed))
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["done"]), done.stdout + done.stderr
