"""Reads URLs of files: what people may see of them, and which names are safe on a disk [core].

A URL may hold a password, or a signature in its query.  Neither may appear in errors, logs, events or the panel.
"""

from __future__ import annotations

import hashlib
import os
import re
from urllib.parse import unquote, urlsplit

from parslab.errors import ConfigurationError

__all__ = ["UNQUOTED", "host_of", "is_url", "redacted", "safe_name", "shown_url", "url_digest"]

# A URL needs a scheme of two letters or more, and a slash after the colon: "a:b" and "a:/b" are file names.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s'\"]*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^?\s'\"]*)\?[^\s'\"]*")
UNQUOTED = frozenset({"file", "ftp", "ftps", "http", "https"})
"""Schemes whose paths have percent-encoded characters; object stores take the text of a key as it is."""


def is_url(text: str) -> bool:
    """Return whether a text is a URL and no path.

    Examples
    --------
    >>> is_url("s3://bucket/key"), is_url("a:/b"), is_url("out/report.txt")
    (True, False, False)
    """
    return _URL.match(text) is not None


def redacted(text: str) -> str:
    """Return a text without the users, passwords and queries of the URLs in it.

    Examples
    --------
    >>> redacted("GET https://me:secret@host/a.csv?sig=abc failed")
    'GET https://host/a.csv?... failed'
    """
    return _QUERY.sub(r"\1?...", _USER.sub(r"\1", text))


def shown_url(url: str) -> str:
    """Return a URL as people may see it, on one line."""
    return redacted(url).encode("unicode_escape").decode() if not url.isprintable() else redacted(url)


def host_of(url: str) -> str:
    """Return the host of a URL; empty if it has none."""
    return urlsplit(url).hostname or ""


def safe_name(url: str) -> str:
    """Return the last part of a URL's path, which is the name of its local copy.

    Raises
    ------
    ConfigurationError
        The name leads to another folder, or has a character that a shell or a log takes for something else.

    Examples
    --------
    >>> safe_name("https://host/data/a%20b.csv?sig=abc")
    'a b.csv'
    """
    parts = urlsplit(url)
    path = unquote(parts.path) if parts.scheme.lower() in UNQUOTED else parts.path
    name = os.path.basename(path)
    if name in ("", ".", "..") or any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ConfigurationError(
            f"File {shown_url(url)}: the name {name!r} at its end cannot be the name of a local copy; use a URL that "
            "ends in the name of a file."
        )
    return name


def url_digest(url: str) -> str:
    """Return a short name that differs for each URL."""
    return hashlib.blake2b(url.encode(errors="surrogateescape"), digest_size=8).hexdigest()
