"""What is in the sdist and the wheel, and that both install where there is no node.

The environment that they are installed into borrows the third-party packages of the one that runs the tests;
`test_binder.py` installs into one that borrows nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.packaging.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
VERSION = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["version"]
SERVER = f"parslab-{VERSION}.data/data/etc/jupyter/jupyter_server_config.d/parslab.json"
SHARED = f"parslab-{VERSION}.data/data/share/jupyter/labextensions/parslab"


@pytest.fixture(scope="module")
def dist(checkout: Path) -> Path:
    """Return the folder with an sdist and the wheel that was built from it."""
    command = [sys.executable, "-m", "build", "--no-isolation", str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return checkout / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return dist / f"parslab-{VERSION}-py3-none-any.whl"


class Place:
    """A virtual environment whose PATH has no node, nor anything else but its own programs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        subprocess.run([sys.executable, "-m", "venv", str(root)], check=True)
        [site] = root.glob("lib/python*/site-packages")
        folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (site / "borrowed.pth").write_text("\n".join(folders) + "\n")

    def run(self, *words: str) -> str:
        """Run Python with these words and return what it printed."""
        own = ("PYTHON", "JUPYTER", "PIP", "HATCH")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        environment |= {"PATH": str(self.root / "bin"), "HOME": str(self.root)}
        done = subprocess.run(
            [str(self.root / "bin" / "python"), *words],
            cwd=self.root,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout + done.stderr


def test_the_wheel_carries_package_panel_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        package = json.loads(archive.read(f"{SHARED}/package.json"))
        metadata = archive.read(f"parslab-{VERSION}.dist-info/METADATA").decode()
    assert {"parslab/__init__.py", "parslab/_version.py", "parslab/errors.py", "parslab/py.typed"} <= names
    assert {f"{SHARED}/install.json", f"{SHARED}/static/style.js", SERVER} <= names
    assert f"{SHARED}/{package['jupyterlab']['_build']['load']}" in names
    assert package["version"] == VERSION
    assert f"parslab-{VERSION}.dist-info/licenses/LICENSE" in names
    # The panel lies where Jupyter looks for it, and not a second time inside the package.
    assert [name for name in names if name.startswith("parslab/labextension")] == []
    assert "Requires-Python: >=3.10" in metadata


def test_what_everyone_must_install_stays_short(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"parslab-{VERSION}.dist-info/METADATA").decode()
    needed = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)
    assert sorted(needed) == ["cloudpickle", "comm", "ipykernel", "msgspec", "psutil", "pyzmq", "traitlets"]


def test_the_sdist_carries_the_built_panel_and_its_sources(dist: Path) -> None:
    with tarfile.open(dist / f"parslab-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert "python/parslab/labextension/static/style.js" in names
    assert {"package.json", "package-lock.json", "labextension/src/index.ts", "README.md", "LICENSE"} <= names
    assert [name for name in names if name.startswith(("node_modules", ".venv", "labextension/lib"))] == []


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_installs_and_works_without_node(kind: str, dist: Path, wheel: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    file = wheel if kind == "wheel" else dist / f"parslab-{VERSION}.tar.gz"
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall"]
    place.run("-m", "pip", "install", *options, str(file))

    where = place.run("-c", "import parslab; print(parslab.__version__, parslab.__file__)")
    assert where.startswith(VERSION)
    assert str(place.root) in where
    extensions = place.run("-m", "jupyterlab.labextensions", "list")
    assert re.search(rf"parslab v{re.escape(VERSION)}.*enabled.*OK", extensions), extensions


def test_import_is_lazy(wheel: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    place.run("-m", "pip", "install", "--no-index", "--no-deps", "--force-reinstall", str(wheel))
    heavy = "{'IPython', 'ipykernel', 'traitlets', 'zmq', 'bokeh'}"
    assert place.run("-c", f"import parslab, sys; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"
