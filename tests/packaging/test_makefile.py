"""The Makefile's sentences for machines that cannot do what is asked."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make in a checkout without .venv."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=checkout, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def old_python(tmp_path: Path) -> Path:
    """Return a program that answers as a Python that is too old."""
    program = tmp_path / "python3"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return program


def test_an_old_python_is_refused_in_one_sentence(checkout: Path, old_python: Path) -> None:
    done = make(checkout, f"PYTHON={old_python}", ".venv/.made")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("parslab needs Python 3.10 or newer")
    assert not (checkout / ".venv").exists()


def test_help_names_every_target_of_the_readme(checkout: Path) -> None:
    done = make(checkout)
    assert done.returncode == 0
    for target in ("demo", "lab", "test", "lint", "bench", "build", "clean"):
        assert f"make {target} " in done.stdout
