"""File: a name for data that apps read and write, the same on the notebook's side and on the worker's.

Made by users, and by ``app`` from the paths in ``outputs``.  Local paths and ``file:`` URLs.  A File never opens
anything; it is a path for everything that takes a path (``open``, ``os.path``, ``numpy.load`` ...).
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from parslab.errors import ConfigurationError

__all__ = ["File"]

# A scheme needs two letters or a slash pair after it: "a:b" is a file name.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class File:
    """A file named by path or ``file:`` URL.

    Parameters
    ----------
    url
        A path, a path object, or a URL with scheme ``file``.

    Examples
    --------
    >>> report = File("out/report.txt")
    >>> report.filename, report.filepath, report.scheme
    ('report.txt', 'out/report.txt', 'file')
    >>> File("file:///data/a%20b.csv").filepath
    '/data/a b.csv'
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        text = os.fspath(url)
        if not isinstance(text, str) or not text:
            raise TypeError(f"A File is named by a path or URL, not {url!r}.")
        self.url = text
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
        return File(self.url)

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
