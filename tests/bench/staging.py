"""What staging costs: many small files over http, beside the transfers alone; and one file that many tasks need.

Run as a program, this module is the web server: a process of its own, so that it shares no interpreter with the client.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["staged"]

_WORKERS = 2
_CONTENT = b"1,2,3\n" * 50
_AWAY = 0.005
"""Seconds until the server answers, as one in another town: without it, its processor time would be all there is."""


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one packet, as real servers send them
    served = 0

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    def do_GET(self) -> None:
        counted = self.path == "/served"
        body = str(_Server.served).encode() if counted else _CONTENT
        _Server.served += not counted
        time.sleep(_AWAY)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def _serving() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def _fetch_all(urls: list[str], folder: str) -> None:
    """Fetch files one after the other, as a task of one worker."""
    from parslab.data_provider.files import File
    from parslab.data_provider.http import HTTPSeparateTaskStaging

    provider = HTTPSeparateTaskStaging()
    for number, url in enumerate(urls):
        file = File(url)
        file.local_path = os.path.join(folder, str(number), file.filename)
        provider.fetch(file)


def _size(file: Any) -> int:
    return os.path.getsize(file)


def staged(files: int, rounds: int) -> dict[str, float]:
    """Seconds for tasks with a file each, and for the transfers alone; and how often one file of all is fetched."""
    from parslab import Config, File, LowLatencyExecutor, load, python_app

    os.environ["no_proxy"] = "127.0.0.1"
    alone, size = python_app(_fetch_all), python_app(_size)
    took: dict[str, list[float]] = {"alone": [], "staged": []}
    with (
        _serving() as base,
        tempfile.TemporaryDirectory() as folder,
        load(Config(executors=[LowLatencyExecutor(workers=_WORKERS)], resume=False)),
    ):
        for number in range(-1, rounds):  # the first round is to warm up
            for way in ("alone", "staged") if number % 2 else ("staged", "alone"):
                urls = [f"{base}/{way}-{number}-{i}.csv" for i in range(files)]
                begun = time.perf_counter()
                if way == "staged":
                    futures = [size(File(url)) for url in urls]
                else:
                    places = [os.path.join(folder, f"{number}-{worker}") for worker in range(_WORKERS)]
                    futures = [alone(urls[worker::_WORKERS], places[worker]) for worker in range(_WORKERS)]
                for future in futures:
                    future.result()
                if number >= 0:
                    took[way].append(time.perf_counter() - begun)
        before = _served(base)
        for future in [size(File(f"{base}/shared.csv")) for _ in range(files)]:
            assert future.result() == len(_CONTENT)
        transfers = _served(base) - before
    return {
        "alone": statistics.median(took["alone"]),
        "staged": statistics.median(took["staged"]),
        "ratio": statistics.median(s / a for s, a in zip(took["staged"], took["alone"], strict=True)),
        "shared": float(transfers),
    }


def _served(base: str) -> int:
    with urlopen(f"{base}/served") as answer:
        return int(answer.read())


def main() -> None:
    """Serve until somebody ends this process."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
