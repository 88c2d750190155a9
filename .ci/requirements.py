"""Print what `pyproject.toml` asks for, one requirement a line, so that nothing is listed twice.

Called by the Makefile with the groups it wants: `build` (the build backend), `core` (what parslab itself needs) and
the names of extras.  With the list at hand the third-party packages are installed while the panel is being built;
parslab itself follows with `pip install --no-deps`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10 has no TOML reader of its own, but its pip carries one.
    from pip._vendor import tomli as tomllib

OWN = re.compile(r"parslab\[(?P<extras>[^]]+)\]")


def requirements(project: dict[str, Any], build: list[str], group: str) -> set[str]:
    """Return the foreign requirements of a group; extras that name other extras of ours are followed."""
    if group == "build":
        return set(build)
    if group == "core":
        return set(project["dependencies"])
    found: set[str] = set()
    for requirement in project["optional-dependencies"][group]:
        own = OWN.fullmatch(requirement)
        if own is None:
            found.add(requirement)
            continue
        for extra in own["extras"].split(","):
            found |= requirements(project, build, extra.strip())
    return found


def main(groups: list[str]) -> None:
    """Print the requirements of all groups together."""
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)
    lines: set[str] = set()
    for group in groups:
        lines |= requirements(settings["project"], settings["build-system"]["requires"], group)
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main(sys.argv[1:])
