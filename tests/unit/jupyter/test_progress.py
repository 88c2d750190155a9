"""Progress of futures: what is counted, what a line says, and when the display ends."""

from __future__ import annotations

import gc
import io
import threading
import weakref
from concurrent.futures import Future

import pytest

from parslab.client.futures.app_future import AppFuture
from parslab.errors import ConfigurationError
from parslab.jupyter.progress import displays
from parslab.jupyter.progress.displays import Terminal, TextFile
from parslab.jupyter.progress.pace import Pace, line
from parslab.jupyter.progress.show import Progress
from parslab.jupyter.progress.tracker import Counts, Tracker
from parslab.records.states import TaskState
from parslab.wire.messages.base import Failure


class Home:
    """What a future needs of a run."""

    def release(self, task: int, size: int) -> None:
        pass


def task(number: int) -> AppFuture:
    return AppFuture(Home(), number, "fit")  # type: ignore[arg-type]


def test_tasks_are_counted_by_their_ends() -> None:
    futures = [task(n) for n in range(4)]
    tracker = Tracker([*futures, futures[0]])
    assert tracker.look() == Counts(4, 0)
    futures[0].resolve(TaskState.exec_done, b"", 0, None)
    futures[1].resolve(TaskState.failed, b"", 0, Failure("ValueError: no"))
    futures[2].resolve(TaskState.cancelled, b"", 0, None)
    assert tracker.look() == tracker.look() == Counts(4, 3, 1, 1)
    futures[1].reopen()  # it is retried
    assert tracker.look() == Counts(4, 2, 0, 1)
    futures[1].resolve(TaskState.exec_done, b"", 0, None)
    futures[3].resolve(TaskState.exec_done, b"", 0, None)
    assert tracker.look() == Counts(4, 4, 0, 1)
    assert tracker.look().finished


def test_a_retry_that_ends_between_two_looks_is_counted() -> None:
    future = task(0)
    tracker = Tracker([future])
    future.resolve(TaskState.failed, b"", 0, Failure("ValueError: no"))
    assert tracker.look() == Counts(1, 1, 1)
    future.reopen()
    future.resolve(TaskState.exec_done, b"", 0, None)
    assert tracker.look() == Counts(1, 1)


def test_a_result_is_not_kept() -> None:
    future: Future[object] = Future()
    value = Home()
    gone = weakref.ref(value)
    tracker = Tracker([future])
    future.set_result(value)
    assert tracker.look().finished
    del future, value
    gc.collect()
    assert gone() is None


def test_what_is_no_future_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"takes futures, not int: 7"):
        Tracker([7])  # type: ignore[list-item]


def test_futures_of_others_are_counted() -> None:
    futures = [Future[int]() for _ in range(3)]
    tracker = Tracker([*futures, futures[0]])
    futures[0].set_result(1)
    futures[1].set_exception(ValueError())
    futures[2].cancel()
    assert tracker.look() == tracker.look() == Counts(3, 3, 1, 1)


def test_a_line() -> None:
    pace = Pace(0.0)
    for second in range(31):
        pace.add(Counts(100_000, second * 20), float(second))
    counts = Counts(100_000, 600, failed=2)
    assert line(counts, pace, "fit") == "fit: 600/100,000 [....................] 0 %, 20/s, 1 h 22 min left, 2 failed"
    assert len(line(counts, pace, "fit", 30)) == 29
    assert line(Counts(0, 0), pace).startswith("0/0 [####################] 100 %")


@pytest.mark.parametrize("kind", [Terminal, TextFile])
def test_the_display_ends_with_the_last_future(kind: type[Terminal] | type[TextFile]) -> None:
    stream = io.StringIO()
    future: Future[int] = Future()
    shown = Progress(Tracker([future]), lambda _: kind(stream, "fit"))
    future.set_result(1)
    shown.join(20)
    assert "parslab-progress" not in [thread.name for thread in threading.enumerate()]
    assert stream.getvalue().endswith("\n")
    assert "fit: 1/1 [####################] 100 %" in stream.getvalue()
    assert ("\r" in stream.getvalue()) == (kind is Terminal)


class Buttons:
    """What the buttons of a widget were asked to do."""

    def __init__(self) -> None:
        self.clicked: list[str] = []

    def cancel(self) -> None:
        self.clicked.append("cancel")

    def retry(self) -> None:
        self.clicked.append("retry")


def test_the_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its buttons are there while they can do something."""
    monkeypatch.setattr(displays, "_displayed", lambda *_: None)
    buttons = Buttons()
    widget = displays.Widget("fit", buttons)
    title, bar, text, cancel, retry = widget.box.children
    pace = Pace(0.0)

    def shown(counts: Counts) -> tuple[str, int, int, str, bool, bool]:
        widget.show(counts, pace)
        visible = [button.layout.display != "none" for button in (cancel, retry)]
        return text.value, bar.value, bar.max, bar.bar_style, visible[0], visible[1]

    assert title.value == "fit"
    assert shown(Counts(2000, 1000)) == ("1,000 of 2,000", 1000, 2000, "", True, False)
    assert shown(Counts(4, 2, failed=1)) == ("2 of 4, 1 failed", 2, 4, "danger", True, True)
    assert shown(Counts(4, 4, cancelled=1)) == ("4 of 4, 0 s, 1 cancelled", 4, 4, "", False, True)
    assert shown(Counts(0, 0)) == ("0 of 0, 0 s", 0, 1, "success", False, False)
    cancel.click()
    retry.click()
    assert buttons.clicked == ["cancel", "retry"]


class Shown:
    """A display that notes what it shows last."""

    def __init__(self) -> None:
        self.ends: list[Counts] = []

    def show(self, counts: Counts, pace: Pace) -> None:
        pass

    def end(self, counts: Counts, pace: Pace) -> None:
        self.ends.append(counts)


class Retrying(Home):
    """A run that runs its failed tasks again."""

    def __init__(self) -> None:
        self.futures: list[AppFuture] = []

    def retry(self, number: int) -> None:
        self.futures[number].reopen()


def test_the_display_follows_tasks_that_are_retried() -> None:
    home, display = Retrying(), Shown()
    home.futures = [AppFuture(home, n, "fit") for n in range(2)]  # type: ignore[arg-type]
    for future in home.futures:
        future.resolve(TaskState.failed, b"", 0, Failure("ValueError: no"))
    shown = Progress(Tracker(home.futures), lambda _: display)
    shown.join(20)
    shown.retry()
    for future in home.futures:
        future.resolve(TaskState.exec_done, b"", 0, None)
    shown.join(20)
    assert display.ends == [Counts(2, 2, failed=2), Counts(2, 2)]


def test_cancel_ends_what_is_not_done() -> None:
    done, waits = Future[int](), Future[int]()
    done.set_result(1)
    display = Shown()
    shown = Progress(Tracker([done, waits]), lambda _: display)
    shown.cancel()
    shown.join(20)
    assert (waits.cancelled(), display.ends) == (True, [Counts(2, 2, cancelled=1)])


def test_a_display_that_is_closed_shows_no_more() -> None:
    display = Shown()
    shown = Progress(Tracker([Future[int]()]), lambda _: display)
    shown.close()
    assert display.ends == [Counts(1, 0)]
    shown.join(0)
