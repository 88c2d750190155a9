"""A run belongs to its notebook, not to a path: it is found after a rename, and never joined by another notebook."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

from parslab.wire.notebooks import file_id
from tests.process.sandbox import Sandbox, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.sandbox import Script

_LOAD = """
    import parslab.client.session as session
    from parslab.wire.notebooks import NotebookPlace
    session.this_notebook = lambda: NotebookPlace(*PLACE)

    def plus(number): return number + 1

    dfk = parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=RUNS))
    future = python_app(plus)(1)
    assert future.result() == 2
    emit(run=dfk.run, notices=dfk.notices)
    sys.stdin.readline()
    dfk.cleanup()
"""


def kernel(sandbox: Sandbox, path: Path, session: str) -> Script:
    """A kernel of a notebook; Jupyter would pass it the path and the session."""
    place = (str(path), file_id(str(path)), session)
    return sandbox.script(f"    import sys\n    PLACE = {place!r}\n" + _LOAD, stdin=-1)


def loaded(script: Script) -> dict[str, Any]:
    line = script.line(30)
    while not line.startswith("{"):
        line = script.line(30)
    facts: dict[str, Any] = json.loads(line)
    return facts


def test_a_renamed_notebook_keeps_its_run_and_a_new_one_of_its_path_gets_another(sandbox: Sandbox) -> None:
    """The new one joined the run of the first, and its cleanup() failed the futures of that."""
    untitled, fit = sandbox.root / "Untitled.ipynb", sandbox.root / "fit.ipynb"
    untitled.write_text("{}")
    with kernel(sandbox, untitled, "a") as first:
        run = loaded(first)["run"]
        untitled.rename(fit)
        untitled.write_text("{}")
        with kernel(sandbox, untitled, "b") as other:
            assert loaded(other)["run"] != run
            assert other.popen.stdin is not None
            other.popen.stdin.close()
            other.wait(20)
        assert first.popen.poll() is None
        first.signal(signal.SIGKILL)
        first.wait()
    file = sandbox.jupyter / f"parslab-{run}.json"
    until(lambda: json.loads(file.read_text())["away"] is not None)
    with kernel(sandbox, fit, "c") as again:
        facts = loaded(again)
        assert facts["run"] == run
        assert "is still here: 1 result waiting" in facts["notices"][0]
        assert json.loads(file.read_text())["notebook_place"]["path"] == str(fit)
        assert again.popen.stdin is not None
        again.popen.stdin.close()
        again.wait(20)
    sandbox.assert_empty()
