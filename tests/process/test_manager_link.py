"""The connection of a manager of another host, when the other side is gone."""

from __future__ import annotations

import socket

import pytest
import zmq

from parslab.records.executor_settings import ManagerSettings
from parslab.remote.manager.link import ManagerLink
from parslab.wire.invitations import ManagerInvitation
from parslab.wire.messages.manager import ManagerLeft
from tests.process.house import until


@pytest.mark.parametrize("frames", [[], [b"x" * 100]])
def test_what_is_sent_to_nobody_does_not_block(frames: list[bytes]) -> None:
    """A manager says goodbye when it leaves, also to a DataFlowKernel that was killed."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    invitation = ManagerInvitation(
        label="htex",
        executor=0,
        addresses=[],
        server_key=public,
        public_key=public,
        secret_key=secret,
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
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = ManagerLink(invitation, f"tcp://127.0.0.1:{server.getsockname()[1]}", b"me")
        server.accept()[0].close()

        def over() -> str:
            link.watch()
            return link.over

        until(over, 5)
    try:
        link.send([ManagerLeft("it leaves")], frames)
    finally:
        link.close()
