"""DESIGN.md is true: its drawings of state machines are those of the tables, its decisions are files.

`python -m tests.unit.test_design` writes the drawings into DESIGN.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parslab.dataflow.high_throughput.lifecycle import MANAGER
from parslab.files.transfer import TRANSFER, TransferState
from parslab.records.drawing import diagram
from parslab.records.machine import TASK, Signal
from parslab.records.states import ENDED, FINAL, ManagerState, TaskState, WorkerState
from parslab.remote.pool.lifecycle import WORKER
from parslab.scaling.lifecycle import BLOCK

DESIGN = Path(__file__).parents[2] / "python" / "DESIGN.md"
DECISIONS = DESIGN.parent / "decisions"
BEGIN, END = "<!-- machines -->\n", "<!-- /machines -->"


def machines() -> str:
    """The drawings of all state machines, as DESIGN.md shows them."""
    drawings = {
        "A task": diagram(TASK, FINAL),
        "A block": diagram(BLOCK, ENDED),
        "A manager": diagram(MANAGER, {ManagerState.gone, ManagerState.lost, ManagerState.refused}),
        "A worker": diagram(WORKER, {WorkerState.dead}),
        "A transfer": diagram(TRANSFER, {TransferState.done, TransferState.failed}),
    }
    return "\n".join(f"{title}:\n\n```mermaid\n{text}\n```\n" for title, text in drawings.items())


def test_the_drawings_are_those_of_the_tables() -> None:
    text = DESIGN.read_text(encoding="utf-8")
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip() == machines().strip()


def test_a_drawing_shows_exactly_its_table() -> None:
    text = diagram(TASK, FINAL)
    arrows = re.findall(r"^    (\w+) --> (\w+): (.*)$", text, re.MULTILINE)
    drawn = {(TaskState[a], Signal[s]): TaskState[b] for a, b, signals in arrows for s in signals.split(", ")}
    assert drawn == TASK
    assert set(re.findall(r"^    (\w+) --> \[\*\]$", text, re.MULTILINE)) == {state.name for state in FINAL}


@pytest.mark.parametrize("path", sorted(DECISIONS.glob("*.md")), ids=lambda path: path.stem[:4])
def test_a_decision_has_all_its_parts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem[:4]}. ")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[:3] == ["Context", "Choice", "Price"]
    assert re.search(r"^Status: (accepted|superseded by \d{4})$", text, re.MULTILINE)


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted(DECISIONS.glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


if __name__ == "__main__":
    text = DESIGN.read_text(encoding="utf-8")
    at = text.index(BEGIN) + len(BEGIN)
    DESIGN.write_text(f"{text[:at]}\n{machines()}\n{text[text.index(END) :]}", encoding="utf-8")
