"""What must not be in any tracked file, and what must be said in one place only."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.packaging.tree import ROOT, tracked_files

if TYPE_CHECKING:
    from pathlib import Path

# In pieces, so that this file does not find itself.
REGISTRIES = ["registry." + "npmjs", "registry." + "yarnpkg", "py" + "pi.org", "python" + "hosted", "deb." + "debian"]
# In examples the user is Ada, and a disk may be local.
HOMES = r"(?:home|Users)/(?!ada\b|local\b)\w+"
PATTERNS = {
    "registry host": re.compile("|".join(map(re.escape, REGISTRIES))),
    "machine path": re.compile(rf"(?<![\w.])/(?:root|work|{HOMES})/\w|" + re.escape(f"{ROOT}/")),
}


def text_of(path: Path) -> str:
    """Return a tracked file's text; pictures have none."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("kind", PATTERNS)
def test_no_tracked_file_names_a_machine(kind: str) -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if PATTERNS[kind].search(line)
    ]
    assert found == []


def test_the_lock_file_has_hashes_and_no_addresses() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name and not entry.get("link")}
    assert packages
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if "integrity" not in entry and not entry.get("inBundle")] == []


def test_ci_runs_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
