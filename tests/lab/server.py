"""A Jupyter server for the tests: a port of its own, folders of its own, ended with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from parslab.version import version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 60.0
STOP = 15.0

OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--ServerApp.port=0",
    "--ServerApp.ip=127.0.0.1",
    "--IdentityProvider.token=",
    "--ServerApp.password=",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.expose_app_in_browser=True",
)
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}


@dataclass(frozen=True)
class Server:
    """A running server: where it is and the folder that it shows."""

    url: str
    folder: Path
    log: Path
    pid: int


def check_extension() -> None:
    """Fail with a sentence if the extension is not where JupyterLab looks, or is another version than the package."""
    from pathlib import Path

    place = Path(sys.prefix) / "share/jupyter/labextensions/parslab/package.json"
    if not place.exists():
        pytest.fail(f"The panel is not installed in {sys.prefix}: run `make setup` first.", pytrace=False)
    found = json.loads(place.read_text(encoding="utf-8"))["version"]
    if found != version():
        pytest.fail(f"The installed panel is {found}, parslab is {version()}: run `make setup` first.", pytrace=False)


@contextlib.contextmanager
def served(root: Path, base_url: str = "/", *options: str) -> Iterator[Server]:
    """Run a server with its folders below `root`, which should be short: kernels make sockets there."""
    check_extension()
    folder = root / "notebooks"
    folder.mkdir(parents=True)
    places = {name: root / name.lower() for name in ("CONFIG", "DATA", "RUNTIME")}
    settings = places["CONFIG"] / "lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS), encoding="utf-8")
    environment = {
        **os.environ,
        **{f"JUPYTER_{name}_DIR": str(place) for name, place in places.items()},
        "IPYTHONDIR": str(root / "ipython"),
        "PARSLAB_LINGER": "0",  # a test is over when its kernels are
    }
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS]
    command += [f"--ServerApp.base_url={base_url}", f"--ServerApp.root_dir={folder}", *options]
    log = root / "server.log"
    with open(log, "wb") as out:
        popen = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder)
    try:
        info = _told(popen, places["RUNTIME"] / f"jpserver-{popen.pid}.json", log)
        yield Server(str(info["url"]), folder, log, popen.pid)
    finally:
        _stop(popen, log)


def _told(popen: subprocess.Popen[bytes], path: Path, log: Path) -> dict[str, Any]:
    """What the server says of itself once it listens."""
    deadline = time.monotonic() + START
    while popen.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, json.JSONDecodeError):
            return dict(json.loads(path.read_text(encoding="utf-8")))
        time.sleep(0.05)
    pytest.fail(f"The Jupyter server has not started:\n{log.read_text(encoding='utf-8')[-4000:]}", pytrace=False)


def _stop(popen: subprocess.Popen[bytes], log: Path) -> None:
    """End the server; it ends its kernels itself."""
    popen.send_signal(signal.SIGTERM)
    try:
        popen.wait(STOP)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
        pytest.fail(f"The Jupyter server does not end:\n{log.read_text(encoding='utf-8')[-4000:]}", pytrace=False)
