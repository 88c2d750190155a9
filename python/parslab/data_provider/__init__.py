"""Apps read and write files, which this package names by path or URL."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from parslab.compat.modules import look_up

    return look_up("data_provider", name)
