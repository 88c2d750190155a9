"""Fetches and stores files of object stores, SSH hosts and other services, through fsspec.

fsspec is in the extra ``staging``.  It is imported when the first such file is staged.  Each library finds passwords
and keys where it always does: ``~/.aws``, ``~/.ssh``, ``~/.config/gcloud`` and their environment variables.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from parslab.data_provider.staging import TransferStaging
from parslab.data_provider.transfers import CHUNK, RULES, Reply, TransferFailed, TransferRules, fetch_to, store_from
from parslab.errors import OptionalModuleMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.data_provider.files import File

__all__ = ["FsspecInTaskStaging", "FsspecStaging"]

_PACKAGES = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "sftp": "sshfs",
    "ssh": "sshfs",
}
"""The package for each scheme that has one of its own."""
_OTHERS = frozenset({"adl", "box", "dropbox", "gdrive", "hdfs", "hf", "oci", "ocilake", "oss", "smb", "webhdfs"})
_OBJECT_STORES = frozenset({"abfs", "abfss", "az", "gcs", "gs", "s3", "s3a"})
"""Services where an object appears in one step when it is complete, and where a rename would be a copy."""


class FsspecStaging(TransferStaging):
    """Files of ``s3:``, ``gs:``, ``az:``, ``sftp:`` and other URLs, each fetched or stored by a task of its own.

    Parameters
    ----------
    options
        Options of fsspec's file system, such as ``{"anon": True}`` for a public bucket.
    schemes
        Schemes that fsspec knows beside the usual ones.
    rules
        Time limit and attempts.
    """

    schemes_in: ClassVar[frozenset[str]] = frozenset(_PACKAGES) | _OTHERS
    schemes_out: ClassVar[frozenset[str]] = schemes_in

    def __init__(
        self, options: dict[str, Any] | None = None, schemes: tuple[str, ...] = (), *, rules: TransferRules = RULES
    ) -> None:
        self.options = dict(options or {})
        self.schemes = tuple(schemes)
        self.rules = rules

    def can_stage_in(self, file: File) -> bool:
        return file.scheme in self.schemes_in or file.scheme in self.schemes

    can_stage_out = can_stage_in

    def fetch(self, file: File) -> None:
        remote = _RemoteFile(file.url, self.options, self.rules.timeout)
        fetch_to(file.url, file.filepath, remote.read, self.rules)

    def store(self, file: File) -> None:
        remote = _RemoteFile(file.url, self.options, self.rules.timeout)
        store_from(file.url, file.filepath, lambda: remote.write(file.filepath), self.rules)

    def __repr__(self) -> str:
        # The options may hold keys, so only their names are shown.
        shown = f"options of {', '.join(self.options)}" if self.options else ""
        return f"{type(self).__name__}({shown})"


class FsspecInTaskStaging(FsspecStaging):
    """The same files, fetched and stored by the task itself, on its node."""

    in_task: ClassVar[bool] = True


class _RemoteFile:
    """One file of a file system of fsspec."""

    def __init__(self, url: str, options: dict[str, Any], timeout: float) -> None:
        self._url = url
        self._scheme = urlsplit(url).scheme.lower()
        self._options = {**_limits(self._scheme, timeout), **options}

    def _opened(self) -> tuple[Any, str]:
        """Return the file system and the path of the file in it."""
        package = _PACKAGES.get(self._scheme, "fsspec")
        try:
            import fsspec.core

            if package == "sshfs":
                return _ssh(self._url, self._options)
            filesystem, path = fsspec.core.url_to_fs(self._url, **self._options)
        except ImportError:
            raise OptionalModuleMissing(package, "staging") from None
        filesystem.invalidate_cache()  # its list of a folder may be of a time before the file
        return filesystem, path

    @contextlib.contextmanager
    def read(self, offset: int, version: str) -> Iterator[Reply]:
        """Open the file and read from an offset on."""
        with _faults():
            filesystem, path = self._opened()
            info = filesystem.info(path)
            if info.get("type") == "directory":
                raise TransferFailed("it is a folder", False)
            now = _version(info)
            offset = offset if version and now == version else 0
            with filesystem.open(path, "rb", block_size=4 * CHUNK) as file:
                if offset:
                    file.seek(offset)
                yield Reply(iter(lambda: file.read(CHUNK), b""), offset, info.get("size"), now, _digests(info))

    def write(self, path: str) -> None:
        """Store a file: in one step in an object store, else under a temporary name that is then changed."""
        with _faults():
            filesystem, target = self._opened()
            size = os.path.getsize(path)
            if self._scheme in _OBJECT_STORES:
                filesystem.put_file(path, target)
                self._check(filesystem, target, size)
                return
            folder, name = posixpath.split(target)
            temporary = posixpath.join(folder, f".{name[:200]}.part")
            with contextlib.suppress(FileExistsError):
                filesystem.makedirs(folder, exist_ok=True)
            filesystem.put_file(path, temporary)
            self._check(filesystem, temporary, size)
            if filesystem.exists(target):
                filesystem.rm_file(target)
            filesystem.mv(temporary, target)

    @staticmethod
    def _check(filesystem: Any, target: str, size: int) -> None:
        filesystem.invalidate_cache()
        stored = filesystem.info(target).get("size")
        if stored is not None and stored != size:
            raise TransferFailed(f"the server has {stored} of {size} bytes", True)


def _limits(scheme: str, timeout: float) -> dict[str, Any]:
    """Return the options that bound the waits of a library."""
    if scheme in ("s3", "s3a"):
        retries = {"max_attempts": 1}  # the attempts of our rules follow
        return {"config_kwargs": {"connect_timeout": timeout, "read_timeout": timeout, "retries": retries}}
    if scheme in ("sftp", "ssh"):
        return {"connect_timeout": timeout, "login_timeout": timeout, "keepalive_interval": max(1.0, timeout / 3)}
    return {}


def _ssh(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """Return the file system of an SSH host, which reads the user's ``~/.ssh`` and checks the key of the host."""
    import asyncssh
    from sshfs import SSHFileSystem

    parts = urlsplit(url)
    found: dict[str, Any] = {"host": parts.hostname}
    if parts.port is not None:
        found["port"] = parts.port
    if parts.username is not None:
        found["username"] = parts.username
    if parts.password is not None:
        found["password"] = parts.password
    try:
        return SSHFileSystem(**{**found, **options}), parts.path
    except (asyncssh.PermissionDenied, asyncssh.HostKeyNotVerifiable) as error:
        raise TransferFailed(f"the SSH host refuses the connection ({error})", False) from None
    except asyncssh.Error as error:
        raise TransferFailed(f"the SSH connection failed ({error})", True) from None


