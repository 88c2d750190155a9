"""The base of stand-ins for clouds: a web server in a process of its own, whose instances boot on this host.

A stand-in is a program ``python -m tests.clouds.NAME FOLDER`` that calls :func:`serve`: it writes its URL to stdout,
and ends when its stdin ends.  :class:`StandIn` starts it for a test.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.clouds.machines import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cloud", "StandIn", "serve"]

ROOT = Path(__file__).parents[2]


class Cloud:
    """What a cloud keeps: instances by id, each with its machine while that is on.

    Parameters
    ----------
    folder
        The folder for the files of machines.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.instances: dict[str, dict[str, Any]] = {}
        self._machines: dict[str, Machine] = {}

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: Any, base: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Return the status, the body and headers of the answer to a request."""
        raise NotImplementedError

    def boot(self, name: str, facts: dict[str, Any], script: str) -> None:
        """Make an instance."""
        self.instances[name] = facts
        self._machines[name] = Machine(name, script, self.folder)
        (self.folder / f"{name}.on").touch()

    def is_on(self, name: str) -> bool:
        return name in self._machines

    def console(self, name: str) -> str:
        path = self.folder / name / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def turn_off(self, name: str) -> None:
        """Cut the machine of an instance off."""
        with self.lock:
            machine = self._machines.pop(name, None)
        if machine is not None:
            machine.cut_off()
            (self.folder / f"{name}.on").unlink()

    def delete(self, name: str) -> None:
        """Forget an instance, after its machine is off."""
        self.turn_off(name)
        self.instances.pop(name, None)

    def refusal(self) -> dict[str, str] | None:
        """Return the next refusal that a test wants, once."""
        path = self.folder / "refuse"
        if not path.exists():
            return None
        found: dict[str, str] = json.loads(path.read_text())
        if len(self._machines) < int(found["after"]):
            return None
        path.unlink()
        return found

    def tend(self) -> None:
        """Turn off the machines that have shut themselves down, or that a test takes away."""
        for name, machine in list(self._machines.items()):
            if machine.wants_down or (self.folder / f"{name}.taken").exists():
                self.turn_off(name)

    def end(self) -> None:
        for name in list(self._machines):
            self.turn_off(name)


def serve(kind: type[Cloud]) -> None:
    """Serve until stdin ends."""
    cloud = kind(Path(sys.argv[1]))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

        def do_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            with cloud.lock:
                status, body, headers = cloud.answer(
                    self.command,
                    url.path.rstrip("/"),
                    parse_qs(url.query),
                    json.loads(raw) if raw.startswith((b"{", b"[")) else {},
                    f"http://{self.headers.get('Host', '')}",
                )
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        while not select.select([sys.stdin], [], [], 0.05)[0]:
            cloud.tend()
    finally:
        server.shutdown()
        cloud.end()


@dataclass(frozen=True)
class StandIn:
    """A running stand-in.

    Attributes
    ----------
    url
        Its address.
    folder
        The folder with the files of its machines.
    """

    url: str
    folder: Path

    @classmethod
    @contextlib.contextmanager
    def serving(cls, program: str, **environment: str) -> Iterator[StandIn]:
        """Start a stand-in; in the variables ``URL`` stands for its address."""
        folder = Path(tempfile.mkdtemp(prefix="plc-", dir="/tmp"))
        with (
            open(folder / "log", "wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", program, folder],
                cwd=ROOT,
                env={**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as server,
        ):
            assert server.stdin is not None
            assert server.stdout is not None
            try:
                url = server.stdout.readline().strip()
                assert url, (folder / "log").read_text()
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv("NO_PROXY", "127.0.0.1")
                    for name, value in environment.items():
                        patch.setenv(name, value.replace("URL", url).replace("FOLDER", str(folder)))
                    yield cls(url, folder)
            finally:
                server.stdin.close()
                server.wait()
        shutil.rmtree(folder)

    def machines(self) -> list[str]:
        """The instances that are on."""
        return sorted(path.stem for path in self.folder.glob("*.on"))

    def take_back(self, instance: str) -> None:
        """End an instance, as a cloud does when it needs the machine."""
        (self.folder / f"{instance}.taken").touch()

    def refuse_once(self, after: int = 0, **facts: str) -> None:
        """Refuse a creation in this way: the next one, or the next one while ``after`` instances are on."""
        (self.folder / "refuse").write_text(json.dumps({**facts, "after": f"{after}"}))
