"""`%parsl` lines that load configurations and command blocks, with a run that is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from IPython.core.error import UsageError

from parslab.client import session
from parslab.client.handle.commands import RunCommands
from parslab.client.handle.dfk import DataFlowKernel
from parslab.client.run_state import RunState
from parslab.config import Config
from parslab.executors import ThreadPoolExecutor
from parslab.jupyter import commands
from parslab.jupyter.commands import run_command
from parslab.records import panel


class Questions:
    """Answers questions in order with what the test says."""

    def __init__(self, answers: tuple[panel.Reply, ...]) -> None:
        self.asked: list[panel.Request] = []
        self.answers = list(answers)

    def ask(self, message: panel.Request, timeout: float | None) -> panel.Reply:
        self.asked.append(message)
        return self.answers.pop(0)


class Run(DataFlowKernel):
    """A run whose answers are the test's."""

    def __init__(self, *answers: panel.Reply) -> None:
        self.questions = Questions(answers)
        self.state = RunState("000", Path(), 0)
        self.commands = RunCommands(cast("Any", self.questions), self.state)

    @property
    def asked(self) -> list[panel.Request]:
        return self.questions.asked


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    def loaded(*answers: panel.Reply) -> Run:
        run = Run(*answers)
        monkeypatch.setattr(session, "dfk", lambda: run)
        return run

    return loaded


