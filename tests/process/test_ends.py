"""How programs end that have a run: their exit status is their own, it takes a moment, and nothing is left.

Scripts by every way out, children of every kind, and notebooks that a program runs, whose cells may fail.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from tests.process.sandbox import patience

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.sandbox import Sandbox

BUSY = """
    from parslab import HighThroughputExecutor, LocalProvider, ThreadPoolExecutor, join_app
    from tests.process.panel import picture

    EXECUTORS = {
        "llex": LowLatencyExecutor(workers=2),
        "htex": HighThroughputExecutor(provider=LocalProvider(init_blocks=1, max_blocks=1), max_workers_per_node=2),
        "threads": ThreadPoolExecutor(max_threads=2),
    }

    def nap(seconds): time.sleep(seconds)

    @join_app
    def joins(): return [python_app(executors=["llex"])(nap)(600)]

    def busy(label):
        \"\"\"All workers sleep, and a thousand tasks are unfinished.\"\"\"
        executors = [EXECUTORS["llex"]] if label == "llex" else [EXECUTORS["llex"], EXECUTORS[label]]
        dfk = parslab.load(Config(executors=executors, run_dir=RUNS, strategy_period=0.2))
        app = python_app(executors=[label])(nap)
        global futures
        futures = [app(600) for _ in range(1000)] + [joins()]
        while picture(dfk).overview.counts.get("running", 0) < 2: time.sleep(0.01)
        emit(began=time.time())
"""


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> str:
    """Scripts find what the tests have."""
    path = [os.path.dirname(os.path.dirname(os.path.dirname(__file__))), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    return BUSY


@pytest.mark.parametrize(
    ("label", "end", "status"),
    [
        ("llex", "pass", 0),
        ("htex", "pass", 0),
        ("htex", "sys.exit(3)", 3),
        ("htex", "raise ValueError('no')", 1),
        ("htex", "raise KeyboardInterrupt", -signal.SIGINT),
        ("htex", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
        ("htex", "parslab.dfk().cleanup(); sys.exit(4)", 4),
        ("threads", "pass", 0),
        ("threads", "raise ValueError('no')", 1),
    ],
)
def test_a_thousand_tasks_hold_no_script(sandbox: Sandbox, source: str, label: str, end: str, status: int) -> None:
    with sandbox.script(f"{source}\n    busy({label!r})\n    {end}\n") as script:
        script.read_json(20)
        began = time.monotonic()
        assert script.wait() == status
        took = time.monotonic() - began
        sandbox.assert_empty(2)
        assert took <= 2 * patience()


CHILD = """
    base = 40

    def helper(x): return x + base

    @python_app
    def plus(x): return helper(x)

    def child():
        try:
            parslab.dfk()
            said = "a run is loaded"
        except parslab.errors.NoDataFlowKernelError as error:
            said = str(error)
        with load(1) as dfk:
            return said, plus(1).result(30), dfk.pid

    def tells():
        said, value, pid = child()
        emit(said=said, value=value, pid=pid)

    if __name__ == "__main__":
        import concurrent.futures, multiprocessing
        import parslab.errors
        context = multiprocessing.get_context(HOW)
        with load(1) as dfk:
            mine = plus(2)
            process = context.Process(target=tells)
            process.start()
            process.join()
            emit(status=process.exitcode)
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                said, value, pid = pool.submit(child).result(60)
                emit(said=said, value=value, pid=pid)
            emit(mine=mine.result(), again=plus(3).result(30), pid=dfk.pid)
