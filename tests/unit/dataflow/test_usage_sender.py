"""A report that cannot be sent neither delays nor fails its run."""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from parslab.dataflow import usage_sender
from parslab.dataflow.usage_sender import UsageSender
from parslab.wire.run_files import UsageSettings

if TYPE_CHECKING:
    from collections.abc import Callable

START = '{"format": "parslab-usage/1", "event": "start"}'


def settings(level: int) -> UsageSettings:
    return UsageSettings(address="usage.example.org:50077", start=START, run_id="r", level=level)


def join() -> None:
    """Wait for the thread of the sender."""
    for thread in threading.enumerate():
        if thread.name == "parslab-usage":
            thread.join(60)


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Make a socket pair of each address, and return what has arrived when it is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.setattr(usage_sender, "_connected", lambda address: ours)
    theirs.setblocking(False)

    def read() -> list[str]:
        found = []
        with theirs:
            while True:
                try:
                    data = theirs.recv(65536)
                except (BlockingIOError, ConnectionResetError):
                    break
                if not data:
                    break
                found.append(data.decode())
        ours.close()
        return found

    return read


@pytest.mark.parametrize(
    ("level", "first", "events"),
    [(1, True, ["start"]), (3, True, ["start", "end"]), (3, False, ["end"]), (2, False, [])],
)
def test_a_run_sends_what_its_level_says(
    arrived: Callable[[], list[str]], level: int, first: bool, events: list[str]
) -> None:
    sender = UsageSender(settings(level))
    sender.begin(first)
    join()
    sender.end({"exec_done": 1}, 1.0)
    sender.end({"exec_done": 1}, 1.0)
    assert [
        event for text in arrived() for event in ("start", "end") if f'"event":"{event}"' in text.replace(" ", "")
    ] == events


def test_a_run_that_sends_nothing_has_no_thread() -> None:
    sender = UsageSender(None)
    sender.begin()
    assert all(thread.name != "parslab-usage" for thread in threading.enumerate())
    sender.end({}, 1.0)


def test_a_name_server_that_does_not_answer_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def connected(address: str) -> socket.socket:
        answers.wait(60)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(usage_sender, "_connected", connected)
    sender = UsageSender(settings(3))
    sender.begin()
    sender.end({}, 1.0)  # returns although the look-up still waits
    assert not answers.is_set()
    answers.set()
    join()


def test_an_error_is_logged_and_nothing_else(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def connected(address: str) -> socket.socket:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(usage_sender, "_connected", connected)
    with caplog.at_level(logging.INFO):
        sender = UsageSender(settings(3))
        sender.begin()
        join()
        sender.end({}, 1.0)
    assert caplog.messages == ["no usage report is sent to usage.example.org:50077: Network is unreachable"]