@pytest.fixture
def took(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What load() is given; nothing is started."""
    given: list[Any] = []

    def load(config: Any = None) -> Any:
        given.append(config)
        raise UsageError("stopped here")

    monkeypatch.setattr(session, "load", load)
    return given


def given_to_load(took: list[Any], line: str, **namespace: Any) -> Any:
    with pytest.raises(UsageError, match="stopped here"):
        run_command(f"load {line}", namespace)
    return took[-1]


def test_load_takes_names_files_and_expressions(took: list[Any], tmp_path: Path) -> None:
    assert given_to_load(took, "") is None
    assert given_to_load(took, "slurm") == "slurm"
    assert given_to_load(took, "'slurm'") == "slurm"
    assert given_to_load(took, "here/mine.py") == "here/mine.py"
    plain = tmp_path / "no_suffix"
    plain.write_text("")
    assert given_to_load(took, str(plain)) == str(plain)
    assert given_to_load(took, "Config(executors=[ThreadPoolExecutor()])") == Config(executors=[ThreadPoolExecutor()])
    assert given_to_load(took, "--run-dir x") == Config(run_dir="x")


def test_name_of_the_notebook_has_priority_over_a_ready_one(took: list[Any]) -> None:
    mine = Config(retries=7)
    assert given_to_load(took, "slurm", slurm=mine) is mine


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("load slrum", "slrum is neither a name in this notebook nor a ready configuration; these are ready: laptop, "),
        ("load Config(retrys=3)", "Config has no option 'retrys'"),
        ("load 3", "3 is a int, and a Config is needed"),
        ("scale htex -3", "the number of blocks must be at least 0|unrecognized arguments"),
        ("scale", r"^%parsl scale \[LABEL\] N: the following arguments are required: N\.$"),
        ("hold", r"^%parsl hold BLOCK: the following arguments are required: BLOCK\.$"),
        ("keep long", r"^%parsl keep 'long' is no span of time: write 30s, 10min, 8h or 2d\.$"),
        ("attach 007-none", r"^There is no live run 007-none of yours on this host"),
    ],
)
def test_mistakes_are_reported_in_a_line(line: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run_command(line, {})


@pytest.mark.parametrize(
    ("line", "ask"),
    [
        ("scale htex 3", panel.ScaleRequest("", "htex", 3)),
        ("scale 0", panel.ScaleRequest("", "", 0)),
        ("hold htex/3", panel.BlockActionRequest("", "htex", "3", "hold")),
        ("release 3", panel.BlockActionRequest("", "", "3", "release")),
        ("drain a.b-c/12", panel.BlockActionRequest("", "a.b-c", "12", "drain")),
        ("keep 8h", panel.LingerRequest("", 8 * 3600.0)),
        ("keep 90 min", panel.LingerRequest("", 5400.0)),
        ("release", panel.LingerRequest("", 0.0)),
    ],
)
def test_orders_reach_the_run_and_its_sentence_the_user(
    play: Any, capsys: pytest.CaptureFixture[str], line: str, ask: panel.Request
) -> None:
    run = play(panel.CommandReply("", "It is done."), panel.ErrorReply("", "It cannot be."))
    run_command(line, {})
    assert run.asked == [ask]
    assert capsys.readouterr().out == "It is done.\n"
    with pytest.raises(UsageError, match=r"^It cannot be\.$"):
        run_command(line, {})


@pytest.mark.parametrize(
    ("linger", "says"), [(600.0, "The run stays for 10 min after"), (0.0, "The run ends with the kernel")]
)
def test_how_long_the_run_stays_is_shown(
    play: Any, capsys: pytest.CaptureFixture[str], linger: float, says: str
) -> None:
    play().state.linger = linger
    run_command("keep", {})
    assert capsys.readouterr().out.startswith(says)


def snapshot(*rows: dict[str, Any]) -> panel.Snapshot:
    """A picture with these blocks."""

    def filled(kind: Any, given: dict[str, Any]) -> Any:
        plain: dict[type, Any] = {str: "", int: 0, float: 0.0, bool: False}
        values = {f.name: given.get(f.name, plain.get(f.type)) for f in msgspec.structs.fields(kind)}
        return kind(**values)

    return panel.Snapshot(
        seq=0,
        run=filled(panel.RunInfo, {"executors": []}),
        overview=filled(panel.Overview, {"counts": {}, "apps": {}}),
        nodes=[],
        hidden=0,
        workers=[],
        notices=[],
        blocks=[filled(panel.BlockRow, row) for row in rows],
    )


def test_blocks_are_shown_without_those_that_are_over(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(commands, "_show", shown.append)
    rows: list[dict[str, Any]] = [
        {
            "executor": "htex",
            "block": "0",
            "state": "running",
            "job": "17",
            "managers": 1,
            "workers": 8,
            "busy": 3,
            "held": True,
        },
        {"executor": "htex", "block": "1", "state": "queued", "job": "18", "reason": "Priority"},
        {"executor": "htex", "block": "2", "state": "scaled_in", "job": "19"},
    ]
    play(snapshot(*rows), snapshot(*rows), snapshot())
    for line in ("blocks", "blocks --all", "blocks"):
        run_command(line, {})
    few, every, none = (str(table) for table in shown)
    assert "2 blocks (1 more is over: %parsl blocks --all):" in few
    assert "htex/0" in few
    assert "3 of 8" in few
    assert "Priority" in few
    assert "running, held" in few
    assert "queued, held" not in few
    assert "htex/2" not in few
    assert "htex/2" in every
    assert "scaled in" in every
    assert none.startswith("No blocks.")


def test_the_handle_lists_blocks_and_raises_what_the_run_refuses(play: Any) -> None:
    from parslab.errors import ConfigurationError

    run = play(
        snapshot({"executor": "htex", "block": "0"}), panel.ErrorReply("", "No."), panel.CommandReply("", "Gone.")
    )
    assert [row.block for row in run.blocks()] == ["0"]
    with pytest.raises(ConfigurationError, match=r"^No\.$"):
        run.scale("htex", 2)
    assert run.cancel_block("htex/0") == "Gone."
    assert run.asked[-1] == panel.BlockActionRequest("", "htex", "0", "cancel")


def test_every_command_is_explained() -> None:
    """What `%parsl?` shows, and what `%parsl` alone lists."""
    from parslab.jupyter.magics import ParslMagics

    with pytest.raises(UsageError) as said:
        run_command("", {})
    listed = str(said.value).partition(": ")[2].partition(".")[0].split(", ")
    lines = [line.split() for line in str(ParslMagics.line.__doc__).splitlines() if line.strip().startswith("%parsl ")]
    assert {words[1] for words in lines} == set(listed)
    assert all(len(words) > 3 for words in lines)
