"""Sessions of clients: who is welcomed, who is refused, and what a client may send when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from parslab.dataflow.clients import sessions as module
from parslab.dataflow.clients.registry import ClientRegistry
from parslab.dataflow.clients.sessions import Sessions
from parslab.testing.fakes import run_settings
from parslab.wire.messages.base import PROTOCOL, Refused
from parslab.wire.messages.client import CancelTasks, ClientHello, PanelRequest, SetLinger, Welcome
from tests.unit.dataflow.fake_host import FakeHost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from parslab.dataflow.clients.connection import ClientConnection

HELLO = ClientHello(PROTOCOL, "1.0", "3.12", 42, "here", "")


class Stream:
    """A client's end: the test says what comes in, and sees what goes out."""

    def __init__(self, sock: Any, _: Any) -> None:
        self.sock = sock
        self.raw = None
        self.congested = False
        self.batches: list[list[Any]] = []
        self.sent: list[Any] = []
        self.closed = False

    def receive(self) -> list[tuple[list[Any], list[bytearray]]]:
        batches, self.batches = self.batches, []
        if not batches:
            raise EOFError
        return [(messages, []) for messages in batches]

    def send(self, messages: list[Any], frames: Any = ()) -> None:
        self.sent += messages

    def close(self) -> None:
        self.closed = True


class Loop:
    """Keeps what is watched."""

    def __init__(self) -> None:
        self.readable: dict[Any, Callable[[], None]] = {}

    def watch(self, sock: Any, readable: Callable[[], None], writable: Any = None) -> None:
        self.readable[sock] = readable

    def forget(self, sock: Any) -> None:
        self.readable.pop(sock, None)


class Run:
    """The sessions of a run, with stand-ins for what carries out the messages."""

    def __init__(self, folder: Path) -> None:
        self.loop, self.host = Loop(), FakeHost()
        self.host.loop = self.loop
        self.clients = ClientRegistry(self.loop)  # type: ignore[arg-type]
        self.carried_out: list[Any] = []
        self.left: list[tuple[int, str]] = []
        self.dropped: list[int] = []
        stand_in: Any = SimpleNamespace(
            carry_out=lambda client, messages, frames, first: self.carried_out.extend(messages),
            attached=lambda *_, **__: None,
            left=lambda client, reason: self.left.append((client.number, reason)),
            dead_clients=lambda: [one for one in self.clients.connected.values() if one.pid == 13],
            writer=None,
            client_joined=lambda *_: None,
            client_left=lambda number: None,
            drop=self.dropped.append,
        )
        self.sessions = Sessions(
            self.host,
            run_settings(folder),
            (("llex", 0),),
            clients=self.clients,
            requests=stand_in,
            presence=stand_in,
            log_service=stand_in,
            retry_service=stand_in,
            unused_functions=stand_in,
            failover=None,
            prior_calls=None,
        )

    def guest(self, *batches: list[Any]) -> Any:
        """A guest attaches and sends these batches."""
        client = self.sessions.add(SimpleNamespace(setblocking=lambda _: None), owner=False)  # type: ignore[arg-type]
        self.sends(client, *batches)
        return client

    def sends(self, client: ClientConnection, *batches: list[Any]) -> None:
        client.stream.batches += batches  # type: ignore[attr-defined]
        self.loop.readable[client.stream]()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("parslab.dataflow.clients.connection.Stream", Stream)
    monkeypatch.setattr(module, "peer_pid", lambda _: 42)
    return Run(tmp_path)


def test_a_guest_that_introduces_itself_is_welcomed_and_served(run: Run) -> None:
    guest = run.guest([HELLO, CancelTasks([1])], [CancelTasks([2])])
    (welcome,) = guest.stream.sent
    assert isinstance(welcome, Welcome)
    assert welcome.client == guest.number == 0
    assert run.carried_out == [CancelTasks([1]), CancelTasks([2])]
    assert guest.pid_is_local


def test_a_guest_of_another_version_is_refused_and_nothing_that_it_sent_is_carried_out(run: Run) -> None:
    hello = ClientHello(PROTOCOL + 1, "9.0", "3.12", 42, "here", "")
    guest = run.guest([hello, CancelTasks([1])], [CancelTasks([2])])
    (refused,) = guest.stream.sent
    assert isinstance(refused, Refused)
    assert "use the same version" in refused.reason
    assert run.carried_out == []
    assert (guest.stream.closed, run.clients.connected) == (True, {})


@pytest.mark.parametrize("first", [[CancelTasks([1])], []])
def test_a_guest_that_does_not_introduce_itself_is_dropped(run: Run, first: list[Any]) -> None:
    guest = run.guest(first)
    assert run.carried_out == []
    assert guest.stream.closed
    assert "ProtocolError" in run.host.notices[0]


def test_the_end_of_a_connection_ends_the_session_once(run: Run) -> None:
    guest = run.guest([HELLO])
    guest.functions = {0: 5}
    run.sends(guest)
    run.sessions.drop(guest, "again")
    assert run.left == [(0, "it has gone")]
    assert run.dropped == [5]
    assert run.loop.readable == {}


def test_a_client_whose_process_is_gone_is_dropped(run: Run) -> None:
    run.guest([HELLO])
    dead = run.guest([HELLO])
    dead.pid = 13
    run.sessions.drop_dead()
    assert list(run.clients.connected) == [0]
    assert run.left == [(1, "it has gone")]


def test_numbers_are_not_used_again(run: Run) -> None:
    guest = run.guest([HELLO])
    run.sends(guest)
    assert run.guest([HELLO]).number == 1
    run.clients.reserve_numbers(7)
    assert run.guest([HELLO]).number == 7


PANEL = ClientHello(PROTOCOL, "1.0", "3.12", 42, "here", panel=True)


def test_a_panel_is_welcomed_and_keeps_nothing_of_the_run(run: Run) -> None:
    panel = run.guest([PANEL, PanelRequest(0, b"{}")])
    (welcome,) = panel.stream.sent
    assert isinstance(welcome, Welcome)
    assert run.carried_out == [PanelRequest(0, b"{}")]
    run.clients.send_all(SetLinger(5.0))
    assert panel.stream.sent == [welcome]
    run.sends(panel)
    assert panel.stream.closed
    assert (run.left, run.dropped, run.loop.readable) == ([], [], {})


def test_a_panel_of_another_version_is_refused(run: Run) -> None:
    panel = run.guest([ClientHello(PROTOCOL + 1, "9.0", "3.12", 42, "here", panel=True)])
    (refused,) = panel.stream.sent
    assert isinstance(refused, Refused)
    assert run.clients.connected == {}
