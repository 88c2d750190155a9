"""A run in the formats of other programs: each task once, odd names, what has not ended, what failed before."""

from __future__ import annotations

import csv
import io
import json
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab.cli import main as cli
from parslab.errors import ConfigurationError, OptionalModuleMissing
from parslab.monitoring.export.formats import FORMATS
from parslab.monitoring.store.tables import FAILURE, StoredFailure
from tests.unit.monitoring.report.made_runs import MadeRun

if TYPE_CHECKING:
    from pathlib import Path

ODD = 'say "<b>`x`</b>"\\n; #1\nend'


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    """Four tasks: one is done, one has failed at its second attempt, one with an odd name runs, one waits."""
    made = MadeRun(tmp_path)
    made.run()
    made.task(0, (100.0, 100.0, 100.5, 101.0, 103.0), shown="n=3", cell="In [2]")
    made.task(1, (100.0, 103.0, 103.0, 105.0, 106.0), 0, state="failed", attempt=1, error="ValueError: no")
    made.attempt(1, 0, "app_error", (103.5, 104.5), "ValueError: first")
    made.attempt(1, 1, "app_error", (105.0, 106.0), "ValueError: no")
    failure = StoredFailure(task=1, attempt=1, error="ValueError: no", traceback="line 3", failure_group=1)
    made.add(FAILURE, [FAILURE.cells(failure)])
    made.task(2, (100.0, 103.0, 103.0, 104.0, None), 0, state="running", app=ODD)
    made.task(3, (100.0,), 1, 2, state="pending", executor="")
    return made


def exported(run: MadeRun, kind: str) -> str:
    stream = io.StringIO()
    parslab.export(str(run.file), kind, stream)
    return stream.getvalue()


def test_json_lines(run: MadeRun) -> None:
    tasks = [json.loads(line) for line in exported(run, "jsonl").splitlines()]
    assert [(task["id"], task["depends_on"]) for task in tasks] == [(0, []), (1, [0]), (2, [0]), (3, [1, 2])]
    assert (tasks[0]["started"], tasks[0]["ended"], tasks[2]["ended"]) == (101.0, 103.0, None)
    assert (tasks[1]["error"], tasks[1]["traceback"]) == ("ValueError: no", "line 3")
    assert "traceback" not in tasks[0]
    assert tasks[2]["app"] == ODD


def test_csv(run: MadeRun) -> None:
    rows = list(csv.DictReader(io.StringIO(exported(run, "csv"))))
    assert [row["id"] for row in rows] == ["0", "1", "2", "3"]
    assert (rows[0]["shown"], rows[2]["app"], rows[2]["ended"]) == ("n=3", ODD, "")


def test_graphviz(run: MadeRun) -> None:
    lines = exported(run, "dot").splitlines()
    assert lines[0] == 'digraph "007-ab12cd" {'
    assert '  t0 [label="fit\\n0: exec_done", fillcolor="#d9ead3", tooltip="n=3"];' in lines
    assert '  t2 [label="say \\"<b>`x`</b>\\"\\\\n; #1 end\\n2: running", fillcolor="#cfe2f3", tooltip=""];' in lines
    assert lines[-5:] == ["  t0 -> t1;", "  t0 -> t2;", "  t1 -> t3;", "  t2 -> t3;", "}"]


def test_mermaid(run: MadeRun) -> None:
    lines = exported(run, "mermaid").splitlines()
    assert lines[0] == "flowchart TD"
    assert '  t1("fit<br/>1: failed"):::failed' in lines
    assert '  t2("say #quot;#lt;b#gt;#96;x#96;#lt;/b#gt;#quot;\\n; #35;1 end<br/>2: running"):::active' in lines
    assert lines[-4:] == ["  t0 --> t1", "  t0 --> t2", "  t1 --> t3", "  t2 --> t3"]


def slices(text: str) -> list[dict[str, Any]]:
    return [event for event in json.loads(text)["traceEvents"] if event["ph"] == "X"]


