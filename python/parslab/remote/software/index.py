"""Where packages come from, as uv takes it [shell]: the user's settings for uv, else those for pip.

uv reads its own variables and files, but not those of pip.  A user whose pip works should not have to write the same
settings again.
"""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path

__all__ = ["index_variables"]

_OF_UV = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX")
_SECTIONS = ("global", "install")
_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "no-index": "UV_NO_INDEX",
}
"""The settings of pip, and the variables of uv that mean the same."""
_LISTS = {"find-links": ",", "extra-index-url": " ", "trusted-host": " "}
"""The settings of pip that hold several words, and what separates them for uv."""


def index_variables() -> dict[str, str]:
    """Return the variables for uv: those of the environment, and those that the settings of pip add."""
    own = {name: os.environ[name] for name in (*_OF_UV, "UV_OFFLINE") if os.environ.get(name)}
    # Settings of both at once would mix two indexes, so those of uv count alone.
    if any(name in own for name in _OF_UV) or os.environ.get("UV_CONFIG_FILE"):
        return own
    for setting, value in _of_pip().items():
        separator = _LISTS.get(setting)
        text = separator.join(value.split()) if separator is not None else value.strip()
        if setting == "no-index" and text.lower() not in ("1", "true", "yes", "on"):
            continue
        if text and _NAMES[setting] not in os.environ:
            own[_NAMES[setting]] = text
    return own


def _of_pip() -> dict[str, str]:
    """Return the settings of pip: a later file replaces an earlier one, and a variable replaces all files."""
    found: dict[str, str] = {}
    for path in _files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip itself reports a broken file
        for section in _SECTIONS:
            if parser.has_section(section):
                found.update((name, value) for name, value in parser.items(section) if name in _NAMES)
    for name in _NAMES:
        value = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
        if value:
            found[name] = value
    return found


def _files() -> list[Path]:
    """Return the files of pip, the ones that count most last."""
    chosen = os.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    if sys.platform == "darwin":
        files.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
    files.append(Path(sys.prefix) / "pip.conf")
    return [*files, Path(chosen)] if chosen else files
