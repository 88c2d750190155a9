"""Real kernels, as Jupyter's server starts them: restarted, killed, shut down; and notebooks run by other programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import nbformat
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.process.sandbox import is_gone, until
from tests.process.test_lease import end_lease, is_away, known, must_end
from tests.process.test_magics import Notebook

pytestmark = pytest.mark.usefixtures("loop")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.sandbox import Sandbox

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


@pytest.fixture
def book(sandbox: Sandbox) -> Iterator[Notebook]:
    """A notebook with a run: six results, two of them dropped, and a task that waits for the gate."""
    notebook = Notebook(sandbox.root, JPY_SESSION_NAME=str(sandbox.root / "fit.ipynb"))
    try:
        assert not notebook.run("%load_ext parslab\n" + CELLS).error
        options = f"executors=[LowLatencyExecutor(workers=2)], run_dir={str(sandbox.runs)!r}"
        said = notebook.run(f"import parslab\n%parsl load Config({options})").stdout
        assert said.startswith("Run 000-")
        begin = "done = [plus(n) for n in range(4)]; [f.result() for f in done]; [plus(n).result() for n in (8, 9)]; "
        begin += f"held = held({str(sandbox.root / 'gate')!r})"
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
def test_a_restarted_kernel_goes_on_with_its_run(sandbox: Sandbox, book: Notebook, now: bool) -> None:
    first = run_of(book)
    assert first["linger"] == 600
    book.restart(now)
    lease = is_away(sandbox, first["run"])
    assert lease["notebook"] == str(sandbox.root / "fit.ipynb")
    book.run("%load_ext parslab\nimport parslab\n" + CELLS)
    said = book.run("%parsl load").stdout
    assert said.startswith(f"Run {first['run']} of this notebook is still here: 6 results waiting, 1 running")
    assert said.count("\n") == 1
    assert run_of(book) == first
    assert book.run("plus(1).result()").result == "2"
    assert f"Run {first['run']} on LowLatencyExecutor(workers=2)" in book.run("%parsl load").stdout
    assert "Run " in book.run("%parsl shutdown").stdout
    until(is_gone(first["dfk"]))


def test_a_cell_that_is_run_again_shows_what_it_had_shown(sandbox: Sandbox, book: Notebook) -> None:
    """It said "done, 0.00 s" and nothing else."""
    cell = (
        "%%parsl\nimport time\nprint('printed')\ntime.sleep(1.5)\n"
        "class Table:\n    def _repr_html_(self): return '<i>table</i>'\n    def __repr__(self): return 'plain table'\n"
        "Table()"
    )
    first = book.run(cell)
    (display,) = first.shown
    book.until(lambda: "[done" in book.text(display))
    before = book.displays[display]
    book.restart()
    book.run("%load_ext parslab\nimport parslab\n" + CELLS)
    book.run("%parsl load")
    (again,) = book.run(cell).shown
    book.until(lambda: "<i>table</i>" in str(book.displays[again].get("text/html")))
    after = book.displays[again]
    assert "printed\nplain table\n[done" in after["text/plain"]
    assert "plain table" not in after["text/html"]
    took = re.compile(r"(\d+\.\d+) s")
    assert float(took.findall(after["text/plain"])[-1]) >= 1.4
    assert "Run " in book.run("%parsl shutdown").stdout
    assert took.sub("", before["text/html"]).split("task")[0].startswith(took.sub("", after["text/html"])[:80])


def test_a_kernel_that_is_shut_down_or_culled_leaves_its_run(sandbox: Sandbox, book: Notebook) -> None:
    facts = run_of(book)
    book.stop()
    is_away(sandbox, facts["run"])
    until(lambda: psutil.pid_exists(facts["dfk"]))
    end_lease(facts)
    must_end(sandbox, facts)


def test_keeping_and_releasing_by_command(sandbox: Sandbox, book: Notebook) -> None:
    facts = run_of(book)
    assert "stays for 10 min after" in book.run("%parsl keep").stdout
    assert book.run("%parsl keep 8h").stdout == (
        "The run stays for 8 h after the last notebook or script has left it.\n"
    )
    until(lambda: known(sandbox, facts["run"])["linger"] == 8 * 3600)
    assert "'long' is no span of time: write 30s, 10min, 8h or 2d" in book.run("%parsl keep long").stderr
    assert f"Run {facts['run']} is loaded here" in book.run("%parsl attach").stderr
    assert book.run("%parsl release").stdout == "The run ends when its notebook's kernel does.\n"
    assert "ends with the kernel of its notebook" in book.run("%parsl keep").stdout
    book.stop()
    until(is_gone(facts["dfk"]))


def test_another_notebook_attaches_and_shares(sandbox: Sandbox, book: Notebook) -> None:
    facts = run_of(book)
    other = Notebook(sandbox.root, JPY_SESSION_NAME=str(sandbox.root / "plot.ipynb"))
    try:
        other.run("%load_ext parslab\nimport parslab\n" + CELLS)
        assert other.run(f"%parsl attach {facts['run']}").stdout.startswith(f"Attached to run {facts['run']} on llex;")
        assert other.run("plus(41).result()").result == "42"
        until(lambda: known(sandbox, facts["run"])["clients"] == 2)
        assert other.run("%parsl shutdown").stderr == ""  # a guest leaves
        until(lambda: known(sandbox, facts["run"])["clients"] == 1)
        assert book.run("plus(1).result()").result == "2"
    finally:
        other.stop()
    book.run("%parsl shutdown")


class Server:
    """A Jupyter server with one notebook."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        options = ["port=0", "ip=127.0.0.1", f"root_dir={sandbox.root}", "password="]
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--IdentityProvider.token="]
        self.log = open(sandbox.root / "server.log", "wb")  # noqa: SIM115
        self.popen = subprocess.Popen(
            [*command, *(f"--ServerApp.{option}" for option in options), "--ServerApp.disable_check_xsrf=True"],
            stdout=self.log,
            stderr=self.log,
            cwd=sandbox.root,
        )
        self.info = sandbox.jupyter / f"jpserver-{self.popen.pid}.json"
        self.url = ""
        until(self._up, 60)

    def _up(self) -> bool:
        """It says where it is a moment before it listens there."""
        with contextlib.suppress(OSError, ValueError):
            self.url = json.loads(self.info.read_text())["url"]
            self.ask("GET", "status")
            return True
        return False

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        data = json.dumps(content).encode() if content else None
        request = urllib.request.Request(
            f"{self.url}api/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def run(self, kernel: str, code: str) -> str:
        """Run a cell in a kernel of this server; what it printed."""
        client = BlockingKernelClient(connection_file=str(self.sandbox.jupyter / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels(hb=False)  # a kernel that starts on a busy machine misses heartbeats of one second
        printed: list[str] = []

        def receive(message: dict[str, Any]) -> None:
            content = message["content"]
            printed.append(content.get("text", "") or "\n".join(content.get("traceback", ())))

        try:
            client.wait_for_ready(timeout=60)
            client.execute_interactive(code, timeout=60, output_hook=receive, store_history=True)
        finally:
            client.stop_channels()
        return "".join(printed)

    def stop(self) -> None:
        self.popen.terminate()
        self.popen.wait(30)
        self.log.close()


def test_what_jupyters_server_does_to_a_kernel(sandbox: Sandbox) -> None:
    server = Server(sandbox)
    try:
        notebook = {"name": "fit.ipynb", "path": "fit.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
        kernel = server.ask("POST", "sessions", notebook)["kernel"]["id"]
        load = "import parslab; dfk = parslab.load(parslab.Config(run_dir='runs')); print(dfk.run, dfk.pid, dfk.linger)"
        run, pid, linger = server.run(kernel, load).split()
        assert linger == "600.0"
        assert known(sandbox, run)["notebook"] == str(sandbox.root / "fit.ipynb")
        server.ask("POST", f"kernels/{kernel}/restart")
        is_away(sandbox, run)
        notice, again = server.run(kernel, load).splitlines()
        assert notice.startswith(f"Run {run} of this notebook is still here: no tasks")
        assert again == f"{run} {pid} {linger}"
        server.ask("DELETE", f"kernels/{kernel}")
        is_away(sandbox, run)
        kernel = server.ask("POST", "sessions", notebook)["kernel"]["id"]
        assert f"{run} {pid}" in server.run(kernel, load)
    finally:
        server.stop()  # and with it the kernel
    is_away(sandbox, run)
    facts = {"run": run, "dfk": int(pid)}
    end_lease(facts)
    must_end(sandbox, facts)


def executed(sandbox: Sandbox, folder: Path, **variables: str) -> dict[str, Any]:
    """Run a notebook by `jupyter execute`; return the facts that its cell printed."""
    facts_file = folder / "facts.json"
    code = (
        f"import json, parslab\ndfk = parslab.load(parslab.Config(run_dir={str(sandbox.runs)!r}))\n"
        f"json.dump([dfk.run, dfk.pid, dfk.linger], open({str(facts_file)!r}, 'w'))"
    )
    file = folder / "run.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), file)
    subprocess.run(
        [sys.executable, "-m", "jupyter", "execute", str(file)],
        check=True,
        env={**os.environ, **variables},
        capture_output=True,
    )
    run, pid, linger = json.loads(facts_file.read_text())
    return {"run": run, "dfk": pid, "linger": linger}


@pytest.mark.parametrize("inside", [False, True], ids=["from a terminal", "from a notebook"])
def test_a_notebook_that_a_program_runs_is_a_script(sandbox: Sandbox, tmp_path: Path, inside: bool) -> None:
    facts = executed(sandbox, tmp_path, **({"JPY_SESSION_NAME": str(sandbox.root / "fit.ipynb")} if inside else {}))
    assert facts["linger"] == 0
    until(is_gone(facts["dfk"]))
    sandbox.assert_empty()
