"""The Binder image, built the way repo2docker builds it from `binder/`, in an environment that borrows nothing.

That is: `pip install -r requirements.txt`, then `postBuild` in the checkout, then `start` in front of the command
that opens JupyterLab.  The base image and its user are not imitated.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
TOKEN = "open-sesame"
PAGE_SETTINGS = re.compile(r"<script id=\"jupyter-config-data\"[^>]*>(.*?)</script>", re.DOTALL)
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/")


def environment(place: Path) -> dict[str, str]:
    """Return the variables of a shell in the image: its environment first, a home of its own."""
    own = ("PYTHON", "JUPYTER", "HATCH", "VIRTUAL_ENV")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return variables | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(place), "IPYTHONDIR": str(place)}


@pytest.fixture(scope="module")
def image(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the environment after the build."""
    place = tmp_path_factory.mktemp("binder") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    for step in (["python", "-m", "pip", "install", "-r", "binder/requirements.txt"], ["bash", "binder/postBuild"]):
        variables = environment(place)
        done = subprocess.run(step, cwd=checkout, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return place


def wait_for(address: str, server: subprocess.Popen[str]) -> None:
    """Wait until the server listens: it names its address a little earlier."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}api").close()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def address(image: Path, checkout: Path) -> Iterator[str]:
    """Start JupyterLab as the image does and return its address."""
    words = ["jupyter", "lab", "--no-browser", "--ip=127.0.0.1", "--port=0", f"--IdentityProvider.token={TOKEN}"]
    words += ["--allow-root"] if os.getuid() == 0 else []
    with subprocess.Popen(
        ["bash", "binder/start", *words],
        cwd=checkout,
        env=environment(image),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        found = next(filter(None, map(ADDRESS.search, server.stderr)), None)
        try:
            assert found, "the server ended without an address"
            wait_for(found[0], server)
            yield found[0]
        finally:
            server.terminate()
            server.stderr.read()


def test_it_opens_the_quickstart_with_the_panel(address: str) -> None:
    with urllib.request.urlopen(f"{address}?token={TOKEN}") as page:
        assert page.url.partition("?")[0].endswith("/lab/tree/notebooks/01-quickstart.ipynb")
        settings = json.loads(PAGE_SETTINGS.findall(page.read().decode())[0])
    assert "parslab" in [extension["name"] for extension in settings["federated_extensions"]]


def test_every_tutorial_is_offered(address: str) -> None:
    with urllib.request.urlopen(f"{address}api/contents/notebooks?token={TOKEN}") as listing:
        names = {entry["name"] for entry in json.loads(listing.read())["content"]}
    assert {"01-quickstart.ipynb", "02-cluster.ipynb"} <= names


def test_the_tutorials_have_all_they_import(image: Path, checkout: Path) -> None:
    words = ["python", "-c", "import parslab, numpy, sklearn, bokeh, nbconvert; print(parslab.__file__)"]
    done = subprocess.run(words, cwd=checkout, env=environment(image), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(image) in done.stdout