def test_trace(run: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parslab.client.exports.steady_time", lambda: 110.0)
    text = exported(run, "trace")
    found = slices(text)
    assert [(piece["args"]["task"], piece["args"]["attempt"], piece["ts"], piece["dur"]) for piece in found] == [
        (0, 0, 1_000_000, 2_000_000),
        (1, 0, 3_500_000, 1_000_000),
        (2, 0, 4_000_000, 6_000_000),
        (1, 1, 5_000_000, 1_000_000),
    ]
    assert found[1]["name"] == "fit (failed)"
    assert found[1]["args"]["error"] == "ValueError: first"
    names = {event["args"]["name"] for event in json.loads(text)["traceEvents"] if event["ph"] == "M"}
    assert names == {"htex", "htex/w0"}


def test_slices_of_one_thread_never_overlap(tmp_path: Path) -> None:
    """Of the tasks of a manager only the manager is known; a viewer would draw a slice in another as its part."""
    made = MadeRun(tmp_path)
    made.run()
    for n in range(40):
        made.task(n, (100.0, 100.0, 100.0, 100.0 + n % 7, 104.0 + n % 11), worker="m0")
    ends: dict[int, int] = {}
    for piece in slices(exported(made, "trace")):
        assert piece["ts"] >= ends.get(piece["tid"], 0)
        ends[piece["tid"]] = piece["ts"] + piece["dur"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_run_without_tasks(tmp_path: Path, kind: str) -> None:
    made = MadeRun(tmp_path)
    made.run()
    text = exported(made, kind)
    assert text == "" if kind == "jsonl" else text
    if kind == "trace":
        json.loads(text)


def test_a_file_is_private_and_replaces_an_older_one(run: MadeRun, tmp_path: Path) -> None:
    file = tmp_path / "tasks.csv"
    file.write_text("old")
    file.chmod(0o644)
    parslab.export(str(tmp_path), "csv", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().splitlines()) == 5 + ODD.count("\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["monitoring.db", "tasks.csv"]


def test_the_command(run: MadeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(tmp_path), "--format", "mermaid"]) == 0
    assert capsys.readouterr().out == exported(run, "mermaid")
    assert cli.main(["export", str(tmp_path), "-o", str(tmp_path / "x.jsonl")]) == 0
    assert (tmp_path / "x.jsonl").read_text() == exported(run, "jsonl")
    assert cli.main(["export", str(tmp_path), "-f", "xml"]) == 1
    assert "no format 'xml': the formats are jsonl, csv, dot, mermaid, trace" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path), "-o", str(tmp_path / "none" / "x")]) == 1
    assert "cannot be written to" in capsys.readouterr().err


def test_a_query_gives_a_frame(run: MadeRun) -> None:
    frame = parslab.query(
        "SELECT app, count(*) AS n FROM task WHERE executor = ? GROUP BY app", str(run.file), ["htex"]
    )
    assert frame.set_index("app").n.to_dict() == {"fit": 2, ODD: 1}
    with pytest.raises(ConfigurationError, match=r"^The query cannot be answered: no such column: absent\.$"):
        parslab.query("SELECT absent FROM task", str(run.file))
    with pytest.raises(ConfigurationError, match="readonly"):
        parslab.query("DELETE FROM task", str(run.file))
    assert len(parslab.query("SELECT * FROM task", str(run.file))) == 4


def test_the_graph_for_networkx(run: MadeRun) -> None:
    graph = parslab.task_graph(str(run.file))
    assert sorted(graph.edges) == [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert graph.nodes[1]["state"] == "failed"


@pytest.mark.parametrize(("module", "call"), [("pandas", "query"), ("networkx", "task_graph")])
def test_a_missing_package_is_named(run: MadeRun, monkeypatch: pytest.MonkeyPatch, module: str, call: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    arguments = ["SELECT 1", str(run.file)] if call == "query" else [str(run.file)]
    with pytest.raises(OptionalModuleMissing, match=rf"{module} is not installed: pip install 'parslab\[analysis\]'"):
        getattr(parslab, call)(*arguments)
