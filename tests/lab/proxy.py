"""An nginx in front of a Jupyter server, as institutes and hubs have it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.server import Server

START = 60.0
POLICY = "frame-ancestors 'none'; report-uri /hub/security/csp-report; connect-src 'self'"
"""The Content-Security-Policy of JupyterHub's pages, and in addition that pages may ask no other address."""

CONFIG = """
daemon off;
master_process off;
pid {root}/pid;
error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {root}/access.log;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 100m;
        location {path} {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 600s;
            proxy_buffering off;
            proxy_hide_header Content-Security-Policy;
            add_header Content-Security-Policy "{policy}" always;
        }}
    }}
}}
"""


def nginx() -> str:
    """Return the path of nginx; skip the test where there is none."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("no nginx: sudo apt-get install nginx")
    return found


@contextlib.contextmanager
def proxied(server: Server, root: Path) -> Iterator[str]:
    """Run nginx in front of a server and return the address of the server behind it."""
    command = nginx()
    upstream = urlsplit(server.url)
    root.mkdir()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    # Another program may take the port here. nginx tries a port that is taken five times, with pauses, before it ends.
    config = CONFIG.format(root=root, port=port, path=upstream.path, upstream=upstream.port, policy=POLICY)
    (root / "nginx.conf").write_text(config, encoding="utf-8")
    popen = subprocess.Popen([command, "-p", str(root), "-e", str(root / "error.log"), "-c", str(root / "nginx.conf")])
    try:
        _wait_until_it_listens(popen, port, root)
        yield f"http://127.0.0.1:{port}{upstream.path}"
    finally:
        popen.terminate()
        popen.wait()


def _wait_until_it_listens(popen: subprocess.Popen[bytes], port: int, root: Path) -> None:
    deadline = time.monotonic() + START
    while popen.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    pytest.fail(f"nginx has not started:\n{(root / 'error.log').read_text(encoding='utf-8')[-4000:]}", pytrace=False)
