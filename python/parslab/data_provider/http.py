"""Fetches files from web servers, with the standard library only, so that every worker can do it.

A worker keeps its connection to the last server, because a new one can take longer than a small file.  Proxies and
passwords come from the usual places: the variables ``http_proxy``, ``https_proxy`` and ``no_proxy``, and ``~/.netrc``.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import netrc
import os
import re
import socket
import ssl
import threading
import urllib.request
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from parslab.data_provider.staging import TransferStaging
from parslab.data_provider.transfers import CHUNK, RULES, Reply, TransferFailed, TransferRules, fetch_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.data_provider.files import File

__all__ = ["HTTPInTaskStaging", "HTTPSeparateTaskStaging", "disconnect", "login_of", "tls_context"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_DIGEST = re.compile(r"([A-Za-z0-9-]+)=:?([A-Za-z0-9+/=]+?):?(?:,|$)")
_PORTS = {"http": 80, "https": 443}


class _Web(TransferStaging):
    """Fetches ``http:`` and ``https:`` URLs.

    Parameters
    ----------
    rules
        Time limit and attempts.
    """

    schemes_in: ClassVar[frozenset[str]] = frozenset({"http", "https"})

    def __init__(self, *, rules: TransferRules = RULES) -> None:
        self.rules = rules

    def fetch(self, file: File) -> None:
        fetch_to(file.url, file.filepath, _Download(file.url, self.rules.timeout).read, self.rules)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.rules == RULES else f'rules={self.rules!r}'})"


class HTTPSeparateTaskStaging(_Web):
    """Files of web servers, each fetched by a task of its own, once for all tasks that need it (Parsl: same name)."""


class HTTPInTaskStaging(_Web):
    """Files of web servers, fetched by the task that needs them, on its node (Parsl: same name)."""

    in_task: ClassVar[bool] = True


@lru_cache(maxsize=4)
def _context(certificates: str | None, folder: str | None) -> ssl.SSLContext:
    return ssl.create_default_context()


def tls_context() -> ssl.SSLContext:
    """Return the settings of encrypted connections, which check certificates; ``SSL_CERT_FILE`` is honoured."""
    # By these variables, because a user may set them after the first transfer.
    return _context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def login_of(parts: SplitResult) -> tuple[str, str] | None:
    """Return user and password of a URL, or those of its host in ``~/.netrc``."""
    if parts.username is not None:
        return unquote(parts.username), unquote(parts.password or "")
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    if not os.path.exists(path):
        return None
    try:
        found = netrc.netrc(path).authenticators(parts.hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return None if found is None else (found[0], found[2] or "")


class _Connection:
    """The connection of a thread to the server that it has asked last."""

    def __init__(self) -> None:
        self.to: tuple[object, ...] = ()
        self.connection: http.client.HTTPConnection | None = None
        self.process = 0

    def ready(self, parts: SplitResult, proxy: str, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection to a server, and whether it was used before."""
        port = parts.port or _PORTS[parts.scheme]
        to = (parts.scheme, parts.hostname, port, proxy, timeout, os.environ.get("SSL_CERT_FILE"))
        # A forked child must not write to the connection of its parent.
        if self.connection is not None and self.to == to and self.process == os.getpid():
            return self.connection, True
        self.close()
        self.connection, self.to, self.process = _connect(parts, port, proxy, timeout), to, os.getpid()
        return self.connection, False

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _connect(parts: SplitResult, port: int, proxy: str, timeout: float) -> http.client.HTTPConnection:
    """Return an object that connects at its first request: to the server, or to the proxy."""
    host = parts.hostname or ""
    via = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else None
    if parts.scheme == "http":
        if via is not None:
            return http.client.HTTPConnection(via.hostname or "", via.port or 3128, timeout=timeout)
        return http.client.HTTPConnection(host, port, timeout=timeout)
    if via is None:
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=tls_context())
    tunnel = http.client.HTTPSConnection(via.hostname or "", via.port or 3128, timeout=timeout, context=tls_context())
    tunnel.set_tunnel(host, port, headers=_proxy_login(via))
    return tunnel


def _proxy_login(via: SplitResult) -> dict[str, str]:
    if via.username is None:
        return {}
    return {"Proxy-Authorization": _basic(unquote(via.username), unquote(via.password or ""))}


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _proxy_of(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme, "")


_threads = threading.local()


def disconnect() -> None:
    """Close the connection that this thread keeps."""
    kept = getattr(_threads, "connection", None)
    if kept is not None:
        kept.close()


