"""A stand-in for the API server of Kubernetes: the few requests and the watches that parslab makes, on plain HTTP.

As a program, ``python -m tests.kubernetes.api_server FOLDER``, it is started by :func:`serving`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.clouds.stand_in import StandIn
from tests.kubernetes.execs import serve_exec
from tests.kubernetes.nodes import Node
from tests.kubernetes.objects import Objects, Refusal, matches

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TOKEN", "serving"]

TOKEN = "k8s-token-that-nobody-may-see"
_PREFIX = "/api/v1/namespaces/default/"


@contextlib.contextmanager
def serving() -> Iterator[StandIn]:
    """Start a cluster; the configuration file of its user is in KUBECONFIG."""
    with StandIn.serving("tests.kubernetes.api_server", KUBECONFIG="FOLDER/kubeconfig") as server:
        write_kubeconfig(server.folder / "kubeconfig", server.url, TOKEN)
        yield server


def write_kubeconfig(path: Path, url: str, token: str) -> None:
    """Write the configuration file of a user."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "mine", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "mine",
    }
    path.write_text(json.dumps(content))


class Server:
    """Answers requests.

    Parameters
    ----------
    folder
        The folder for files of pods, and for what tests want.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = Objects()
        self.node = Node(self.objects, folder)
        self.over = threading.Event()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """Return an object, or raise the refusal."""
        if not path.startswith(_PREFIX):
            raise Refusal(404, "NotFound", f'namespaces "{path.split("/")[4]}" not found')
        kind, _, name = path.removeprefix(_PREFIX).partition("/")
        if method == "POST":
            return self._create(kind, body)
        if method == "GET" and name:
            return self.objects.get(kind, name)
        if method == "GET":
            items = [found for found in self.objects.all(kind) if matches(found, query)]
            return {"metadata": {"resourceVersion": f"{self.objects.version}"}, "items": items}
        found = self.objects.get(kind, name)
        if method == "PATCH":
            found |= body
            self.objects.note("MODIFIED", kind, found)
        elif kind == "pods":
            self.node.delete(found, body.get("gracePeriodSeconds", 10))
        else:
            self.objects.remove(kind, name)
        return found

    def _create(self, kind: str, body: dict[str, Any]) -> Any:
        wanted = self.folder / "refuse"
        if kind == "pods" and wanted.exists():
            refusal = json.loads(wanted.read_text())
            if len(self.objects.all("pods")) >= int(refusal["after"]):
                wanted.unlink()
                raise Refusal(int(refusal["code"]), "Refused", refusal["message"])
        return self.objects.create(kind, body)

    def watch(self, kind: str, query: dict[str, str]) -> Iterator[dict[str, Any] | None]:
        """Yield changes; None now and then, to see whether the other side is there."""
        version = int(query["resourceVersion"])
        ends = time.monotonic() + min(float(query["timeoutSeconds"]), 20.0)
        while time.monotonic() < ends and not self.over.is_set():
            with self.objects.changes:
                if version < self.objects.forgotten:
                    yield {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
                    return
                changes = self.objects.since(version, kind)
                if not changes:
                    self.objects.changes.wait(0.2)
            for at, change, found in changes:
                version = at
                if matches(found, query):
                    yield {"type": change, "object": found}
            if not changes:
                yield None

    def log(self, name: str, follow: bool) -> Iterator[bytes]:
        """Yield the log of a pod; empty bytes now and then."""
        self.objects.get("pods", name)
        with open(self.node.log(name), "rb") as file:
            while True:
                over = self.node.is_over(name)
                data = file.read()
                yield data
                if not follow or (over and not data) or self.over.is_set():
                    return
                if not data:
                    time.sleep(0.05)


def main() -> None:
    """Serve until stdin ends."""
    server = Server(Path(sys.argv[1]))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

        def do_any(self) -> None:
            url = urlsplit(self.path)
            query = dict(parse_qsl(url.query))
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refusal(401, "Unauthorized", "Unauthorized")
                if (server.folder / "down").exists():
                    raise Refusal(503, "ServiceUnavailable", "the server is currently unable to handle the request")
                if url.path.endswith("/exec"):
                    name = url.path.split("/")[-2]
                    words = [value for key, value in parse_qsl(url.query) if key == "command"]
                    serve_exec(self, words, server.node.environment(name))
                elif url.path.endswith("/log"):
                    name = url.path.split("/")[-2]
                    self._stream(server.log(name, "follow" in query), b"")
                elif "watch" in query:
                    kind = url.path.split("/")[-1]
                    lines = (
                        b"" if one is None else json.dumps(one).encode() + b"\n" for one in server.watch(kind, query)
                    )
                    self._stream(lines, b"\n")
                else:
                    self._send(200, server.answer(self.command, url.path, query, json.loads(raw) if raw else {}))
            except Refusal as error:
                self._send(error.status, {"kind": "Status", "reason": error.reason, "message": f"{error}"})

        def _send(self, status: int, body: Any) -> None:
            with server.objects.changes:
                data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, parts: Iterator[bytes], alive: bytes) -> None:
            first = next(parts, b"")
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):
                for data in itertools.chain([first], parts):
                    text = data or alive
                    if text:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PATCH = do_DELETE = do_any

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    print(f"http://127.0.0.1:{http.server_address[1]}", flush=True)
    try:
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            if (server.folder / "forget").exists():
                (server.folder / "forget").unlink()
                server.objects.forget_changes()
            server.node.tend()
    finally:
        server.over.set()
        http.shutdown()
        server.node.end()


if __name__ == "__main__":
    main()
