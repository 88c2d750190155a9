"""``File`` names data that apps read and write; the name is the same in the notebook and on workers.

Users make Files, and ``app`` makes them from the paths in ``outputs``.  A File names a local path or a URL.  The file
of a remote URL is staged: each task gets a copy of the File with a ``local_path``.  Every function that takes a path
also takes such a File (``open``, ``os.path``, ``numpy.load`` ...).  This module reads a file for one purpose only: to
find out whether a memoized result was made from the same data.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from parslab.data_provider.urls import UNQUOTED, is_url, shown_url
from parslab.errors import ConfigurationError
from parslab.serialize.identity.registry import Unidentified

__all__ = ["File", "require_staging"]

staging_needed = False
"""Whether a call of this process may have to stage a file.

False until somebody makes a File of a remote URL, or loads an executor that stages paths.  Each call of an app
tests this one variable, so programs without such files pay nothing else.
"""


def require_staging() -> None:
    """Have each later call of an app look for files to stage."""
    global staging_needed
    staging_needed = True


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
    """A file named by path or URL.

    Parameters
    ----------
    url
        A path, a path object, or a URL.  The staging providers of the executor decide which schemes are supported.
    known_by
        What counts for memoized results (``cache=True``).  ``"content"``: the content, which parslab reads once after
        each change.  ``"mtime"``: the time of the last change and the size, for files that are large.  A file of a
        remote URL counts by its URL.
    cache
        How long a node that shares no disk with this host keeps the content: until the tasks that use it have ended,
        until the run ends, or ``"forever"``, for later runs.  Contents that no task uses make room for others.
    temporary
        Whether only tasks read the file.  A node that shares no disk with this host then keeps what a task writes, and
        nothing comes to this host.  If the node is lost, the run makes the file again when a task needs it, by running
        the task that wrote it again; that task must write the same again.

    Attributes
    ----------
    url, scheme, netloc, path
        The text that the user gave, and its parts; ``scheme`` is ``file`` for a path.
    local_path
        The path of the data on the host of the task, where it differs from ``path``; None before staging.
    staged_by
        The run that has made the local copy.

    Examples
    --------
    >>> report = File("out/report.txt")
    >>> report.filename, report.filepath, report.scheme
    ('report.txt', 'out/report.txt', 'file')
    >>> File("file:///data/a%20b.csv").filepath
    '/data/a b.csv'
    >>> File("https://me:secret@host/a.csv")
    File('https://host/a.csv')
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        known_by: Literal["content", "mtime"] = "content",
        cache: Literal["task", "run", "forever"] = "run",
        temporary: bool = False,
    ) -> None:
        text = os.fspath(url)
        if not isinstance(text, str) or not text:
            raise TypeError(f"A File is named by a path or URL, not {url!r}.")
        if known_by not in ("content", "mtime"):
            raise ConfigurationError(f"File {text!r}: known_by must be 'content' or 'mtime', not {known_by!r}.")
        if cache not in ("task", "run", "forever"):
            raise ConfigurationError(f"File {text!r}: cache must be 'task', 'run' or 'forever', not {cache!r}.")
        self.url = text
        self.known_by = known_by
        self.cache = cache
        self.temporary = temporary
        self.scheme = "file"
        self.netloc = ""
        self.path = text
        if is_url(text):
            parts = urlsplit(text)
            self.scheme = parts.scheme.lower()
            self.netloc = parts.netloc
            self.path = unquote(parts.path) if self.scheme in UNQUOTED else parts.path
            if self.scheme != "file":
                if temporary:
                    raise ConfigurationError(f"File {shown_url(text)!r}: a temporary file needs a path, no URL.")
                require_staging()
            elif parts.netloc not in ("", "localhost"):
                raise ConfigurationError(
                    f"File {text!r}: a file: URL names a file of this host; use sftp: for another host, or a staging "
                    "provider such as RSyncStaging."
                )
        self.local_path: str | None = None
        self.staged_by = ""

    @property
    def filename(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path)

    @property
    def filepath(self) -> str:
        """The path to open.

        Raises
        ------
        ValueError
            The File has a remote URL and no local copy.
        """
        if self.local_path is not None:
            return self.local_path
        if self.scheme != "file":
            raise ValueError(f"{self!r} has no local copy here: pass the File to an app, which gets one")
        return self.path

    def cleancopy(self) -> File:
        """Return a new File of the same name, which shares no state with this one."""
        return File(self.url, self.known_by, self.cache, self.temporary)

    def _parslab_identity(self, output_ref: bool, quick: bool) -> tuple[Any, ...]:
        """Return the name of the file and the state of its content, for the identity of a call.

        Parameters
        ----------
        output_ref
            Whether the task will write the file, so that only the name counts.
        quick
            Whether the call is not memoized, so that reading the file would cost too much.
        """
        # Nobody knows the content of a remote file without a transfer, so it counts by its URL.
        if output_ref or self.scheme != "file":
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
        return shown_url(self.url) if self.local_path is None and self.scheme != "file" else self.filepath

    def __repr__(self) -> str:
        return f"File({self.url if self.scheme == 'file' else shown_url(self.url)!r})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.scheme != "file":  # a result of a task, which this process may pass to the next one
            require_staging()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return (self.url, self.local_path) == (other.url, other.local_path)

    def __hash__(self) -> int:
        return hash((self.url, self.local_path))