"""


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_has_runs_of_its_own(sandbox: Sandbox, how: str) -> None:
    with sandbox.script(f"    HOW = {how!r}\n    import parslab.errors\n{CHILD}") as script:
        first, status, second, parent = (script.read_json(30) for _ in range(4))
        for child in (first, second):
            assert "call parslab.load()" in child["said"]
            assert ("forked" in child["said"]) is (how == "fork")
            assert child["value"] == 41
            assert child["pid"] != parent["pid"]
        assert status == {"status": 0}
        assert (parent["mine"], parent["again"]) == (42, 43)
        assert script.wait() == 0


def test_a_forked_child_that_ends_in_order_takes_nothing_along(sandbox: Sandbox) -> None:
    """It runs the exit handlers of its parent, and its own copies of everything are collected."""
    source = """
        @python_app
        def plus(x): return x + 1
        dfk = load(1)
        futures = [plus(n) for n in range(100)]
        pid = os.fork()
        if not pid:
            del futures
            sys.exit(7)
        emit(child=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), sum=sum(f.result(20) for f in futures))
        emit(after=plus(1).result(20), unfinished=dfk.unfinished)
    """
    with sandbox.script(source) as script:
        assert script.read_json() == {"child": 7, "sum": 5050}
        assert script.read_json() == {"after": 2, "unfinished": 0}
        assert script.wait() == 0
        assert "Error" not in script.errors.read_text()


NOTEBOOK = [
    "import time, parslab\nfrom parslab import *",
    "%load_ext parslab\nparslab.load(Config(executors=[LowLatencyExecutor(workers=2)], run_dir={runs!r}))",
    "@python_app\ndef nap(seconds): time.sleep(seconds); return seconds\nassert nap(0).result() == 0",
    "futures = [nap(600) for _ in range(1000)]\nwhile not futures[0].running(): time.sleep(0.01)",
    "{cell}",
    "{last}",
]
_NBCLIENT = "import nbclient, nbformat, sys\nnbclient.execute(nbformat.read(sys.argv[1], 4))"
PROGRAMS: dict[str, list[str]] = {
    "jupyter execute": [sys.executable, "-m", "jupyter", "execute", "{file}"],
    "nbclient": [sys.executable, "-c", _NBCLIENT, "{file}"],
    "nbconvert": [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--output", "made", "{file}"],
    "papermill": [sys.executable, "-m", "papermill", "{file}", "{file}.out.ipynb", "--no-progress-bar"],
}


@pytest.mark.parametrize("fails", [False, True], ids=["well", "failing"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_runs_a_notebook(sandbox: Sandbox, tmp_path: Path, program: str, fails: bool) -> None:
    if program == "papermill":
        pytest.importorskip("papermill", reason="papermill is not installed")
    last, cell = ("1 / 0", "%%parsl\ntime.sleep(600)") if fails else ("print('end')", "pass")
    words: dict[str, Any] = {"runs": str(sandbox.runs), "last": last, "cell": cell}
    ended, _ = run_notebook(tmp_path, program, [text.format(**words) for text in NOTEBOOK])
    assert ended.returncode == (1 if fails else 0), ended.stderr
    assert ("ZeroDivisionError" in ended.stderr) is fails
    assert ("the tasks of In [5]: they are cancelled" in ended.stderr) is fails
    sandbox.assert_empty(2)


def run_notebook(folder: Path, program: str, sources: list[str]) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Let a program run a notebook of these cells; what it said, and the notebook that it saved (None: none)."""
    cells = [nbformat.v4.new_code_cell(text) for text in sources]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    file = folder / "book.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={**spec, "language_info": {"name": "python"}}), file)
    command = [word.format(file=file) if "{file}" in word else word for word in PROGRAMS[program]]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    saved = next((made for made in (folder / "book.ipynb.out.ipynb", folder / "made.ipynb") if made.exists()), None)
    return ended, None if saved is None else nbformat.read(saved, 4)


LAST_CELLS = [
    "import parslab\n%load_ext parslab\n"
    "parslab.load(parslab.Config(executors=[parslab.LowLatencyExecutor(workers=2)], run_dir={runs!r}))",
    "%%parsl\nimport time\ntime.sleep(1.5)\nprint('the first is done')",
    "{last}",
]


@pytest.mark.parametrize("program", ["jupyter execute", "nbconvert", "papermill"])
@pytest.mark.parametrize("last", ["%%parsl\nprint('the last is', 'done')", "print('plain')"], ids=["cell", "plain"])
def test_the_last_cell_waits_for_the_tasks_of_cells(sandbox: Sandbox, tmp_path: Path, program: str, last: str) -> None:
    """They were cancelled in silence, and the saved notebook said that they were submitted."""
    sources = [text.format(runs=str(sandbox.runs), last=last) for text in LAST_CELLS]
    ended, saved = run_notebook(tmp_path, program, sources)
    assert ended.returncode == 0, ended.stderr
    assert "cancelled" not in ended.stderr
    if saved is not None:
        texts = ["".join(str(output) for output in cell.outputs) for cell in saved.cells]
        assert "the first is done" in texts[1]
        assert "[done · In [2]" in texts[1]
        assert ("the last is done" in texts[2]) is last.startswith("%%parsl")
        assert "submitted" not in "".join(texts)
    sandbox.assert_empty(2)


def test_a_last_cell_whose_task_fails_is_an_error_of_the_program(sandbox: Sandbox, tmp_path: Path) -> None:
    sources = [text.format(runs=str(sandbox.runs), last="%%parsl\n1 / 0") for text in LAST_CELLS]
    ended, _ = run_notebook(tmp_path, "jupyter execute", sources)
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
    sandbox.assert_empty(2)
