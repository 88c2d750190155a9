"""The route of a panel through the Jupyter server: who may use it, and that it works whatever the client does."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from parslab import python_app
from parslab.records.panel import RELAY
from parslab.server.run_socket import connect
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.client import ClientHello, KernelMessage, PanelRequest
from parslab.wire.run_files import ConnectionInfo, read_connection_info
from parslab.wire.stream import Stream, decoder
from tests.process.jupyter_server import READ_ONLY, TOKEN, Server, page
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, is_gone, patience, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import DataFlowKernel

# The first test also starts a Jupyter server, which takes long on a busy machine.
pytestmark = [pytest.mark.usefixtures("loop"), pytest.mark.timeout(300)]

HOLDER = """
    import ctypes

    @python_app
    def held(gate):
        import os, time
        while not os.path.exists(gate): time.sleep(0.01)

    dfk = load()
    future = held("/nowhere/gate")
    while not future.running(): time.sleep(0.01)
    emit(run=dfk.run, dfk=dfk.pid)
    # A call through PyDLL keeps the interpreter's lock, so no other thread of this process runs until the test writes.
    ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)
    try:
        future.result()
    except BaseException as error:
        emit(state=type(error).__name__)
    dfk.cleanup()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    tmp_path_factory.getbasetemp()
    with Sandbox().entered() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def server(place: Sandbox) -> Iterator[Server]:
    server = Server(place)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def dfk(place: Sandbox, server: Server) -> Iterator[DataFlowKernel]:
    with place.load(workers=1) as dfk:
        yield dfk


def refusal(server: Server, query: str, headers: dict[str, str]) -> int:
    """The HTTP status with which the server refuses a websocket."""

    async def scene() -> int:
        with pytest.raises(HTTPClientError) as caught:
            await websocket_connect(HTTPRequest(server.url(query), headers=headers))
        return int(caught.value.code)

    return asyncio.run(scene())


def test_only_the_user_of_the_server_gets_in(server: Server) -> None:
    good = {"Authorization": f"token {TOKEN}"}
    assert refusal(server, "run=000", {}) == 403
    assert refusal(server, "run=000", {"Authorization": "token wrong"}) == 403
    assert refusal(server, "run=000", {**good, READ_ONLY: "1"}) == 403
    # A browser that is logged in has a cookie, which it also sends for a page of somebody else.
    cookie = {"Cookie": server.cookie()}
    assert refusal(server, "run=000", {**cookie, "Origin": "https://elsewhere.example"}) == 403
    assert refusal(server, "", {**cookie, "Origin": f"http://127.0.0.1:{server.port}"}) == 400
    assert refusal(server, "run=../x", good) == 400
    assert refusal(server, "", good) == 400
    assert refusal(server, "run=000&kernel=1", good) == 400


def test_a_panel_sees_and_steers_a_run(server: Server, dfk: DataFlowKernel) -> None:
    async def scene() -> None:
        async with page(server, f"run={dfk.run}") as panel:
            await panel.status("live")
            panel.send(type="SnapshotRequest", request_id="s")
            snapshot = await panel.reply("Snapshot")
            assert snapshot["run"]["run"] == dfk.run
            assert snapshot["request_id"] == "s"
            panel.send(type="CancelRequest", request_id="c", everything=True)
            answer = await panel.reply("CommandReply")
            assert answer["request_id"] == "c"
            panel.send(type="nonsense", request_id="n")
            assert (await panel.reply("ErrorReply"))["request_id"] == "n"

    asyncio.run(scene())


def test_a_page_of_another_version_is_asked_to_reload(server: Server, dfk: DataFlowKernel) -> None:
    """A page stays open while its server is replaced by a newer one."""

    async def scene(relay: str) -> None:
        async with page(server, f"run={dfk.run}", relay) as panel:
            assert "reload the page" in (await panel.status("refused"))["text"]

    for relay in ("", str(RELAY + 1)):
        asyncio.run(scene(relay))


