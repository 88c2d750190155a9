"""CONTRIBUTING.md, DESIGN.md and the decisions name files: each exists, and so do the modules of the drawing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "parslab"
DESIGN = ROOT / "python" / "DESIGN.md"
DOCUMENTS = [ROOT / "CONTRIBUTING.md", DESIGN, *sorted((ROOT / "python" / "decisions").glob("*.md"))]

FROM = (ROOT, ROOT / "python", PACKAGE, ROOT / "labextension" / "src")
"""Folders in which a path of a document may begin."""
NOT_OURS = ("/tmp", "dist/", "runinfo/", ".venv/", "../", "utils.py", "parslab_config.py")
"""How paths begin of files that are made when something runs, that a site writes, or that must not be there."""
PATH = re.compile(r"`([\w./-]*\w(?:/|\.py|\.ts|\.tsx|\.css|\.mjs)|[\w.-]+(?:/[\w.-]+)+)`")
SOURCES = {".py", ".ts", ".tsx", ".css", ".mjs"}


def paths(text: str) -> list[str]:
    """What a document writes as a path: with a slash, or with the ending of a source file."""
    return [found for found in PATH.findall(text) if not found.startswith(NOT_OURS)]


def exists(path: str) -> bool:
    """Whether a path leads to a file, a folder or a module; a name without a folder may be anywhere in the sources."""
    if "/" not in path:
        return any(True for folder in ("python", "labextension/src", "tests") for _ in (ROOT / folder).rglob(path))
    return any((folder / path).exists() or (folder / f"{path}.py").exists() for folder in FROM)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_path_in_a_document_exists(document: Path) -> None:
    assert [path for path in paths(document.read_text(encoding="utf-8")) if not exists(path)] == []


def test_paths_are_found() -> None:
    text = "`a/b.py` and `c/`, `d/e`, `f.tsx`, not `Config(x)`, `g.parslab`, `dist/`, `load()`, `h.md`, `/tmp`"
    assert paths(text) == ["a/b.py", "c/", "d/e", "f.tsx"]
    assert not exists("records/no_such_module.py")
    assert exists("records/states")


def drawn_modules(drawing: str) -> list[str]:
    """The modules that the drawing of packages names: ``folder/  one, two  -> what it imports``, or the next lines."""
    found, package, here = [], "", ""
    for line in re.sub(r"\(.*?\)|->.*|;.*", "", drawing).splitlines():
        folder, _, names = line.partition("/ ") if "/ " in line else ("", "", line)
        if folder and not line.startswith(" "):
            package = here = folder
        elif folder:
            here = f"{package}/{folder.strip()}"
        found += [f"{here}/{name.strip()}" for name in names.split(",") if name.strip()]
    return found


def test_the_drawing_of_packages_names_modules_that_exist() -> None:
    text = DESIGN.read_text(encoding="utf-8")
    _, _, rest = text.partition("Within a package arrows point down")
    drawing = rest.split("```")[1]
    modules = drawn_modules(drawing)
    assert len(modules) > 100
    assert [name for name in modules if not (PACKAGE / f"{name}.py").exists()] == []
