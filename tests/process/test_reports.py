"""Reports of runs that are really there: alive, ended, killed; by the command, by the magic, and of imported runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError
from parslab.monitoring.store.reader import reading
from tests.process.sandbox import is_gone, until
from tests.unit.monitoring.parsl_database.parsl_files import ParslFile

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox

OWNER = """
    dfk = load(2)

    @python_app
    def add(x, y):
        return x + y

    @python_app
    def fail():
        raise ValueError("no")

    total = add(1, add(2, 3))
    bad = fail()
    bad.exception()
    emit(run=dfk.run, pid=dfk.pid, folder=str(dfk.run_dir), total=total.result())
    threading.Event().wait()
"""


def parslab(sandbox: Sandbox, *words: str, status: int = 0) -> str:
    """Run the command; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "parslab.cli", *words], capture_output=True, text=True, cwd=sandbox.root, check=False
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def reported(sandbox: Sandbox, *words: str) -> dict[str, Any]:
    """Return the JSON summary of a report by the command."""
    said = parslab(sandbox, "report", *words).strip()
    found: dict[str, Any] = json.loads((sandbox.root / said.rpartition(" is ")[2]).read_text())
    return found


def stored(database: Path) -> list[tuple[str, int]] | None:
    """Return the states of the tasks in a database, which may not be there yet."""
    with contextlib.suppress(ConfigurationError), reading(database) as connection:
        return connection.execute("SELECT state, count(*) FROM task GROUP BY state ORDER BY state").fetchall()
    return None


def test_a_run_is_reported_while_it_lives_and_after_it_was_killed(sandbox: Sandbox) -> None:
    with sandbox.script(OWNER) as script:
        facts = script.read_json()
        assert facts["total"] == 6
        # The store makes its file and writes it a moment after a future is done.
        database = Path(facts["folder"]) / "monitoring.db"
        until(lambda: stored(database) == [("exec_done", 2), ("failed", 1)])
        assert reported(sandbox, facts["run"])["tasks"]["states"] == {"exec_done": 2, "failed": 1}
        alive = reported(sandbox)
        assert alive["run"]["status"] == "running"
        assert alive["critical_path"]["length"] >= 1
        lines = parslab(sandbox, "export", facts["run"]).splitlines()
        assert [(task["app"], task["depends_on"]) for task in map(json.loads, lines)] == [
            ("add", []),
            ("add", [0]),
            ("fail", []),
        ]
        os.kill(facts["pid"], signal.SIGKILL)
        script.popen.kill()
        until(is_gone(facts["pid"]))
    found = reported(sandbox, facts["folder"], "-o", str(sandbox.root / "out"))
    assert found["run"]["status"] == "lost"
    assert found["failures"][0]["error"] == "ValueError: no"
    assert sorted(path.suffix for path in (sandbox.root / "out").iterdir()) == [".html", ".json"]
    trace = json.loads(parslab(sandbox, "export", facts["folder"], "-f", "trace"))
    assert sorted(event["name"] for event in trace["traceEvents"] if event["ph"] == "X") == ["add", "add", "fail"]


def test_a_run_of_parsl_is_imported_and_reported(sandbox: Sandbox) -> None:
    file = ParslFile(sandbox.root / "monitoring.db")
    file.run()
    file.task(0, {"pending": 1, "launched": 2, "running": 3, "exec_done": 8})
    said = parslab(sandbox, "import-monitoring", "monitoring.db")
    assert said == "Run parsl-003-3f2a91c4 has 1 task of fit.py; its folder is parsl-003-3f2a91c4\n"
    assert parslab(sandbox, "import-monitoring", "monitoring.db") == said
    assert reported(sandbox, "parsl-003-3f2a91c4")["run"]["status"] == "imported"
    assert "There is no file nothing.db" in parslab(sandbox, "import-monitoring", "nothing.db", status=1)
    assert json.loads(parslab(sandbox, "report", "--schema"))["$ref"] == "#/$defs/Summary"


def test_an_import_without_room_leaves_what_was_there(sandbox: Sandbox) -> None:
    file = ParslFile(sandbox.root / "monitoring.db")
    file.run()
    file.task(0, {"pending": 1, "launched": 2, "running": 3, "exec_done": 8})
    parslab(sandbox, "import-monitoring", "monitoring.db")
    imported = sandbox.root / "parsl-003-3f2a91c4" / "monitoring.db"
    before = imported.read_bytes()
    # The limit for the size of a file does the same as a full disk, and needs no disk of its own.
    command = f"ulimit -f 40; exec {sys.executable} -m parslab.cli import-monitoring monitoring.db"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=sandbox.root, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("parslab: The run cannot be written to parsl-003-3f2a91c4 (")
    assert done.stderr.endswith("): name another folder with --run-dir.\n")
    assert imported.read_bytes() == before
    assert os.listdir(imported.parent) == ["monitoring.db"]


SECOND = """
    import contextlib, io
    from IPython.core.error import UsageError
    from parslab.jupyter.commands import run_command

    def said(line):
        with contextlib.redirect_stdout(io.StringIO()) as text:
            try:
                run_command(line, {})
            except UsageError as error:
                return str(error)
        return text.getvalue()

    dfk = load(2)

    @python_app
    def add(x, y):
        return x + y

    add(1, 2).result()
    emit(folder=str(dfk.run_dir), here=said(f"compare {FIRST!r}"), wrong=said("compare a b c"), none=said("compare x"))
"""


def test_two_runs_are_compared(sandbox: Sandbox) -> None:
    with sandbox.script(OWNER) as script:
        first = script.read_json()
        until(lambda: stored(Path(first["folder"]) / "monitoring.db") == [("exec_done", 2), ("failed", 1)])
        with sandbox.script(f"    FIRST = {first['folder']!r}\n" + SECOND) as other:
            second = other.read_json()
            other.wait(30)
        text = parslab(sandbox, "compare", first["folder"], second["folder"])
        for shown in (text, second["here"]):
            lines = {line.split()[0]: " ".join(line.split()) for line in shown.splitlines() if line}
            assert lines["tasks"] == "tasks 3 -> 1"
            assert lines["failed"] == "failed 1 -> 0"
            assert lines["add"].startswith("add 2 -> 1 0 ")
            assert lines["fail"].startswith("fail 1 -> - 1 -> - ")
    assert "takes two runs, or one" in second["wrong"]
    assert second["none"].startswith("There is no")
    assert "There is no" in parslab(sandbox, "compare", "nothing", first["folder"], status=1)
