"""The connection of a manager of another host, when the other side is gone."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import zmq

from parslab.remote.manager.link import ManagerLink
from parslab.wire.messages.manager import ManagerLeft
from tests.process.house import until


@pytest.mark.parametrize("frames", [[], [b"x" * 100]])
def test_what_is_sent_to_nobody_does_not_block(frames: list[bytes]) -> None:
    """A manager says goodbye when it leaves, also to a DataFlowKernel that was killed."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    settings: dict[str, Any] = {"server_key": public, "public_key": public, "secret_key": secret}
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = ManagerLink(settings, f"tcp://127.0.0.1:{server.getsockname()[1]}", b"me")
        server.accept()[0].close()

        def over() -> str:
            link.watch()
            return link.over

        until(over, 5)
    try:
        link.send([ManagerLeft("it leaves")], frames)
    finally:
        link.close()
