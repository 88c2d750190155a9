"""``File`` names data that apps read and write; the name is the same in the notebook and on workers.

Users make Files, and ``app`` makes them from the paths in ``outputs``.  A File names a local path or a ``file:`` URL.
Every function that takes a path also takes a File (``open``, ``os.path``, ``numpy.load`` ...).  This module reads a
file for one purpose only: to find out whether a memoized result was made from the same data.
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

# A URL needs a scheme of two letters or more, and a slash after the colon: "a:b" and "a:/b" are file names.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


_contents: dict[tuple[int, int], tuple[int, int, bytes]] = {}
"""Time of the last change, size and hash of each file, by device and inode, so that an unchanged file is read once."""
_SETTLED = 2.0
"""Seconds since the last change after which the hash is kept.

Some file systems store times in steps of two seconds.  Two changes within one step have the same time.
"""


def _content(path: str, state: os.stat_result) -> bytes:
    """Return the hash of a file's content."""
    key = state.st_dev, state.st_ino
    known = _contents.get(key)
    if known is not None and known[:2] == (state.st_mtime_ns, state.st_size):
        return known[2]
    content = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):  # in blocks, because a file may be larger than the memory
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
        What counts for memoized results (``cache=True``).  ``"content"``: the content, which parslab reads once after
        each change.  ``"mtime"``: the time of the last change and the size, for files that are large.

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
        """The path of the data on this host, where it differs from ``path``."""

    @property
    def filename(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path)

    @property
    def filepath(self) -> str:
        """The path to open."""
        return self.path if self.local_path is None else self.local_path

    def cleancopy(self) -> File:
        """Return a new File of the same name, which shares no state with this one."""
        return File(self.url, self.known_by)

    def _parslab_identity(self, output_ref: bool, quick: bool) -> tuple[Any, ...]:
        """Return the name of the file and the state of its content, for the identity of a call.

        Parameters
        ----------
        output_ref
            Whether the task will write the file, so that only the name counts.
        quick
            Whether the call is not memoized, so that reading the file would cost too much.
        """
        if output_ref:
            return (self.url,)
        try:
            state = os.stat(self.filepath)
        except OSError as error:
            # Such an identity serves only to find the call again, so a missing file must not refuse the call.
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
