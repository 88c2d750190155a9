"""Questions are answered, refused in time, or ended with the run; nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import msgspec
import pytest

from parslab.client.calls.sent_functions import SentFunctions
from parslab.client.transport.questions import Questions
from parslab.records import panel
from parslab.serialize.functions import AppFunction
from parslab.wire.messages.base import DefineFunction, ForgetFunctions, PackedValue, TaskValue
from parslab.wire.messages.client import FetchValue, PanelReply, PanelRequest


class FakeLink:
    """A link that answers by itself, or not at all."""

    def __init__(self) -> None:
        self.in_own_thread = False
        self.sent: list[Any] = []
        self.answer: Any = None

    def send(self, message: Any, frames: Any = ()) -> None:
        self.sent.append(message)
        if self.answer is not None:
            self.answer(message)

    def later(self, message: Any) -> None:
        self.sent.append(message)

    def hand_over(self) -> bool:
        return not self.in_own_thread

    def poll(self, timeout: int) -> None:
        self.answer(self.sent[-1])


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def questions(link: FakeLink) -> Questions:
    return Questions(link)  # type: ignore[arg-type]


def test_an_answer(link: FakeLink, questions: Questions) -> None:
    link.answer = lambda m: questions.answered(
        PanelReply(m.ask, msgspec.json.encode(panel.CommandReply("", "two tasks")))
    )
    assert questions.ask(panel.Heartbeat(), 1.0) == panel.CommandReply("", "two tasks")
    (asked,) = link.sent
    assert isinstance(asked, PanelRequest)
    assert asked.ask > 0


def test_no_answer_in_time(questions: Questions) -> None:
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        questions.ask(panel.Heartbeat(), 0.01)
    questions.answered(PanelReply(1, b"too late"))


def test_a_value(link: FakeLink, questions: Questions) -> None:
    link.answer = lambda m: questions.value(
        TaskValue(m.task, b"", 2), [bytearray(b"x"), bytearray(b"a"), bytearray(b"b")], 1
    )
    assert questions.fetch(7) == (b"", [b"a", b"b"])
    assert link.sent == [FetchValue(7)]


def test_a_value_that_is_late_is_there_for_who_asks_again(link: FakeLink, questions: Questions) -> None:
    for _ in range(2):
        with pytest.raises(FutureTimeout, match="value of task 7 is on its way"):
            questions.fetch(7, 0.0)
    assert link.sent == [FetchValue(7)]
    questions.value(TaskValue(7, b"v", 0), [], 0)
    assert questions.fetch(7, 0.0) == (b"v", [])
    assert not questions._fetches


def test_a_late_value_that_nobody_asks_for_again_does_not_stay(questions: Questions) -> None:
    with pytest.raises(FutureTimeout):
        questions.fetch(7, 0.0)
    questions.give_up(7)
    assert questions.value(TaskValue(7, b"v", 0), [], 0) == 0
    assert not questions._fetches


def test_frames_of_parts_are_counted(questions: Questions) -> None:
    assert questions.value(TaskValue(7, b"", 0, (PackedValue(b"", 2), PackedValue(b"", 1))), [bytearray()] * 3, 0) == 3
    assert questions.value(TaskValue(8, b"x", 0), [], 0) == 0


def test_the_links_own_thread_turns_it_while_it_waits(link: FakeLink, questions: Questions) -> None:
    link.in_own_thread = True
    turned: list[Any] = []

    def answer(message: Any) -> None:
        if turned:
            questions.value(TaskValue(message.task, b"v", 0), [], 0)
        turned.append(message)

    link.answer = answer
    assert questions.fetch(7) == (b"v", [])


def test_the_end_of_the_run_ends_every_question(questions: Questions) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(questions.fetch(7))),
        threading.Thread(target=lambda: answers.append(questions.ask(panel.Heartbeat(), 10.0))),
    ]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    while not (questions._fetches and questions._asks):
        pause.wait(0.001)
    questions.end()
    for thread in threads:
        thread.join(5)
    assert answers == [None, None]


def test_a_value_asked_for_after_the_end_does_not_come(link: FakeLink, questions: Questions) -> None:
    """`result()` of a large value waited for ever when its run was over."""
    questions.end()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(questions.fetch(7)), daemon=True)
    thread.start()
    thread.join(5)
    assert answers == [None]


# --- functions that were sent ----------------------------------------------------------------------------------------


def same() -> Any:
    """The function of a cell that is run twice."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("def f(): return 1", "<cell>", "exec"), names)
    return names["f"]


def test_a_function_is_sent_once_and_forgotten_with_its_pickle(link: FakeLink) -> None:
    codes = SentFunctions(link)  # type: ignore[arg-type]
    function = AppFunction(same())
    number = codes.number(function.current(), function.function)
    assert codes.number(function.current(), function.function) == number
    assert [type(m) for m in link.sent] == [DefineFunction]
    del function
    assert link.sent[-1] == ForgetFunctions([number])


def test_a_cell_that_is_run_again_does_not_make_its_function_forgotten(link: FakeLink) -> None:
    """The end of the first pickle sent Forget between the look-up of the number and the call that names it."""
    codes = SentFunctions(link)  # type: ignore[arg-type]
    first, second = AppFunction(same()), AppFunction(same())
    number = codes.number(first.current(), first.function)
    assert codes.number(second.current(), second.function) == number
    del first
    assert codes.number(second.current(), second.function) == number
    assert [type(m) for m in link.sent] == [DefineFunction]
    del second
    assert link.sent[-1] == ForgetFunctions([number])
