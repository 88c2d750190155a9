"""The rules of every transfer: a temporary name, checks, resumption, and retries of what passes by itself.

A protocol (``http``, ``ftp``, ``filesystems``) says how to read from an offset; this module does the rest.  A local
copy gets its name when it is complete, so a half-written file never looks complete.  Workers run this code, so it
imports only the standard library, ``errors`` and ``urls``.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import random
import shutil
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parslab.data_provider.urls import redacted, shown_url
from parslab.errors import ConfigurationError, StagingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

__all__ = ["RULES", "Reply", "TransferFailed", "TransferRules", "copied", "fetch_to", "store_from", "temporary_name"]

CHUNK = 1 << 20
"""Bytes that are read at once."""
_PROGRESS = 8 << 20
"""Bytes after which a broken transfer has made progress, so that its attempts count anew."""
_LOCAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR})
"""Errors of the disk, which the next attempt would meet again."""
_HASHES = {"sha-512": "sha512", "sha-256": "sha256", "md5": "md5"}


@dataclass(frozen=True)
class TransferRules:
    """How long a transfer waits, and how often it tries.

    Attributes
    ----------
    timeout
        Seconds without a byte after which an attempt has failed.
    attempts
        How many attempts in a row may fail without progress.
    first_pause, longest_pause
        Seconds between the first two attempts, which double until the longest pause.
    """

    timeout: float = 30.0
    attempts: int = 5
    first_pause: float = 0.5
    longest_pause: float = 30.0

    def pause(self, attempt: int, asked: float = 0.0) -> float:
        """Return the seconds before the next attempt; ``asked`` is what the server has asked for."""
        # Random, so that a thousand tasks do not return to a busy server at the same moment.
        planned = self.first_pause * 2**attempt * random.uniform(0.75, 1.25)
        return float(min(self.longest_pause, max(planned, asked)))


RULES = TransferRules()


class TransferFailed(Exception):
    """One attempt of a transfer failed.

    Parameters
    ----------
    reason
        What went wrong, in a few words.
    transient
        Whether another attempt may succeed.
    pause
        Seconds that the server asks to wait.
    """

    def __init__(self, reason: str, transient: bool, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.transient = transient
        self.pause = pause


@dataclass
class Reply:
    """What a server sends of a file.

    Attributes
    ----------
    chunks
        The bytes from ``offset`` on.
    offset
        Where they begin: 0, or where the request asked for.
    size
        The size of the whole file; None when the server does not say.
    version
        A text that changes with the content; empty when the server has none, so that nothing can be resumed.
    digests
        Hashes of the whole file in base64, by their names of RFC 9530.
    """

    chunks: Iterator[bytes]
    offset: int = 0
    size: int | None = None
    version: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)


def temporary_name(path: str) -> str:
    """Return a name in the folder of a path that nobody else writes to."""
    folder, name = os.path.split(path)
    # The middle of a long name is left out, because names have at most 255 bytes.
    unique = f"{socket.gethostname()[:30]}-{os.getpid()}-{threading.get_ident():x}"
    return os.path.join(folder, f".{name[:60]}.{unique}.part")


class _Partial:
    """A file that is being fetched, and what is known about it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.offset = 0
        self.version = ""

    def receive(self, reply: Reply) -> None:
        """Write what the server sends, and check the file."""
        if reply.offset != self.offset and reply.offset != 0:
            raise TransferFailed(f"the server sent bytes from {reply.offset} on, not from {self.offset}", True)
        self.version = reply.version
        self.offset = reply.offset
        with open(self.path, "r+b" if self.offset else "wb") as file:
            file.seek(self.offset)
            file.truncate()
            for chunk in reply.chunks:
                file.write(chunk)
                self.offset += len(chunk)
        if reply.size is not None and self.offset != reply.size:
            received = self.offset
            self._restart(received > reply.size)
            raise TransferFailed(f"the connection ended after {received} of {reply.size} bytes", True)
        self._verify(reply.digests)

    def _restart(self, needed: bool) -> None:
        """Fetch from the beginning next time, if what is there cannot be continued."""
        if needed or not self.version:
            self.offset, self.version = 0, ""

    def _verify(self, digests: Mapping[str, str]) -> None:
        for name, algorithm in _HASHES.items():
            if name not in digests:
                continue
            found = hashlib.new(algorithm, usedforsecurity=False)
            with open(self.path, "rb") as file:
                while block := file.read(CHUNK):
                    found.update(block)
            if base64.b64encode(found.digest()).decode() != digests[name]:
                self._restart(True)
                raise TransferFailed(f"its {name} checksum is not the one that the server names", True)
            return


