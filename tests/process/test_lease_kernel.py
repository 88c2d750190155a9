"""Real kernels, as Jupyter's server starts them: restarted, killed, shut down; and notebooks run by other programs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import psutil
import pytest
from jupyter_core.utils import run_sync

from tests.process.house import is_gone, until
from tests.process.test_lease import end_lease, is_away, known, must_end
from tests.process.test_magics import Notebook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.house import House

CELLS = """
import os, time
from parslab import python_app

@python_app
def plus(x): return x + 1

@python_app
def held(gate):
    while not os.path.exists(gate): time.sleep(0.01)
    return "through"
"""


@pytest.fixture(scope="module", autouse=True)
def loop() -> None:
    """Jupyter makes an event loop at its first use and keeps it: no test shall be taken for who left it behind."""
    run_sync(asyncio.sleep)(0)


@pytest.fixture
def book(house: House) -> Iterator[Notebook]:
    """A notebook whose kernel has a run with two workers, four results and a task that waits for the gate."""
    notebook = Notebook(house.root, JPY_SESSION_NAME=str(house.root / "fit.ipynb"))
    try:
        assert not notebook.run("%load_ext parslab\n" + CELLS).error
        options = f"executors=[LowLatencyExecutor(workers=2)], run_dir={str(house.runs)!r}"
        said = notebook.run(f"import parslab\n%parsl load Config({options})").stdout
        assert said.startswith("Run 000-")
        begin = (
            f"done = [plus(n) for n in range(4)]; [f.result() for f in done]; held = held({str(house.root / 'gate')!r})"
        )
        assert not notebook.run(begin).error
        yield notebook
    finally:
        notebook.stop()


def run_of(notebook: Notebook) -> dict[str, Any]:
    """Name and process of the loaded run."""
    answer = notebook.run("d = parslab.dfk(); print(d.run, d.pid, d.linger)")
    run, pid, linger = answer.stdout.split()
    return {"run": run, "dfk": int(pid), "linger": float(linger)}


@pytest.mark.parametrize("now", [False, True], ids=["shut down", "killed"])
def test_a_restarted_kernel_goes_on_with_its_run(house: House, book: Notebook, now: bool) -> None:
    first = run_of(book)
    assert first["linger"] == 600
    book.restart(now)
    lease = is_away(house, first["run"])
    assert lease["notebook"] == str(house.root / "fit.ipynb")
    book.run("%load_ext parslab\nimport parslab\n" + CELLS)
    said = book.run("%parsl load").stdout
    assert said.startswith(f"Run {first['run']} of this notebook is still here: 4 results waiting, 1 running")
    assert said.count("\n") == 1
    assert run_of(book) == first
    assert book.run("plus(1).result()").result == "2"
    assert f"Run {first['run']} on LowLatencyExecutor(workers=2)" in book.run("%parsl load").stdout
    assert "Run " in book.run("%parsl shutdown").stdout
    until(is_gone(first["dfk"]))


def test_a_kernel_that_is_shut_down_or_culled_leaves_its_run(house: House, book: Notebook) -> None:
    facts = run_of(book)
    book.stop()
    is_away(house, facts["run"])
    until(lambda: psutil.pid_exists(facts["dfk"]))
    end_lease(facts)
    must_end(house, facts)


def test_keeping_and_releasing_by_command(house: House, book: Notebook) -> None:
    facts = run_of(book)
    assert "stays for 10 min after" in book.run("%parsl keep").stdout
    assert book.run("%parsl keep 8h").stdout == (
        "The run stays for 8 h after the last notebook or script has left it.\n"
    )
    until(lambda: known(house, facts["run"])["linger"] == 8 * 3600)
    assert "'long' is no span of time: write 30s, 10min, 8h or 2d" in book.run("%parsl keep long").stderr
    assert f"Run {facts['run']} is loaded here" in book.run("%parsl attach").stderr
    assert book.run("%parsl release").stdout == "The run ends when its notebook's kernel does.\n"
    assert "ends with the kernel of its notebook" in book.run("%parsl keep").stdout
    book.stop()
    until(is_gone(facts["dfk"]))


def test_another_notebook_attaches_and_shares(house: House, book: Notebook) -> None:
    facts = run_of(book)
    other = Notebook(house.root, JPY_SESSION_NAME=str(house.root / "plot.ipynb"))
    try:
        other.run("%load_ext parslab\nimport parslab\n" + CELLS)
        assert other.run(f"%parsl attach {facts['run']}").stdout.startswith(f"Attached to run {facts['run']} on llex;")
        assert other.run("plus(41).result()").result == "42"
        until(lambda: known(house, facts["run"])["clients"] == 2)
        assert other.run("%parsl shutdown").stderr == ""  # a guest leaves
        until(lambda: known(house, facts["run"])["clients"] == 1)
        assert book.run("plus(1).result()").result == "2"
    finally:
        other.stop()
    book.run("%parsl shutdown")


def executed(house: House, folder: Path, **variables: str) -> dict[str, Any]:
    """Run a notebook by `jupyter execute`; what its cell told."""
    told = folder / "told.json"
    code = (
        f"import json, parslab\ndfk = parslab.load(parslab.Config(run_dir={str(house.runs)!r}))\n"
        f"json.dump([dfk.run, dfk.pid, dfk.linger], open({str(told)!r}, 'w'))"
    )
    file = folder / "run.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), file)
    subprocess.run(
        [sys.executable, "-m", "jupyter", "execute", str(file)],
        check=True,
        env={**os.environ, **variables},
        capture_output=True,
    )
    run, pid, linger = json.loads(told.read_text())
    return {"run": run, "dfk": pid, "linger": linger}


@pytest.mark.parametrize("inside", [False, True], ids=["from a terminal", "from a notebook"])
def test_a_notebook_that_a_program_runs_is_a_script(house: House, tmp_path: Path, inside: bool) -> None:
    facts = executed(house, tmp_path, **({"JPY_SESSION_NAME": str(house.root / "fit.ipynb")} if inside else {}))
    assert facts["linger"] == 0
    until(is_gone(facts["dfk"]))
    house.must_be_empty()
