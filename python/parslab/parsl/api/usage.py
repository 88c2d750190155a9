"""Parsl's levels of usage tracking; parslab reports nothing to anybody."""

from __future__ import annotations

__all__ = ["DISABLED", "LEVEL_1", "LEVEL_2", "LEVEL_3", "UsageInformation"]

DISABLED = 0
LEVEL_1 = 1
LEVEL_2 = 2
LEVEL_3 = 3


class UsageInformation:
    """Base of components that describe themselves in Parsl's usage reports; parslab never asks them."""

    def get_usage_information(self) -> dict[str, object]:
        """Return nothing."""
        return {}
