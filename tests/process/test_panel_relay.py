"""A run that does not let a panel in: one sentence names the half that is older, and the command that fixes it."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from parslab.records.panel import RelayStatus
from parslab.server.live_runs import LiveRuns, WantedRun
from parslab.server.relay import PanelRelay
from parslab.version import version
from parslab.wire.messages.base import Refused
from parslab.wire.messages.client import ClientHello, ClientMessage
from parslab.wire.run_files import ConnectionInfo, write_connection_info
from parslab.wire.stream import Stream, decoder
from tests.process.sandbox import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REASON = "This run speaks another protocol."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def announce(folder: Path) -> Iterator[Callable[[str, bool], None]]:
    """Announces run 000 of a version, which refuses whoever connects."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = str(folder / "s")
        listener.bind(path)
        listener.listen()

        def refuse() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    stream = Stream(sock, decoder(ClientMessage))
                    hellos = [message for messages, _ in stream.receive() for message in messages]
                    assert type(hellos[0]) is ClientHello
                    stream.send([Refused(REASON)])

        thread = threading.Thread(target=refuse)
        thread.start()

        def write(package: str, panels: bool) -> None:
            info = ConnectionInfo(
                run="000",
                pid=1,
                host=socket.gethostname(),
                socket=path,
                run_dir=str(folder),
                package=package,
                panels=panels,
            )
            write_connection_info(folder / "parslab-000.json", info)

        yield write
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def first_status(folder: Path) -> RelayStatus:
    """What the server reports first to a panel that wants run 000."""

    async def scene() -> bytes:
        reported: asyncio.Queue[bytes] = asyncio.Queue()
        relay = PanelRelay(WantedRun(run="000"), LiveRuns(folder), reported.put)
        try:
            return await asyncio.wait_for(reported.get(), 20 * patience())
        finally:
            relay.close()

    return msgspec.json.decode(asyncio.run(scene()), type=RelayStatus)


def test_an_older_run_is_named_with_the_command_for_its_kernel(
    folder: Path, announce: Callable[[str, bool], None]
) -> None:
    announce("0.0.1", False)
    status = first_status(folder)
    assert (status.state, status.run) == ("refused", "000")
    assert status.text == (
        f"Run 000 was started by parslab 0.0.1, and the Jupyter server has parslab {version()}: run "
        "`pip install --upgrade parslab` in the environment of the kernel, and restart the kernel."
    )


def test_a_run_of_another_protocol_is_named_with_the_command_for_the_server(
    folder: Path, announce: Callable[[str, bool], None]
) -> None:
    announce("99.0", True)
    status = first_status(folder)
    assert (status.state, status.run) == ("refused", "000")
    assert status.text == (
        f"Run 000 has parslab 99.0, and the Jupyter server has parslab {version()}: run "
        "`pip install parslab==99.0` where the server runs, and restart it."
    )


def test_a_run_of_the_same_version_says_itself_why_it_refuses(
    folder: Path, announce: Callable[[str, bool], None]
) -> None:
    announce(version(), True)
    status = first_status(folder)
    assert (status.state, status.text) == ("refused", REASON)


def test_a_run_whose_process_is_gone_counts_as_absent(folder: Path) -> None:
    """Its connection file is still there, for example because the process was killed."""
    info = ConnectionInfo(
        run="000", pid=1, host=socket.gethostname(), socket=str(folder / "gone"), run_dir=str(folder), panels=True
    )
    write_connection_info(folder / "parslab-000.json", info)
    assert first_status(folder).state == "absent"
