"""`parslab migrate` and the page of names say what differs, without running anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parslab.cli.main import main
from parslab.compat.differences import ATTRIBUTES, DIFFERENCES, difference
from parslab.compat.names import MODULES, target
from parslab.parsl.migrate import Finding, examine, python_of_notebook
from parslab.parsl.page import page

ROOT = Path(__file__).parents[3]
PROGRAMS = sorted((ROOT / "tests" / "compat" / "programs").glob("*.py"))

PROGRAM = """
import parsl
from parsl import python_app, providers as p
from parsl.executors import HighThroughputExecutor as Htex, WorkQueueExecutor
from parsl.dataflow.states import States
from parsl.curvezmq import ServerContext
from parsl.utils import no_such_function

config = parsl.config.Config(
    executors=[
        Htex(max_workers=4, worker_debug=True, encrypted=True, provider=p.LocalProvider(channel=None, move_files=False))
    ],
    monitoring=parsl.MonitoringHub(),
    no_such_option=1,
)
parsl.load(config)
print(parsl.dfk().add_executors, parsl.nothing)
"""


def test_a_program_is_examined_line_by_line() -> None:
    report = examine(PROGRAM)
    assert {"parsl.python_app", "parsl.config.Config", "parsl.providers.LocalProvider", "parsl.load"} <= set(
        report.uses
    )
    not_yet = difference("executors", "WorkQueueExecutor")
    hub = difference("", "MonitoringHub")
    assert report.findings == sorted(
        [
            Finding(4, f"parsl.executors.WorkQueueExecutor: {not_yet}"),
            Finding(5, "parsl.dataflow.states.States: task_status() may also say ready, staging and cancelled"),
            Finding(6, "the module parsl.curvezmq is not part of Parsl's documented API", True),
            Finding(7, "parsl.utils.no_such_function is not part of Parsl's documented API", True),
            Finding(
                11, "HighThroughputExecutor(max_workers=...) is called max_workers_per_node here; both are accepted"
            ),
            Finding(
                11,
                "HighThroughputExecutor(worker_debug=...) has no effect: managers and blocks always log into the run's "
                "folder",
            ),
            Finding(11, "LocalProvider(move_files=...) has no effect: nothing is copied"),
            Finding(13, f"parsl.MonitoringHub: {hub}"),
            Finding(
                13,
                "Config(monitoring=...) has no effect: every run is monitored, and its database is in the run's folder",
            ),
            Finding(14, "Config(no_such_option=...) is refused: the class has no such option", True),
            Finding(17, ".add_executors is not there: give all executors to Config", True),
            Finding(17, "parsl.nothing is not part of Parsl's documented API", True),
        ]
    )


def test_a_program_without_parsl_has_nothing_to_say() -> None:
    report = examine("import os\nprint(os.add_executors)\n")
    assert (report.uses, report.findings) == ([], [])


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_programs_that_run_miss_nothing(program: Path) -> None:
    assert not [found for found in examine(program.read_text(encoding="utf-8")).findings if found.missing]


def test_a_notebook_is_read_without_its_magics() -> None:
    cells = [
        {"cell_type": "markdown", "source": "import nothing"},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "import parsl\n", "!ls"]},
        {"cell_type": "code", "source": "parsl.load()"},
    ]
    assert python_of_notebook(json.dumps({"cells": cells})).split("\n") == ["", "import parsl", "", "parsl.load()"]
    with pytest.raises((ValueError, KeyError)):
        python_of_notebook("no notebook")


def test_the_command_prints_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.py").write_text("import parsl\nparsl.load()\n")
    (tmp_path / "bad.py").write_text("import parsl\nparsl.dfk().add_executors\n")
    (tmp_path / "broken.py").write_text("import parsl (\n")
    (tmp_path / "other.py").write_text("import os\n")
    assert main(["migrate", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "good.py: uses 2 names of Parsl; nothing differs.\n" in said
    assert "  line 2: MISSING: .add_executors is not there: give all executors" in said
    assert "broken.py: cannot be read as Python" in said
    assert "other.py" not in said
    assert main(["migrate", str(tmp_path / "good.py")]) == 0
    assert main(["migrate", str(tmp_path / "other.py")]) == 0
    assert main(["migrate", str(tmp_path / "absent.py")]) == 1


def test_the_page_of_names_is_up_to_date() -> None:
    written = (ROOT / "python" / "PARSL.md").read_text(encoding="utf-8")
    assert written == page(), "write it: python -m parslab.parsl.page python/PARSL.md"


def test_every_difference_belongs_to_a_name() -> None:
    for full in DIFFERENCES:
        module, _, name = full.rpartition(".")
        assert module in MODULES
        assert target(module, name), full
    assert all(ATTRIBUTES.values())
