"""`parslab migrate`: reads programs and notebooks that were written for Parsl, and prints what differs for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.parsl.migrate import Report, examine, python_of_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["migrate"]

_SKIPPED = {".git", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints", "site-packages"}


def migrate(place: str) -> int:
    """Print what differs for the programs in a file or folder; returns 1 if one of them cannot run."""
    if not os.path.exists(place):
        raise ConfigurationError(f"There is no file or folder {place}.")
    missing = used = 0
    for path in _programs(Path(place)):
        try:
            report = _examined(path)
        except (SyntaxError, ValueError, OSError) as error:
            print(f"{path}: cannot be read as Python ({error})")
            continue
        if not report.uses and not report.findings:
            continue
        used += 1
        missing += any(finding.missing for finding in report.findings)
        _print(path, report)
    if not used:
        print(f"Nothing in {place} uses Parsl.")
        return 0
    print(
        "Change `import parsl` to `import parslab as parsl` and `from parsl` to `from parslab`, or run the program as "
        "it is: python -m parslab.parsl PROGRAM."
    )
    return 1 if missing else 0


def _programs(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(set(folders) - _SKIPPED)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith((".py", ".ipynb")))


def _examined(path: Path) -> Report:
    text = path.read_text(encoding="utf-8")
    return examine(python_of_notebook(text) if path.suffix == ".ipynb" else text)


def _print(path: Path, report: Report) -> None:
    names = "name" if len(report.uses) == 1 else "names"
    print(f"{path}: uses {len(report.uses)} {names} of Parsl", end="")
    print("; nothing differs." if not report.findings else ":")
    for finding in report.findings:
        print(f"  line {finding.line}: {'MISSING: ' if finding.missing else ''}{finding.text}")
