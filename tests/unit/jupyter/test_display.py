"""How futures are shown, without a front end."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from parslab.client.futures.app_future import AppFuture
from parslab.jupyter import display
from parslab.records.states import TaskState
from parslab.wire.messages.base import Failure

if TYPE_CHECKING:
    from parslab.client.futures.home import FutureHome


class FakeRun:
    def release(self, task: int, size: int) -> None:
        """A future is garbage."""


def future(state: TaskState | None = None, error: str = "", traceback: str = "") -> AppFuture:
    made = AppFuture(cast("FutureHome", FakeRun()), 7, "fit")
    if state is not None:
        made.resolve(state, b"", 0, Failure(error, traceback) if error else None)
    return made


def test_an_unfinished_future_asks_nobody() -> None:
    assert display.plain(future()) == "<AppFuture task 7 fit submitted>"


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        (TaskState.exec_done, "", "<AppFuture task 7 fit exec_done>"),
        (TaskState.cancelled, "", "<AppFuture task 7 fit cancelled>"),
        (TaskState.failed, "ValueError: " + "x" * 1000, "<AppFuture task 7 fit failed: ValueError>"),
    ],
)
def test_a_line_of_a_list_is_short(state: TaskState, error: str, text: str) -> None:
    assert display.plain(future(state, error)) == text


def test_a_part_says_which() -> None:
    part = future()["model"][0]
    assert display.plain(part) == "<ResultPart['model'][0] task 7 fit submitted>"


def test_the_traceback_is_folded_bounded_and_escaped() -> None:
    html = display.bundle(future(TaskState.failed, "ValueError: <b>", "x" * 100_000 + "<i>"))["text/html"]
    assert "&lt;b&gt;" in html
    assert "<details>" in html
    assert "&lt;i&gt;" in html
    assert len(html) < display.TRACEBACK + 2000


def test_a_cell_in_a_terminal_is_shown_when_it_has_been_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    output = display.CellOutput("In [3]", live=False)
    task = future()
    output.open(task)
    output.follow("stdout", "hello\n")
    assert capsys.readouterr().out == ""
    task.resolve(TaskState.failed, b"", 0, Failure("ValueError: no", ""))
    assert display.pacer.settle(5.0)
    output.close()
    assert capsys.readouterr().out.startswith("hello\n[failed · In [3] · task 7 · ")
