"""Parsl's ``BasicMemoizer``, whose options are options of ``Config`` in parslab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BasicMemoizer", "Memoizer"]


class Memoizer:
    """Base of Parsl's memoizers.

    parslab memoizes in the DataFlowKernel process, so a memoizer of a user cannot replace its own.
    """

    def config_options(self) -> dict[str, Any] | None:
        """Return the options of ``Config`` that mean the same; None if there are none."""
        return None


class BasicMemoizer(Memoizer):
    """The options of memoization and checkpoints.

    Parameters
    ----------
    checkpoint_files
        Checkpoints that the run reads: ``Config(checkpoint_files=...)``.
    checkpoint_period
        A text ``"HH:MM:SS"``: ``Config(checkpoint_period=...)``.
    checkpoint_mode
        When results are written: ``Config(checkpoint_mode=...)``.
    memoize
        False switches memoization off: ``Config(app_cache=...)``.
    """

    def __init__(
        self,
        *,
        checkpoint_files: Sequence[str] | None = None,
        checkpoint_period: str | None = None,
        checkpoint_mode: str | None = None,
        memoize: bool = True,
    ) -> None:
        self.checkpoint_files = checkpoint_files
        self.checkpoint_period = checkpoint_period
        self.checkpoint_mode = checkpoint_mode
        self.memoize = memoize

    def config_options(self) -> dict[str, Any]:
        options = {
            "app_cache": self.memoize,
            "checkpoint_files": self.checkpoint_files,
            "checkpoint_mode": self.checkpoint_mode,
            "checkpoint_period": self.checkpoint_period,
        }
        return {name: value for name, value in options.items() if value is not None}

    def checkpoint(self) -> str:
        """Write the newest results of the loaded run; ``checkpoint_mode="manual"`` is for this."""
        from parslab.client.session import dfk

        return dfk().checkpoint()

    def __repr__(self) -> str:
        return (
            f"BasicMemoizer(checkpoint_files={self.checkpoint_files!r}, checkpoint_period={self.checkpoint_period!r}, "
            f"checkpoint_mode={self.checkpoint_mode!r}, memoize={self.memoize!r})"
        )
