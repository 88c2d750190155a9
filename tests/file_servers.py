"""File servers of our own, in threads of the test's process: a web server with faults, and a small FTP server.

Only standard library, so that the main behaviour of staging is tested wherever the tests run.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FTPServer", "WebServer", "serving"]


class WebServer(ThreadingHTTPServer):
    """Serves bytes by name.

    Attributes
    ----------
    files
        The content of each path, such as ``/a.txt``.
    faults
        For a path, a function ``(request, number, content)`` that answers the request with this number from 1 on
        itself and returns True, or returns False for the usual answer.
    requests
        The path and the headers of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Callable[[_Request, int, bytes], bool]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, path: str, content: bytes) -> str:
        """Serve a file; return its URL."""
        self.files[path] = content
        return self.url + path

    def count(self, path: str, headers: dict[str, str]) -> int:
        """Note a request; return how many this path has had."""
        with self._lock:
            self.requests.append((path, headers))
            return self.asked(path)

    def asked(self, path: str) -> int:
        """Return how many requests a path has had."""
        return sum(there == path for there, _ in self.requests)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone."""


class _Request(BaseHTTPRequestHandler):
    server: WebServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        number = self.server.count(path, dict(self.headers))
        content = self.server.files.get(path)
        fault = self.server.faults.get(path)
        if fault is not None and fault(self, number, content or b""):
            return
        if content is None:
            self.answer(404, b"no such file")
            return
        self.serve(content)

    def serve(self, content: bytes, **headers: Any) -> None:
        """Answer with a file, or with the part that the request asks for."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        known: dict[str, Any] = {"ETag": etag, "Repr-Digest": f"sha-256=:{digest}:", **headers}
        wanted = self.headers.get("Range", "")
        if wanted and self.headers.get("If-Range") == etag:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            known["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[begin:], **known)
        else:
            self.answer(200, content, **known)

    def answer(self, status: int, body: bytes, *, length: int | None = None, **headers: str) -> None:
        """Send a response; with another ``length`` than that of the body, close the connection after it."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True


class FTPServer(socketserver.ThreadingTCPServer):
    """Serves bytes by name over FTP: only what :mod:`ftplib` needs, for the user ``user`` with password ``secret``.

    Attributes
    ----------
    files
        The content of each path, such as ``a.txt``.
    cut
        Paths of which the first answer ends after half of the bytes.
    commands
        The commands of all clients.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.commands: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"ftp://user:secret@127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone."""


class _Session(socketserver.StreamRequestHandler):
    server: FTPServer

    def setup(self) -> None:
        super().setup()
        self.offset = 0
        self.source = ""
        self.user = ""
        self.data: socketserver.socket.socket | None = None  # type: ignore[name-defined]

    def handle(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline():
            command, _, rest = line.decode().strip().partition(" ")
            self.server.commands.append(f"{command} {rest}".strip())
            action = getattr(self, f"on_{command.lower()}", None)
            if action is None:
                self.say("502 not implemented")
            elif action(rest):
                return

    def finish(self) -> None:
        if self.data is not None:
            self.data.close()
        with contextlib.suppress(OSError):
            super().finish()

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def on_user(self, name: str) -> None:
        self.user = name
        self.say("331 password")

    def on_pass(self, password: str) -> None:
        good = (self.user, password) == ("user", "secret")
        self.say("230 welcome" if good else "530 login incorrect")

    def on_type(self, _: str) -> None:
        self.say("200 binary")

    def on_size(self, path: str) -> None:
        content = self.server.files.get(path)
        self.say("550 no such file" if content is None else f"213 {len(content)}")

    def on_mdtm(self, path: str) -> None:
        self.say("213 20260101000000" if path in self.server.files else "550 no such file")

    def on_mkd(self, path: str) -> None:
        self.say(f'257 "{path}"')

    def on_rest(self, offset: str) -> None:
        self.offset = int(offset)
        self.say("350 from there")

    def on_epsv(self, _: str) -> None:
        import socket

        self.data = socket.create_server(("127.0.0.1", 0))
        self.say(f"229 go (|||{self.data.getsockname()[1]}|)")

    def on_pasv(self, _: str) -> None:
        import socket

        self.data = socket.create_server(("127.0.0.1", 0))
        port = self.data.getsockname()[1]
        self.say(f"227 go (127,0,0,1,{port // 256},{port % 256})")

    def on_retr(self, path: str) -> None:
        content = self.server.files.get(path)
        offset, self.offset = self.offset, 0
        if content is None or self.data is None:
            self.say("550 no such file")
            return
        self.say("150 here it comes")
        connection, _ = self.data.accept()
        cut = path in self.server.cut
        self.server.cut.discard(path)
        with connection:
            connection.sendall(content[offset : len(content) // 2] if cut else content[offset:])
        self.say("426 the connection broke" if cut else "226 done")

    def on_stor(self, path: str) -> None:
        assert self.data is not None
        self.say("150 send it")
        connection, _ = self.data.accept()
        with connection, connection.makefile("rb") as file:
            self.server.files[path] = file.read()
        self.say("226 done")

    def on_rnfr(self, path: str) -> None:
        self.source = path
        self.say("350 to what")

    def on_rnto(self, path: str) -> None:
        self.server.files[path] = self.server.files.pop(self.source)
        self.say("250 done")

    def on_quit(self, _: str) -> bool:
        self.say("221 bye")
        return True


@contextlib.contextmanager
def serving(server: Any) -> Iterator[Any]:
    """Serve until the end of the context."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    # A proxy of the machine must not take part.
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update(dict.fromkeys(before, "127.0.0.1"))
    try:
        yield server
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
