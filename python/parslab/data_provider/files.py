"""File: a name for data that apps read and write, the same on the notebook's side and on the worker's.

Made by users, and by ``app`` from the paths in ``outputs``.  Local paths and ``file:`` URLs.  A File is a path for
everything that takes a path (``open``, ``os.path``, ``numpy.load`` ...).  It is read here for one purpose only: to tell
whether a remembered result was made from the same data.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from parslab.errors import ConfigurationError
from parslab.serialize.identity.registry import Unidentified

__all__ = ["File"]

# A scheme needs two letters or a slash pair after it: "a:b" is a file name.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


_contents: dict[tuple[int, int], tuple[int, int, bytes]] = {}
"""By device and number of a file: time of its last change, size, and the hash of what it held."""
_SETTLED = 2.0
"""Seconds after which a change can be told from the one before by its time, on any file system."""


def _content(path: str, state: os.stat_result) -> bytes:
    """The hash of a file's content."""
    key = state.st_dev, state.st_ino
    known = _contents.get(key)
    if known is not None and known[:2] == (state.st_mtime_ns, state.st_size):
        return known[2]
    content = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
    except OSError as error:
        raise Unidentified(f"the file cannot be read when the app is called ({error.strerror or error})") from None
    if time.time() - state.st_mtime > _SETTLED:
        _contents[key] = state.st_mtime_ns, state.st_size, content.digest()
    return content.digest()


class File:
    """A file named by path or ``file:`` URL.

    Parameters
    ----------
    url
        A path, a path object, or a URL with scheme ``file``.
    known_by
        What tells one state of the file from another where results are remembered (``cache=True``): its ``"content"``,
        which is read once for each change, or ``"mtime"``: time of the last change and size, for files that are large.

    Examples
    --------
    >>> report = File("out/report.txt")
    >>> report.filename, report.filepath, report.scheme
    ('report.txt', 'out/report.txt', 'file')
    >>> File("file:///data/a%20b.csv").filepath
    '/data/a b.csv'
    """

    def __init__(self, url: str | os.PathLike[str], known_by: Literal["content", "mtime"] = "content") -> None:
        text = os.fspath(url)
        if not isinstance(text, str) or not text:
            raise TypeError(f"A File is named by a path or URL, not {url!r}.")
        if known_by not in ("content", "mtime"):
            raise ConfigurationError(f"File {text!r}: known_by must be 'content' or 'mtime', not {known_by!r}.")
        self.url = text
        self.known_by = known_by
        self.scheme = "file"
        self.netloc = ""
        self.path = text
        if _URL.match(text):
            parts = urlsplit(text)
            if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
                raise ConfigurationError(
                    f"File {text!r}: only paths and file: URLs of this host are supported; fetch it in an app."
                )
            self.netloc = parts.netloc
            self.path = unquote(parts.path)
        self.local_path: str | None = None
        """Where the data lies on the host that asks, when that is not ``path``."""

    @property
    def filename(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path)

    @property
    def filepath(self) -> str:
        """The path to open."""
        return self.path if self.local_path is None else self.local_path

    def cleancopy(self) -> File:
        """A File of the same name that nobody else holds."""
        return File(self.url, self.known_by)

    def _parslab_identity(self, output_ref: bool, quick: bool) -> tuple[Any, ...]:
        """Its name, and what it holds now.

        Parameters
        ----------
        output_ref
            It is going to be written: only the name counts.
        quick
            Do not read it.
        """
        if output_ref:
            return (self.url,)
        try:
            state = os.stat(self.filepath)
        except OSError as error:
            if quick:
                return (self.url, "absent")
            raise Unidentified(f"the file cannot be read when the app is called ({error.strerror or error})") from None
        if quick or self.known_by == "mtime":
            return (self.url, state.st_mtime_ns, state.st_size)
        if not stat.S_ISREG(state.st_mode):
            raise Unidentified("it is not a regular file; name the files in it, or say File(..., known_by='mtime')")
        return (self.url, _content(self.filepath, state))

    def __fspath__(self) -> str:
        return self.filepath

    def __str__(self) -> str:
        return self.filepath

    def __repr__(self) -> str:
        return f"File({self.url!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return (self.url, self.local_path) == (other.url, other.local_path)

    def __hash__(self) -> int:
        return hash((self.url, self.local_path))
