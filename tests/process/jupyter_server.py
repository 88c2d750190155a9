"""A Jupyter server with the extension, below a base URL, and what a panel does on its websocket."""

from __future__ import annotations

import asyncio
import contextlib
import http.cookiejar
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from parslab.records.panel import RELAY
from tests.process.sandbox import Sandbox, patience, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

__all__ = ["READ_ONLY", "TOKEN", "Page", "Server", "page"]

TOKEN = "very-secret"
BASE = "/user/a/"
READ_ONLY = "X-Read-Only"
"""The header of requests whose user may look at this server's kernels, and do nothing with them."""

_CONFIG = f"""
from jupyter_server.auth import AllowAllAuthorizer
class Picky(AllowAllAuthorizer):
    def is_authorized(self, handler, user, action, resource):
        return action != "execute" or "{READ_ONLY}" not in handler.request.headers
c.ServerApp.authorizer_class = Picky
"""


class Server:
    """A Jupyter server with the extension, below a base URL, as JupyterHub starts them."""

    def __init__(self, sandbox: Sandbox) -> None:
        root = sandbox.root / "server"
        root.mkdir()
        (root / "jupyter_server_config.py").write_text(_CONFIG)
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.port=0"]
        command += ["--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.base_url={BASE}"]
        command += [f"--ServerApp.root_dir={root}", "--ServerApp.jpserver_extensions={'parslab': True}"]
        environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(root), "JUPYTER_DATA_DIR": str(root)}
        self.log = root / "log"
        with open(self.log, "wb") as out:
            self._popen = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=root)
        file = sandbox.jupyter / f"jpserver-{self._popen.pid}.json"
        try:
            self.port = int(until(lambda: _port(file), 60, "the server has chosen its port"))
            until(self._listens, 60, "the server listens")
        except BaseException:
            # Nobody has a server yet that could be stopped.
            self.stop()
            raise

    def _listens(self) -> bool:
        # The server writes its file first.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def url(self, query: str, relay: str = str(RELAY)) -> str:
        """The address of the websocket of a panel."""
        return f"ws://127.0.0.1:{self.port}{BASE}parslab/panel?{query}&relay={relay}"

    def cookie(self) -> str:
        """The cookie of a browser that has logged in."""
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        opener.open(f"http://127.0.0.1:{self.port}{BASE}api?token={TOKEN}").close()
        return "; ".join(f"{one.name}={one.value}" for one in jar)

    def stop(self) -> None:
        """End it."""
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(20 * patience())
        finally:
            self._popen.kill()
            self._popen.wait()


def _port(file: Path) -> int:
    """The port that a server has written into its file; 0 until then."""
    # The server does not replace the file as a whole.
    with contextlib.suppress(OSError, json.JSONDecodeError):
        return int(json.loads(file.read_text())["port"])
    return 0


class Page:
    """What a panel does on its websocket."""

    def __init__(self, websocket: WebSocketClientConnection) -> None:
        self._websocket = websocket
        self.messages: list[dict[str, Any]] = []
        self.tasks: list[int] = []
        """The numbers of the tasks of the last Snapshot."""
        self._counts: dict[str, int] = {}
        self._ended = False

    def send(self, **request: Any) -> None:
        """Send a request."""
        self._websocket.write_message(json.dumps(request))

    async def close(self) -> None:
        """Close it, and return when the connection has ended."""
        self._websocket.close()
        while not self._ended:
            await self._read()

    async def _read(self) -> str | bytes | None:
        text = await asyncio.wait_for(self._websocket.read_message(), 20 * patience())
        self._ended = text is None
        return text

    async def until(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Read until a message meets the condition."""
        while True:
            text = await self._read()
            assert text is not None, "the server has closed the websocket"
            message: dict[str, Any] = json.loads(text)
            self.messages.append(message)
            if message["type"] == "Snapshot":
                self.tasks = [node[0] for node in message["nodes"]]
            if message["type"] in ("Snapshot", "Delta"):
                self._counts = message["overview"]["counts"]
            if condition(message):
                return message

    async def status(self, state: str) -> dict[str, Any]:
        """Wait until the server says this about the route."""
        return await self.until(lambda m: m["type"] == "RelayStatus" and m["state"] == state)

    async def counted(self, state: str, tasks: int) -> None:
        """Wait until so many tasks are in this state."""
        if self._counts.get(state, 0) != tasks:
            await self.until(lambda _: self._counts.get(state, 0) == tasks)

    async def reply(self, kind: str) -> dict[str, Any]:
        """Wait for a message of this type."""
        return await self.until(lambda m: m["type"] == kind)


@contextlib.asynccontextmanager
async def page(server: Server, query: str, relay: str = str(RELAY)) -> AsyncIterator[Page]:
    """The websocket of a panel that has the token."""
    url = server.url(query, relay)
    page = Page(await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"})))
    try:
        yield page
    finally:
        await page.close()
