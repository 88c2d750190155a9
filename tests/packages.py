"""Tiny packages for tests of environments: wheels, and source packages whose build can be watched and held.

Nothing here needs a network: ``local_index`` makes uv find only these packages.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

__all__ = ["local_index", "source_package", "wheel"]

_BACKEND = """
import os, time
HERE = {folder!r}
def build_wheel(folder, config_settings=None, metadata_directory=None):
    open(os.path.join(HERE, "building-%d" % os.getpid()), "w").close()
    while not os.path.exists(os.path.join(HERE, "go")):
        time.sleep(0.01)
    if {broken!r}:
        raise SystemExit({broken!r})
    import shutil
    name = {wheel!r}
    shutil.copy(os.path.join(HERE, "built", name), os.path.join(folder, name))
    return name
"""


def local_index(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Have uv use the packages of a folder, and caches beside it; return the folder."""
    packages = folder / "packages"
    packages.mkdir()
    for name, value in {
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(packages),
        "UV_CACHE_DIR": str(folder / "uv"),
        "UV_NO_CONFIG": "1",
        "PARSLAB_ENVIRONMENTS": str(folder / "environments"),
    }.items():
        monkeypatch.setenv(name, value)
    return packages


def wheel(folder: Path, name: str, version: str, requires: str = "") -> Path:
    """Make a wheel of a module with ``__version__``, and a command of the same name that prints it."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}/__init__.py": f"__version__ = {version!r}\ndef main():\n    print(__version__)\n",
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-version = {name}:main\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text)}\n")
    files[f"{info}/RECORD"] = "".join(lines) + f"{info}/RECORD,,\n"
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made


def source_package(folder: Path, name: str, version: str, broken: str = "") -> Path:
    """Make a source package, and return the folder that watches its build.

    The build makes a file ``building-PID`` there, and waits for a file ``go``.  It fails with the text ``broken``.
    """
    place = folder.parent / f"build-{name}"
    (place / "built").mkdir(parents=True)
    built = wheel(place / "built", name, version)
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\n',
        "backend.py": _BACKEND.format(folder=str(place), broken=broken, wheel=built.name),
    }
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return place