def fetch_to(
    url: str,
    path: str,
    read: Callable[[int, str], AbstractContextManager[Reply]],
    rules: TransferRules = RULES,
) -> None:
    """Fetch a file and give it its name when it is complete.

    Parameters
    ----------
    url
        The URL, for errors.
    path
        The path of the local copy; an older file there stays until the new one is complete.
    read
        ``read(offset, version)`` asks the server for the bytes from an offset on, if the version is still the same.
    rules
        Time limit and attempts.

    Raises
    ------
    StagingError
        The file cannot be fetched.
    """
    partial = _Partial(temporary_name(path))

    def attempt() -> int:
        try:
            with read(partial.offset, partial.version) as reply:
                partial.receive(reply)
        except BaseException:
            if not partial.version:
                partial.offset = 0
            raise
        return partial.offset

    def work() -> None:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            _persist(attempt, rules, lambda: partial.offset)
            os.replace(partial.path, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial.path)
            raise

    _report(url, "fetched to", path, work)


def copied(source: str, target: str) -> None:
    """Copy a file of this host; the copy gets its name when it is complete."""
    temporary = temporary_name(target)
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    try:
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def store_from(
    url: str, path: str, write: Callable[[], None], rules: TransferRules = RULES, *, action: str = "stored from"
) -> None:
    """Copy a file by a function that does it in one step, with the attempts of the rules.

    Parameters
    ----------
    url
        The URL, for errors.
    path
        The local file.
    write
        Makes one attempt.
    rules
        Attempts and pauses.
    action
        ``stored from`` or ``fetched to``, for errors.

    Raises
    ------
    StagingError
        The file cannot be copied.
    """

    def work() -> None:
        if action == "stored from" and not os.path.isfile(path):
            raise TransferFailed("the task has not written this file", False)
        _persist(write, rules, lambda: 0)

    _report(url, action, path, work)


def _report(url: str, action: str, path: str, work: Callable[[], None]) -> None:
    """Do the work, and turn whatever fails into an error of one sentence, without passwords."""
    try:
        work()
        return
    except ConfigurationError:  # such as a missing package
        raise
    except Exception as error:
        reason = redacted(classified(error).reason)
    # Outside of the handler: the first error would be the context of this one, and libraries put URLs in their texts.
    raise StagingError(shown_url(url), action, path, socket.gethostname(), reason)


def _persist(attempt: Callable[[], object], rules: TransferRules, progress: Callable[[], int]) -> None:
    """Make attempts until one succeeds, or until an error cannot pass by itself."""
    failed, reached = 0, 0
    while True:
        try:
            attempt()
            return
        except ConfigurationError:
            raise
        except Exception as error:
            failure = classified(error)
        if progress() >= reached + _PROGRESS:
            failed, reached = 0, progress()
        failed += 1
        if not failure.transient:
            raise failure
        if failed >= rules.attempts:
            raise TransferFailed(f"{failure.reason} ({failed} attempts)", False)
        time.sleep(rules.pause(failed - 1, failure.pause))


def classified(error: Exception) -> TransferFailed:
    """Return an error with the verdict whether another attempt may succeed."""
    if isinstance(error, TransferFailed):
        return error
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransferFailed(f"the certificate of the server is not valid: {error.verify_message}", False)
    if isinstance(error, ssl.SSLError):
        return TransferFailed(f"the encrypted connection failed: {error.reason or text}", "EOF" in text)
    if isinstance(error, TimeoutError):
        return TransferFailed("the server sent nothing for too long", True)
    if isinstance(error, socket.gaierror):
        return TransferFailed(f"the name of the host is not known ({error.strerror})", error.errno == socket.EAI_AGAIN)
    if isinstance(error, (ConnectionError, EOFError)):
        return TransferFailed(f"the connection broke ({getattr(error, 'strerror', None) or text})", True)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return TransferFailed(f"{where}{error.strerror or text}", error.errno is not None and error.errno not in _LOCAL)
    return TransferFailed(f"{type(error).__name__}: {text}", False)
