"""Commands are questions of the panel protocol: what is asked, and what becomes of the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from parslab.client.handle.commands import RunCommands
from parslab.client.run_state import RunState
from parslab.errors import ConfigurationError, DataFlowKernelLost, NoDataFlowKernelError, ParslabError
from parslab.records import panel


class FakeQuestions:
    """Gives one answer to everything."""

    def __init__(self, answer: panel.Reply | None) -> None:
        self.answer = answer
        self.asked: list[panel.Request] = []

    def ask(self, message: panel.Request, timeout: float | None) -> panel.Reply | None:
        self.asked.append(message)
        return self.answer


def commands(answer: panel.Reply | None) -> tuple[RunCommands, FakeQuestions, RunState]:
    questions, state = FakeQuestions(answer), RunState("000-a", Path("/runs/000"), 1)
    return RunCommands(cast("Any", questions), state), questions, state


def test_the_sentence_of_the_answer_is_returned() -> None:
    run, questions, state = commands(panel.CommandReply("", "It stays for 90 s."))
    assert run.keep(90) == "It stays for 90 s."
    assert questions.asked == [panel.LingerRequest("", 90.0)]
    assert state.linger == 90.0


def test_a_refusal_is_raised() -> None:
    run, _, state = commands(panel.ErrorReply("", "No."))
    with pytest.raises(ConfigurationError, match=r"^No\.$"):
        run.scale("htex", 3)
    with pytest.raises(ParslabError, match=r"^No\.$"):
        run.detail(7)
    with pytest.raises(ConfigurationError):
        run.keep(90)
    assert state.linger == 0.0


def test_nothing_is_asked_of_a_run_that_is_over() -> None:
    run, questions, state = commands(None)
    with pytest.raises(DataFlowKernelLost):  # it ended while the question was open
        run.blocks()
    state.ended = NoDataFlowKernelError("over")
    with pytest.raises(NoDataFlowKernelError, match="Run 000-a is over"):
        run.explain(7)
    assert len(questions.asked) == 1
    assert run.retry([]) == "No task has failed."