def test_a_panel_is_no_client_of_the_run(server: Server, dfk: DataFlowKernel) -> None:
    async def scene() -> None:
        async with page(server, f"run={dfk.run}") as one, page(server, f"run={dfk.run}") as two:
            for panel in (one, two):
                await panel.status("live")
                panel.send(type="SnapshotRequest", request_id="s")
                snapshot = await panel.reply("Snapshot")
                assert len(snapshot["run"]["clients"]) == 1
                assert snapshot["overview"]["clients"] == 1

    asyncio.run(scene())
    assert picture(dfk).overview.clients == 1


def test_a_panel_works_while_the_client_holds_the_interpreter_lock(server: Server, place: Sandbox) -> None:
    async def scene(run: str) -> None:
        async with page(server, f"run={run}") as panel:
            await panel.status("live")
            panel.send(type="SnapshotRequest", request_id="s")
            snapshot = await panel.reply("Snapshot")
            assert snapshot["overview"]["counts"] == {"running": 1}
            panel.send(type="CancelRequest", request_id="c", everything=True)
            assert (await panel.reply("CommandReply"))["text"] == "1 task cancelled"
            await panel.until(lambda m: m["type"] == "Delta" and m["overview"]["counts"].get("cancelled") == 1)

    with place.script(HOLDER, stdin=subprocess.PIPE) as script:
        told = script.read_json(30)
        asyncio.run(scene(told["run"]))
        assert script.popen.stdin is not None
        script.popen.stdin.write(b"\n")
        script.popen.stdin.flush()
        assert script.read_json()["state"] == "CancelledError"
    until(is_gone(told["dfk"]))


def test_a_panel_learns_how_a_run_ends_and_finds_the_next(server: Server, place: Sandbox) -> None:
    async def scene() -> None:
        async with page(server, "run=no-such-run") as waiting:
            await waiting.status("absent")
        with place.load(workers=1) as dfk:
            async with page(server, f"run={dfk.run}") as panel:
                await panel.status("live")
                await asyncio.to_thread(dfk.cleanup)
                ended = await panel.status("ended")
                assert ended["text"]

    asyncio.run(scene())


def test_a_server_that_does_not_read_loses_its_connection(place: Sandbox) -> None:
    """A stopped Jupyter server must not make the memory of the DataFlowKernel grow."""
    noop = python_app(int)
    with place.load(workers=1) as dfk, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        for future in [noop() for _ in range(3000)]:
            future.result()
        sock.connect(read_connection_info(place.jupyter / f"parslab-{dfk.run}.json").socket)
        stream = Stream(sock, decoder(KernelMessage))
        stream.send([ClientHello(PROTOCOL, "0", "3.11", 1, "here", panel=True)])
        for _ in range(200):  # each answer has 3,000 nodes
            stream.send([PanelRequest(0, b'{"type": "SnapshotRequest", "request_id": "s"}')])
        poll = select.poll()
        poll.register(sock, 0)  # reports the end of the connection alone, and that before what waits is read
        until(lambda: noop().result() == 0 and poll.poll(0), 20, "the connection has ended")
        assert picture(dfk).overview.clients == 1


def test_a_run_that_is_too_busy_to_accept_is_neither_refused_nor_taken_for_connected(tmp_path: Path) -> None:
    """The loop's own ``sock_connect`` takes a full queue for a connection, whose peer then seems to be a stranger."""
    path = str(tmp_path / "s")
    info = ConnectionInfo(run="000", pid=1, host="here", socket=path, run_dir=str(tmp_path))
    with contextlib.ExitStack() as stack:

        def new() -> socket.socket:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.setblocking(False)
            return sock

        listener = new()
        listener.bind(path)
        listener.listen(1)
        with contextlib.suppress(BlockingIOError):
            while True:
                new().connect(path)

        async def scene() -> None:
            connecting = asyncio.create_task(connect(info))
            await asyncio.sleep(0.2)
            assert not connecting.done()
            with contextlib.suppress(BlockingIOError):
                while True:
                    stack.enter_context(listener.accept()[0])
            stack.enter_context(await asyncio.wait_for(connecting, 20 * patience()))

        asyncio.run(scene())
