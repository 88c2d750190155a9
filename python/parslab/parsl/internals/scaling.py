"""Parsl's objects for scaling; the DataFlowKernel process scales blocks, by the strategy that ``Config`` names."""

from __future__ import annotations

from typing import Any

__all__ = ["JobStatusPoller", "ParslStrategy"]


class ParslStrategy:
    """Parsl: decides how many blocks executors have.  Name one of your own by ``Config(strategy="module:Class")``.

    Parameters
    ----------
    strategy, max_idletime
        As in ``Config``.
    """

    def __init__(self, *, strategy: str | None, max_idletime: float) -> None:
        self.strategy = strategy
        self.max_idletime = max_idletime

    def add_executors(self, executors: Any) -> None:
        """Do nothing: the DataFlowKernel process scales the executors of ``Config``."""


class JobStatusPoller:
    """Parsl: looks at jobs and scales blocks; here the DataFlowKernel process does that.

    Parameters
    ----------
    strategy, max_idletime, strategy_period
        As in ``Config``.
    """

    def __init__(
        self,
        *,
        strategy: str | None,
        max_idletime: float,
        strategy_period: float = 5,
        monitoring: Any = None,
    ) -> None:
        self.interval = strategy_period
        self.monitoring = monitoring
        self._strategy = ParslStrategy(strategy=strategy, max_idletime=max_idletime)

    def poll(self) -> None:
        """Do nothing: see the class."""

    def add_executors(self, executors: Any) -> None:
        """Do nothing: see :meth:`ParslStrategy.add_executors`."""

    def close(self, timeout: float | None = None) -> None:
        """Do nothing: there is no thread."""
