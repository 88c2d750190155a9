"""Parsl's descriptions of monitoring, which parslab accepts: it monitors every run, without any settings."""

from __future__ import annotations

from typing import Any

__all__ = [
    "FilesystemRadio",
    "HTEXRadio",
    "MonitoringHub",
    "MultiprocessingQueueRadio",
    "RadioConfig",
    "UDPRadio",
]


class _Accepted:
    """Keeps what its constructor gets, and uses none of it."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.values = values
        self.options = options

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("options", "values"):
            raise AttributeError(name)
        try:
            return self.options[name]
        except KeyError:
            raise AttributeError(name) from None

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]  # options may be changed

    def __repr__(self) -> str:
        shown = [*map(repr, self.values), *(f"{name}={value!r}" for name, value in self.options.items())]
        return f"{type(self).__name__}({', '.join(shown)})"


class MonitoringHub(_Accepted):
    """Parsl: where monitoring writes.  The database of a run of parslab is in the folder of the run."""


class RadioConfig(_Accepted):
    """Base of Parsl's ways to send monitoring messages."""


class HTEXRadio(RadioConfig):
    """Parsl: over the connections of HighThroughputExecutor, as parslab does it."""


class UDPRadio(RadioConfig):
    """Parsl: over UDP."""


class FilesystemRadio(RadioConfig):
    """Parsl: through a shared file system."""


class MultiprocessingQueueRadio(RadioConfig):
    """Parsl: within a process."""