class _Download:
    """Asks a web server for a file."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout

    @contextlib.contextmanager
    def read(self, offset: int, version: str) -> Iterator[Reply]:
        """Request the file from an offset on."""
        kept = getattr(_threads, "connection", None)
        connection: _Connection = kept or _Connection()
        done = False
        try:
            response = self._response(connection, offset, version)
            yield _reply(response, offset)
            # Only a response that was read to its end leaves the connection usable.
            done = response.isclosed() or response.length == 0
        finally:
            # The main thread of a worker fetches the next file soon; a thread of the notebook may never do so.
            if done and threading.current_thread() is threading.main_thread():
                _threads.connection = connection
            else:
                connection.close()

    def _response(self, connection: _Connection, offset: int, version: str) -> http.client.HTTPResponse:
        url = self._url
        for _ in range(_MOST_REDIRECTS):
            parts = urlsplit(url)
            response = self._ask(connection, parts, self._headers(parts, offset, version))
            if response.status not in _REDIRECTS:
                return response
            response.read()
            target = urljoin(url, response.headers.get("Location", ""))
            if urlsplit(target).scheme not in ("http", "https") or (parts.scheme == "https" and target[:5] == "http:"):
                raise TransferFailed("the server redirects to an address that is not a safe web address", False)
            url = target
        raise TransferFailed("the server redirects without end", False)

    def _headers(self, parts: SplitResult, offset: int, version: str) -> dict[str, str]:
        headers = {
            "User-Agent": "parslab",
            "Accept-Encoding": "identity",
            "Want-Repr-Digest": "sha-512=3, sha-256=10",
        }
        # The password of a URL is for its host, and not for the one to which that host redirects.
        first = urlsplit(self._url)
        login = login_of(first if parts.netloc.rpartition("@")[2] == first.netloc.rpartition("@")[2] else parts)
        if login is not None:
            headers["Authorization"] = _basic(*login)
        if offset:
            headers["Range"] = f"bytes={offset}-"
            headers["If-Range"] = version
        return headers

    def _ask(self, connection: _Connection, parts: SplitResult, headers: dict[str, str]) -> http.client.HTTPResponse:
        proxy = _proxy_of(parts)
        # Characters that a request line may not hold are quoted; what is quoted already stays as it is.
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
        if proxy and parts.scheme == "http":
            headers = {**headers, **_proxy_login(urlsplit(proxy if "//" in proxy else f"//{proxy}"))}
            path = f"http://{parts.netloc.rpartition('@')[2]}{path}"
        while True:
            made, used = connection.ready(parts, proxy, self._timeout)
            try:
                made.request("GET", path, headers=headers)
                _acknowledge_at_once(made)
                return made.getresponse()
            except (http.client.HTTPException, ConnectionError) as error:
                connection.close()
                # A server may close a connection that was idle, and this is no failure of the transfer.
                if not used:
                    raise ConnectionError(str(error) or type(error).__name__) from None


def _acknowledge_at_once(connection: http.client.HTTPConnection) -> None:
    """Have the kernel acknowledge the header of a response without its usual delay of 40 ms (Linux).

    Many servers send the body of a small file only then, because they send it by a second small packet.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _reply(response: http.client.HTTPResponse, offset: int) -> Reply:
    headers = response.headers
    etag = headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    if response.status == 206:
        matched = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        if matched is None or int(matched[1]) != offset:
            raise TransferFailed("the server sent another part of the file than it was asked for", True)
        size = None if matched[2] == "*" else int(matched[2])
        return Reply(_chunks(response), offset, size, version, _digests(headers))
    if response.status != 200:
        raise TransferFailed(
            f"{response.status} {response.reason}".strip(), response.status in _TRANSIENT or response.status == 416,
            _seconds(headers.get("Retry-After", "")),
        )  # fmt: skip
    size = response.length
    digests = _digests(headers)
    if "Content-MD5" in headers:
        digests.setdefault("md5", headers["Content-MD5"].strip())
    return Reply(_chunks(response), 0, size, version, digests)


def _digests(headers: http.client.HTTPMessage) -> dict[str, str]:
    """Return the hashes of the whole file that a server names (RFC 9530, and RFC 3230 before it)."""
    text = headers.get("Repr-Digest") or headers.get("Digest") or ""
    return {name.lower(): value for name, value in _DIGEST.findall(text.replace(" ", ""))}


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except http.client.IncompleteRead as error:  # of a body in chunks
            raise ConnectionError(f"after {len(error.partial)} bytes") from None
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from None
        if not chunk:
            return
        yield chunk


def _seconds(text: str) -> float:
    """Return the seconds of a Retry-After header; 0 for a date, which few servers send."""
    return float(text) if text.strip().isdigit() else 0.0
