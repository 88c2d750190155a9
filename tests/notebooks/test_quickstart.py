"""The quickstart runs from top to bottom in a real kernel, by the script of `make demo`, and finds a good model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return what the demo printed and the folder of its results."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "notebooks/run.py", "notebooks/01-quickstart.ipynb", "--to", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout, folder


def test_both_searches_read_the_held_out_digits(demo: tuple[str, Path]) -> None:
    printed, _ = demo
    found = [float(number) for number in re.findall(r"accuracy on held-out digits: (\d\.\d+)", printed)]
    assert len(found) == 2
    assert min(found) >= 0.97


def test_the_failing_fit_shows_its_traceback(demo: tuple[str, Path]) -> None:
    printed, _ = demo
    assert "InvalidParameterError" in printed
    assert "model.fit(images, labels)" in printed


def test_notebook_and_page_are_left(demo: tuple[str, Path]) -> None:
    printed, folder = demo
    executed, page = folder / "01-quickstart.ipynb", folder / "01-quickstart.html"
    assert str(executed) in printed
    assert str(page) in printed
    counts = [cell["execution_count"] for cell in nbformat.read(executed, as_version=4).cells if "outputs" in cell]
    assert counts == list(range(1, len(counts) + 1))
    # The plot is inside the page and nothing is fetched from elsewhere.
    text = page.read_text(encoding="utf-8")
    assert "Bokeh" in text
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"https?:", text)
