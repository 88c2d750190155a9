"""Parsl's descriptions of monitoring and of usage tracking, which parslab accepts.

parslab monitors every run without any settings, and sends usage reports only to the address that the user names.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

__all__ = [
    "DISABLED",
    "LEVEL_1",
    "LEVEL_2",
    "LEVEL_3",
    "FilesystemRadio",
    "HTEXRadio",
    "MessageType",
    "MonitoringHub",
    "MonitoringRadioReceiver",
    "MonitoringRadioSender",
    "MultiprocessingQueueRadio",
    "RadioConfig",
    "UDPRadio",
    "UsageInformation",
]

DISABLED = 0
LEVEL_1 = 1
LEVEL_2 = 2
LEVEL_3 = 3


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


class MonitoringRadioSender:
    """Base of what sends Parsl's monitoring messages; parslab never makes one."""

    def send(self, message: object) -> None:
        """Do nothing."""


class MonitoringRadioReceiver:
    """Base of what receives Parsl's monitoring messages; parslab never makes one."""

    def shutdown(self) -> None:
        """Do nothing."""


class MessageType(Enum):
    """The kinds of Parsl's monitoring messages."""

    TASK_INFO = 0
    RESOURCE_INFO = 1
    WORKFLOW_INFO = 2
    NODE_INFO = 3
    BLOCK_INFO = 4
    WORKER_TASK_INFO = 5


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


class UsageInformation:
    """Base of components that describe themselves in Parsl's usage reports; parslab never asks them."""

    def get_usage_information(self) -> dict[str, object]:
        """Return nothing."""
        return {}
