"""Functions and classes with which programs for Parsl set up logging.

The logs of a run are always in its folder.  ``set_stream_logger`` and ``set_file_logger`` add a handler for what the
client logs in this process.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import TextIO

__all__ = [
    "DEFAULT_FORMAT",
    "FileLogging",
    "JSONLogging",
    "LogConfig",
    "NoopLogging",
    "set_file_logger",
    "set_stream_logger",
]

DEFAULT_FORMAT = (
    "%(created)f %(asctime)s %(processName)s-%(process)d %(threadName)s-%(thread)d %(name)s:%(lineno)d %(funcName)s "
    "%(levelname)s: %(message)s"
)
"""The format of a log file."""

_STREAM_FORMAT = "%(asctime)s %(name)s:%(lineno)d [%(levelname)s]  %(message)s"


def set_stream_logger(
    name: str = "parslab",
    level: int = logging.DEBUG,
    format_string: str | None = None,
    stream: TextIO | None = None,
) -> Callable[[], None]:
    """Write log records of this process to a stream.

    Parameters
    ----------
    name
        The logger.  ``"parsl"`` means that of parslab, too.
    level
        The lowest level that is written.
    format_string
        The format of a line.
    stream
        The stream; None means stderr.

    Returns
    -------
    callable
        A function that removes the handler again.
    """
    return _handle(name, level, format_string or _STREAM_FORMAT, logging.StreamHandler(stream))


def set_file_logger(
    filename: str | os.PathLike[str],
    name: str = "parslab",
    level: int = logging.DEBUG,
    format_string: str | None = None,
) -> Callable[[], None]:
    """Write log records of this process to a file.

    Parameters
    ----------
    filename
        The file, to which lines are added.
    name, level, format_string
        As in :func:`set_stream_logger`.

    Returns
    -------
    callable
        A function that removes the handler again and closes the file.
    """
    return _handle(name, level, format_string or DEFAULT_FORMAT, logging.FileHandler(filename))


def _handle(name: str, level: int, text: str, handler: logging.Handler) -> Callable[[], None]:
    first, dot, rest = name.partition(".")
    # The program itself may log under the name that it gives.
    named = [logging.getLogger(name)]
    if first == "parsl":
        named.append(logging.getLogger("parslab" + dot + rest))
    before = [logger.level for logger in named]
    for logger in named:
        # A handler gets nothing that its logger refuses, and the default level of loggers is WARNING.
        logger.setLevel(min(level, logger.level) if logger.level else level)
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(text, datefmt="%Y-%m-%d %H:%M:%S"))
    # Errors of done-callbacks are logged by the standard library, and nowhere else.
    loggers = (*named, logging.getLogger("concurrent.futures"))
    for each in loggers:
        each.addHandler(handler)

    def remove() -> None:
        for each in loggers:
            each.removeHandler(handler)
        for logger, old in zip(named, before, strict=True):
            logger.setLevel(old)
        if isinstance(handler, logging.FileHandler):
            handler.close()

    return remove


class LogConfig:
    """Base of Parsl's descriptions of logging; parslab accepts them and writes its own logs."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.options = options

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"


class FileLogging(LogConfig):
    """Parsl: a log file."""


class JSONLogging(LogConfig):
    """Parsl: a log file of JSON objects."""


class NoopLogging(LogConfig):
    """Parsl: no log file."""
