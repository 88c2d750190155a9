"""The connection of a manager of another host, when the other side is gone, or is another program."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from parslab.records.executor_settings import ManagerSettings
from parslab.remote.manager import meeting
from parslab.remote.manager.link import ManagerLink
from parslab.remote.manager.meeting import Unreachable, meet
from parslab.wire import invitations
from parslab.wire.invitations import ManagerInvitation
from parslab.wire.messages.manager import ManagerLeft
from parslab.wire.reachable import reachable
from tests.process.sandbox import patience, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab.remote.manager.meeting import Connected


class Port:
    """The port of a DataFlowKernel, with the keys of its run."""

    def __init__(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.router: zmq.Socket[Any] = self.context.socket(zmq.ROUTER)
        server, client = zmq.curve_keypair(), zmq.curve_keypair()
        self.router.curve_server = True
        self.router.curve_secretkey = server[1]
        self.address = f"tcp://127.0.0.1:{self.router.bind_to_random_port('tcp://127.0.0.1')}"
        self._server, self._client = server[0].decode(), client

    def invitation(self, *addresses: str) -> ManagerInvitation:
        """Return an invitation that names these addresses."""
        return ManagerInvitation(
            label="htex",
            executor=0,
            addresses=list(addresses),
            server_key=self._server,
            public_key=self._client[0].decode(),
            secret_key=self._client[1].decode(),
            run="000-abc",
            package="0",
            path=[],
            cwd="/",
            manager=ManagerSettings(),
            prefix="/usr",
            host="elsewhere",
            clock=0.0,
            reconnect_for=1.0,
        )

    def invite(self, path: Path, *addresses: str) -> None:
        """Write an invitation that names these addresses."""
        invitations.write(path, self.invitation(*addresses))


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port()
    yield made
    made.context.destroy(0)


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """Another program, which accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"tcp://127.0.0.1:{server.getsockname()[1]}"


def link_of(found: Connected) -> ManagerLink:
    assert isinstance(found.link, ManagerLink)
    found.link.close()
    return found.link


def test_a_manager_leaves_a_stranger_when_the_invitation_changes(
    port: Port, stranger: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manager believed in the open port, and waited there for ``heartbeat_threshold`` seconds."""
    monkeypatch.setattr(meeting, "_HANDSHAKE", 600.0)
    path = tmp_path / "manager-htex.json"
    port.invite(path, address_of(stranger))
    with ThreadPoolExecutor(1) as threads, contextlib.ExitStack() as stack:
        found = threads.submit(meet, str(path), "0", 600.0)
        for _ in range(2):  # first a look whether the port is open, then the connection that waits for a handshake
            stack.enter_context(stranger.accept()[0])
        port.invite(path, port.address)
        assert link_of(found.result(10 * patience())).address == port.address


def test_a_handshake_has_a_limit_and_another_address_is_tried(
    port: Port, stranger: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the stranger is the first to answer."""
    monkeypatch.setattr(meeting, "_HANDSHAKE", 1.0)
    answers: Iterator[tuple[str, dict[str, str]]] = iter([(address_of(stranger), {})])
    monkeypatch.setattr(meeting, "reachable", lambda *args: next(answers, None) or reachable(*args))
    path = tmp_path / "manager-htex.json"
    port.invite(path, port.address, address_of(stranger))
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(meet, str(path), "0", 600.0)
        with stranger.accept()[0]:
            assert link_of(found.result(10 * patience())).address == port.address


def test_a_stranger_alone_is_named_in_the_end(
    port: Port, stranger: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "_HANDSHAKE", 0.1)
    path = tmp_path / "manager-htex.json"
    port.invite(path, address_of(stranger))
    with pytest.raises(Unreachable, match=rf"{address_of(stranger)} \(no handshake\)"):
        meet(str(path), "0", 0.0)


def test_a_peer_that_hangs_up_during_the_handshake(port: Port, stranger: socket.socket) -> None:
    link = ManagerLink(port.invitation(), address_of(stranger), b"me")
    with ThreadPoolExecutor(1) as threads:
        why = threads.submit(link.handshake, float("inf"), lambda: False)
        stranger.accept()[0].close()
        assert why.result(10 * patience()) == "the connection to the DataFlowKernel broke"


@pytest.mark.parametrize("frames", [[], [b"x" * 100]])
def test_what_is_sent_to_nobody_does_not_block(port: Port, frames: list[bytes]) -> None:
    """A manager says goodbye when it leaves, also to a DataFlowKernel that was killed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = ManagerLink(port.invitation(), f"tcp://127.0.0.1:{server.getsockname()[1]}", b"me")
        server.accept()[0].close()

        def over() -> str:
            link.watch()
            return link.over

        until(over, 5)
    try:
        link.send([ManagerLeft("it leaves")], frames)
    finally:
        link.close()
