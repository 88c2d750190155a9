"""A kernel that returns to its notebook is always answered, whatever the event log is like: load() waits for it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from parslab.dataflow.clients.leases import Leases
from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.persistence import log_format
from parslab.dataflow.resume.resume_from_log import ResumeFromLog
from tests.unit.dataflow.fake_host import FakeHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BOOK = "/books/fit.ipynb"


class Host(FakeHost):
    """Says when the thread that reads has called."""

    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Event()

    def call_soon(self, call: Callable[[], None]) -> None:
        super().call_soon(call)
        self.called.set()

    def finish(self) -> None:
        """Wait for the thread, and run what it has posted."""
        assert self.called.wait(10)
        for call in self.posted:
            call()


class Run:
    """A run whose first kernel is gone, and whose second one has just attached."""

    def __init__(self, folder: Path) -> None:
        self.host = Host()
        leases = Leases(600.0, BOOK, 0.0)
        leases.attached(0, BOOK, owner=True)
        leases.left(0, 1.0)
        leases.attached(1, BOOK)
        self.client: Any = SimpleNamespace(number=1, notebook=BOOK, matcher=None)
        self.answers: list[int] = []
        log_writer: Any = SimpleNamespace(folder=folder, write=lambda: None)
        clients: Any = SimpleNamespace(connected={1: self.client})
        functions = FunctionRegistry()
        self.resume = ResumeFromLog(
            self.host,
            log_writer,
            leases=leases,
            table=TaskTable(("llex",)),
            functions=functions,
            clients=clients,
            inherits=(),
        )

    def find(self) -> None:
        self.resume.find(self.client, self.answers.append)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_the_answer_comes_when_the_log_is_read(run: Run) -> None:
    run.find()
    assert run.answers == []
    run.host.finish()
    assert run.answers == [-1]
    assert run.client.matcher is not None
    run.host.run_timers()
    assert run.answers == [-1]
    assert run.host.notices == []


def test_the_answer_comes_though_the_log_cannot_be_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: Any) -> Iterator[Any]:
        raise OSError("the disk is gone")

    monkeypatch.setattr(log_format, "entries", unreadable)
    run.find()
    run.host.finish()
    assert run.answers == [-1]


def test_the_answer_comes_though_no_thread_can_be_started(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    run.find()
    run.host.finish()
    assert run.answers == [-1]


def test_the_answer_does_not_wait_for_a_log_that_takes_too_long(run: Run) -> None:
    run.find()
    run.host.run_timers()
    assert run.answers == [-1]
    assert "run anew" in run.host.notices[0]
    run.host.finish()
    assert run.answers == [-1]
    assert run.client.matcher is not None, "calls that come later are matched"
