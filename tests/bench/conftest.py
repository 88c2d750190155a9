"""Names the marker of the tests that measure time, so that a busy machine may leave them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker where it is used."""
    config.addinivalue_line("markers", "bench: measures time against bounds; wants a machine that is not busy")
