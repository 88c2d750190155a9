"""Workers import from the folders that the client adds to its `sys.path` after `load()`."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from parslab import python_app
from parslab.errors import DeserializationError
from tests.process.blocks import blocks_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.sandbox import Sandbox


@pytest.fixture(params=["llex", "block"])
def run(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Any]:
    with sandbox.load() if request.param == "llex" else blocks_run(sandbox, workers=1) as dfk:
        yield dfk


@pytest.fixture
def lib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module, below the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "added_later.py").write_text("def double(x): return 2 * x\n")
    yield folder
    sys.modules.pop("added_later", None)


def imports_inside(x: int) -> Any:
    import added_later  # type: ignore[import-not-found]

    return added_later.double(x)


@pytest.mark.usefixtures("run")
def test_workers_follow_the_path_of_the_client(lib: Path) -> None:
    """They raised ModuleNotFoundError."""
    inside = python_app(imports_inside)
    error = inside(1).exception()
    assert type(error) is ModuleNotFoundError
    sys.path.insert(0, "lib")
    module = importlib.import_module("added_later")
    assert inside(3).result(30) == 6
    assert python_app(module.double)(4).result(30) == 8


@pytest.mark.usefixtures("run")
def test_a_folder_that_workers_do_not_see_is_named(lib: Path) -> None:
    sys.path.insert(0, "lib")
    module = importlib.import_module("added_later")
    (lib / "added_later.py").unlink()
    lib.rmdir()
    error = python_app(module.double)(4).exception(30)
    assert isinstance(error, DeserializationError)
    assert str(error).startswith(
        "app double cannot be unpickled here: ModuleNotFoundError: No module named 'added_later' "
        f"(the notebook also imports from {lib}, which host "
    )
    assert type(error.__cause__) is ModuleNotFoundError
