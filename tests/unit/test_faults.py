"""`python/FAULTS.md` names tests: each must exist, under that name, in that file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"^- `(tests/\S+\.py)::(\S+)`$", re.MULTILINE)
PAGE = (ROOT / "python" / "FAULTS.md").read_text(encoding="utf-8")


def named_in(path: Path) -> set[str]:
    """The tests of a file, as `name` or `Class::name`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


@pytest.mark.parametrize(("file", "name"), NAMED.findall(PAGE))
def test_what_proves_a_fault_exists(file: str, name: str) -> None:
    path = ROOT / file
    assert path.exists(), f"there is no {file}"
    assert name in named_in(path)


def test_every_fault_names_its_proof() -> None:
    """From one bold line to the next there is at least one test, and every line of the list was understood."""
    unproved = [part.splitlines()[0] for part in PAGE.split("\n**")[1:] if not NAMED.search(part)]
    assert unproved == []
    assert len(NAMED.findall(PAGE)) == sum(line.startswith("- ") for line in PAGE.splitlines()) > 40


def test_every_fault_is_in_the_table_of_contents() -> None:
    head, *sections = re.split(r"(?m)^## ", PAGE)
    for section in sections:
        name, _, body = section.partition("\n")
        (line,) = [line for line in head.splitlines() if line.startswith(f"| [{name}](#")]
        anchor = re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-")
        faults = [" ".join(title.split()) for title in re.findall(r"(?m)^\*\*((?:.|\n)+?)\*\*", body)]
        assert line == f"| [{name}](#{anchor}) | {'; '.join(faults)} |"
    assert len(sections) == head.count("](#")
