"""What is said under a cell that was interrupted."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import ExecutionResult

from parslab.jupyter import interrupts


@pytest.fixture
def unfinished(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A run with tasks of the cell that has just ended."""
    dfk = SimpleNamespace(
        last_cell="In [3]", unfinished_of_last_cell=3, cancel=lambda cell: f"3 tasks cancelled ({cell})"
    )
    monkeypatch.setattr(interrupts, "calling_cell", lambda: "In [3]")
    monkeypatch.setattr(interrupts, "session", SimpleNamespace(dfk=lambda: dfk))
    return dfk


def ended(**errors: BaseException) -> ExecutionResult:
    """What IPython says of a cell."""
    result = ExecutionResult(None)  # type: ignore[no-untyped-call]
    for name, error in errors.items():
        setattr(result, name, error)
    return result


@pytest.mark.parametrize(
    "result",
    [
        ended(error_in_exec=KeyboardInterrupt()),
        ended(error_in_exec=asyncio.CancelledError()),
        ended(error_before_exec=KeyboardInterrupt()),  # between two of its statements
    ],
)
def test_interrupted_cells_are_reported(unfinished: SimpleNamespace, result: ExecutionResult) -> None:
    said = interrupts.interrupted_cell(result, cancel=False)
    assert said == "In [3] was interrupted; its 3 unfinished tasks go on (%parsl cancel --cell would end them)."
    assert interrupts.interrupted_cell(result, cancel=True) == "In [3] was interrupted: 3 tasks cancelled (In [3])."
    unfinished.unfinished_of_last_cell = 1
    assert "its unfinished task goes on" in interrupts.interrupted_cell(result, cancel=False)
    unfinished.unfinished_of_last_cell = 0
    assert not interrupts.interrupted_cell(result, cancel=False)


def test_nothing_is_said_under_others(unfinished: SimpleNamespace) -> None:
    assert not interrupts.interrupted_cell(ended(), cancel=True)
    assert not interrupts.interrupted_cell(ended(error_in_exec=ValueError()), cancel=True)
    assert not interrupts.interrupted_cell(ended(error_before_exec=SyntaxError()), cancel=True)
    unfinished.last_cell = "In [2]"
    assert not interrupts.interrupted_cell(ended(error_in_exec=KeyboardInterrupt()), cancel=True)
