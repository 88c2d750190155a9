"""How a handle opens, loses and leaves its run; nothing here is a real process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from parslab.client.handle.lifecycle import Lifecycle
from parslab.client.run_state import RunState
from parslab.errors import ConfigurationError, DataFlowKernelLost, NoDataFlowKernelError
from parslab.wire.messages.base import PROTOCOL, Refused
from parslab.wire.messages.client import ClientHello, ShutDownRun

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = ClientHello(protocol=PROTOCOL, package="1", python="3.11", pid=1, host="here")


class FakeLink:
    """A link whose DataFlowKernel does at once what the test says."""

    keeps_batches = False

    def __init__(self, does: Callable[[FakeLink], None]) -> None:
        self._does = does
        self.sent: list[Any] = []
        self.open = True
        self.ended: Callable[[str], None] = lambda how: None

    def start(self, handle: Any, ended: Callable[[str], None], reconnect: Any = None, **_: Any) -> None:
        self.ended = ended
        self._does(self)

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def drain(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.open = False


class FakeProcess:
    """A DataFlowKernel process, and what was done to it."""

    log = Path("/runs/000/dfk.log")
    pid = 4242

    def __init__(self) -> None:
        self.cleaned: list[bool] = []

    def log_tail(self) -> str:
        return "last words"

    def wait(self, seconds: float) -> bool:
        return True

    def how_it_ended(self) -> str:
        return "was killed by SIGKILL"

    def clean_up(self, kill: bool = True) -> None:
        self.cleaned.append(kill)


class Run:
    """A handle's lifecycle with fake collaborators."""

    def __init__(self, does: Callable[[Run], None]) -> None:
        self.over, self.closed = 0, 0
        self.state = RunState("000-a", Path("/runs/000"), 4242)
        self.process = FakeProcess()
        self.link = FakeLink(lambda _: does(self))
        self.lifecycle = Lifecycle(self.state, cast("Any", self.link), self.process, None, cast("Any", self))

    def handle(self, batch: Any) -> None: ...

    def take_unhandled(self) -> list[Any]:
        return []

    def run_over(self) -> None:
        self.over += 1

    def close(self) -> None:
        self.closed += 1


def welcomed(run: Run) -> None:
    run.lifecycle.welcome(0)


def test_a_run_that_refuses_a_guest_goes_on() -> None:
    """It was killed 3 s later, with everything that other clients had in it."""
    run = Run(lambda run: run.lifecycle.refused(Refused("use the same version")))
    with pytest.raises(ConfigurationError, match="run 000-a cannot be used: use the same version"):
        run.lifecycle.open(HELLO)
    assert run.process.cleaned == []
    assert not run.link.open
    assert run.closed == 1


def test_a_process_that_does_not_welcome_its_starter_is_removed() -> None:
    run = Run(lambda run: run.lifecycle.refused(Refused("no")))
    with pytest.raises(ConfigurationError):
        run.lifecycle.open(None)
    assert run.process.cleaned == [True]


@pytest.mark.parametrize(("hello", "kill"), [(HELLO, False), (None, True)])
def test_a_client_that_is_dropped_kills_only_a_process_of_its_own(hello: ClientHello | None, kill: bool) -> None:
    run = Run(welcomed)
    said: list[str] = []
    run.lifecycle.open(hello)
    run.lifecycle.on_end.append(said.append)
    run.link.ended("is gone")
    assert run.process.cleaned == [kill]
    assert isinstance(run.state.ended, DataFlowKernelLost)
    assert run.over == 1
    assert said == [str(run.state.ended)]


def test_an_owner_ends_its_run_and_cleans_up_once() -> None:
    run = Run(welcomed)
    run.lifecycle.open(None)
    run.lifecycle.cleanup()
    run.lifecycle.cleanup()
    assert [type(message) for message in run.link.sent] == [ShutDownRun]
    assert (run.process.cleaned, run.closed) == ([True], 1)


def test_who_leaves_a_run_says_nothing_and_removes_nothing() -> None:
    run = Run(welcomed)
    run.lifecycle.open(None)
    run.state.linger = 600.0
    run.lifecycle.at_exit()
    run.link.ended("ended")
    assert run.link.sent == []
    assert run.process.cleaned == []
    assert isinstance(run.state.over_error(), NoDataFlowKernelError)
    assert "has left run 000-a" in str(run.state.over_error())
