"""Pickle functions, arguments, values and failures; only the caller and the worker unpickle them."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from parslab.compat.modules import look_up

    return look_up("serialize", name)
