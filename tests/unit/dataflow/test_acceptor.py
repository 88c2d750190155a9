"""A connection that cannot be accepted for lack of descriptors is accepted later, and costs no fault of the loop."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from parslab.dataflow.acceptor import Acceptor


class Listener:
    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.open = True

    def fileno(self) -> int:
        return 7 if self.open else -1

    def accept(self) -> tuple[Any, None]:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer, None

    def close(self) -> None:
        self.open = False


class Host:
    """A process whose time does not move until the test runs a timer."""

    def __init__(self) -> None:
        self.loop = self
        self.watched: list[Any] = []
        self.timers: list[tuple[float, Any]] = []

    def now(self) -> float:
        return 0.0

    def call_at(self, when: float, call: Any) -> None:
        self.timers.append((when, call))

    def watch(self, sock: Any, readable: Any) -> None:
        self.watched.append(readable)

    def forget(self, sock: Any) -> None:
        self.watched.clear()


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_it_waits_longer_and_longer_while_there_is_no_descriptor() -> None:
    host, listener = Host(), Listener()
    accepted: list[Any] = []
    acceptor = Acceptor(listener, host, accepted.append)  # type: ignore[arg-type]
    listener.answers = [error(errno.EMFILE), error(errno.ENFILE), "a connection"]
    host.watched[0]()
    assert not host.watched  # else the loop would wake at once, for ever
    for pause in (0.25, 0.5):
        ((when, call),) = host.timers
        assert when == pause
        host.timers.clear()
        call()
        host.watched[0]()
    assert accepted == ["a connection"]
    acceptor.close()
    assert not listener.open


def test_a_connection_that_is_gone_already_is_nothing() -> None:
    host, listener = Host(), Listener()
    Acceptor(listener, host, pytest.fail)  # type: ignore[arg-type]
    listener.answers = [error(errno.EAGAIN), error(errno.ECONNABORTED)]
    host.watched[0]()
    host.watched[0]()
    assert not host.timers


def test_any_other_error_is_a_fault() -> None:
    host, listener = Host(), Listener()
    Acceptor(listener, host, pytest.fail)  # type: ignore[arg-type]
    listener.answers = [error(errno.EBADF)]
    with pytest.raises(OSError, match="descriptor"):
        host.watched[0]()
