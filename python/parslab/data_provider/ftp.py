"""Fetches and stores files of FTP servers, with the standard library; ``ftps:`` encrypts both connections.

Passwords come from the URL or from ``~/.netrc``; without one, the login is anonymous.
"""

from __future__ import annotations

import contextlib
import ftplib
import os
import posixpath
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

from parslab.data_provider.http import login_of, tls_context
from parslab.data_provider.staging import TransferStaging
from parslab.data_provider.transfers import CHUNK, RULES, Reply, TransferFailed, TransferRules, fetch_to, store_from

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from parslab.data_provider.files import File

__all__ = ["FTPInTaskStaging", "FTPSeparateTaskStaging"]


class _FTP(TransferStaging):
    """Fetches and stores ``ftp:`` and ``ftps:`` URLs.

    Parameters
    ----------
    rules
        Time limit and attempts.
    """

    schemes_in: ClassVar[frozenset[str]] = frozenset({"ftp", "ftps"})
    schemes_out: ClassVar[frozenset[str]] = schemes_in

    def __init__(self, *, rules: TransferRules = RULES) -> None:
        self.rules = rules

    def fetch(self, file: File) -> None:
        fetch_to(file.url, file.filepath, _Session(file.url, self.rules.timeout).read, self.rules)

    def store(self, file: File) -> None:
        session = _Session(file.url, self.rules.timeout)
        store_from(file.url, file.filepath, lambda: session.write(file.filepath), self.rules)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.rules == RULES else f'rules={self.rules!r}'})"


class FTPSeparateTaskStaging(_FTP):
    """Files of FTP servers, each fetched or stored by a task of its own (Parsl: same name, only fetches)."""


class FTPInTaskStaging(_FTP):
    """Files of FTP servers, fetched and stored by the task itself, on its node (Parsl: same name, only fetches)."""

    in_task: ClassVar[bool] = True


class _Session:
    """The file of one FTP URL; each attempt has a connection of its own."""

    def __init__(self, url: str, timeout: float) -> None:
        self._parts = urlsplit(url)
        self._timeout = timeout
        # As browsers and curl do: the path begins in the folder in which the login ends.
        self._path = unquote(self._parts.path).lstrip("/")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[ftplib.FTP]:
        parts = self._parts
        secure = parts.scheme.lower() == "ftps"
        ftp = ftplib.FTP_TLS(context=tls_context()) if secure else ftplib.FTP()
        try:
            with _faults():
                ftp.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT, self._timeout)
                ftp.login(*(login_of(parts) or ()))
                if isinstance(ftp, ftplib.FTP_TLS):
                    ftp.prot_p()
                ftp.voidcmd("TYPE I")
                yield ftp
        finally:
            ftp.close()

    @contextlib.contextmanager
    def read(self, offset: int, version: str) -> Iterator[Reply]:
        """Request the file from an offset on."""
        with self._connected() as ftp:
            size, now = _fact(ftp, "SIZE", self._path), _fact(ftp, "MDTM", self._path)
            if now != version:
                offset = 0
            connection, offset = _retrieved(ftp, self._path, offset)
            with connection:
                yield Reply(_chunks(connection, ftp), offset, int(size) if size.isdigit() else None, now)

    def write(self, path: str) -> None:
        """Store the file under a temporary name, and rename it."""
        folder, name = posixpath.split(self._path)
        temporary = posixpath.join(folder, f".{name[:200]}.part")
        with self._connected() as ftp:
            _make_folders(ftp, folder)
            with open(path, "rb") as file:
                ftp.storbinary(f"STOR {temporary}", file, CHUNK)
            stored = _fact(ftp, "SIZE", temporary)
            if stored.isdigit() and int(stored) != os.path.getsize(path):
                raise TransferFailed(f"the server has {stored} of {os.path.getsize(path)} bytes", True)
            try:
                ftp.rename(temporary, self._path)
            except ftplib.error_perm:  # servers that do not replace a file
                ftp.delete(self._path)
                ftp.rename(temporary, self._path)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Say of a server's reply whether another attempt may succeed: 4xx is for now, 5xx for good."""
    try:
        yield
    except ftplib.error_temp as error:
        raise TransferFailed(_sentence(error), True) from None
    except ftplib.error_perm as error:
        raise TransferFailed(_sentence(error), False) from None
    except ftplib.Error as error:
        raise TransferFailed(_sentence(error), True) from None


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())


def _fact(ftp: ftplib.FTP, command: str, path: str) -> str:
    """Return size or time of a file; empty when the server does not say."""
    try:
        return ftp.sendcmd(f"{command} {path}").partition(" ")[2].strip()
    except ftplib.error_perm:
        return ""


def _retrieved(ftp: ftplib.FTP, path: str, offset: int) -> tuple[socket.socket, int]:
    """Return the connection of the data, and the offset at which it begins."""
    if offset:
        with contextlib.suppress(ftplib.error_perm, ftplib.error_reply):
            return ftp.transfercmd(f"RETR {path}", offset), offset
    return ftp.transfercmd(f"RETR {path}"), 0


def _chunks(connection: socket.socket, ftp: ftplib.FTP) -> Iterator[bytes]:
    while chunk := connection.recv(CHUNK):
        yield chunk
    connection.close()
    ftp.voidresp()  # the server says here whether it has sent all


def _make_folders(ftp: ftplib.FTP, folder: str) -> None:
    made = ""
    for part in filter(None, folder.split("/")):
        made = f"{made}{part}/"
        with contextlib.suppress(ftplib.error_perm):  # it exists, or the STOR says why not
            ftp.mkd(made)