def _version(info: dict[str, Any]) -> str:
    found = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or info.get("updated")
    return "" if found is None else str(found)


def _digests(info: dict[str, Any]) -> dict[str, str]:
    """Return the hashes that a service names; S3 names none that is the same for all kinds of upload."""
    md5 = info.get("md5Hash") or (info.get("content_settings") or {}).get("content_md5")
    if isinstance(md5, (bytes, bytearray)):
        import base64

        md5 = base64.b64encode(md5).decode()
    return {"md5": md5} if isinstance(md5, str) else {}


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Say of an error of a library whether another attempt may succeed, as far as its type tells."""
    try:
        yield
    except (TransferFailed, OptionalModuleMissing):
        raise
    except FileNotFoundError:
        raise TransferFailed("there is no such file", False) from None
    except PermissionError as error:
        raise TransferFailed(f"access is denied ({_words(error)})", False) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise TransferFailed(f"{type(error).__name__}: {_words(error)}", _may_pass(error)) from None


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


_PASSING = frozenset(
    {
        "ClientConnectionError",
        "ConnectTimeoutError",
        "ConnectionLost",
        "DisconnectError",
        "EndpointConnectionError",
        "FSTimeoutError",
        "HTTPClientError",
        "ReadTimeoutError",
        "SFTPConnectionLost",
        "ServerDisconnectedError",
        "ServiceUnavailable",
        "TimeoutError",
    }
)
"""Errors of connections, by name, because their libraries may not be installed."""


def _may_pass(error: Exception) -> bool:
    """Return whether an error is one of a connection, by the names of the classes of the libraries."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint(_PASSING) or isinstance(error, OSError)
