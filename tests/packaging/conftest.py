"""A copy of the tracked files, to build from: what is not committed must not be needed.

The panel that `make` has built is copied along where there is one, because building it again would only take time;
without it the builds below make it themselves, as a user's `pip install` from a checkout does.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.packaging.tree import PANEL, ROOT, tracked_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tracked files and, if it is built, the panel."""
    target = tmp_path_factory.mktemp("checkout") / "parslab"
    for path in tracked_files():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target / path)
    if (ROOT / PANEL / "static" / "style.js").exists():
        shutil.copytree(ROOT / PANEL, target / PANEL)
    return target
