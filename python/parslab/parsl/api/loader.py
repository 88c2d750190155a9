"""``DataFlowKernelLoader``: Parsl's class for what ``load``, ``dfk`` and ``clear`` do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.client import session

if TYPE_CHECKING:
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.config import Config

__all__ = ["DataFlowKernelLoader"]


class DataFlowKernelLoader:
    """Loads, finds and forgets the run of this process; each method is the function of its name in parslab."""

    @classmethod
    def load(cls, config: Config | None = None) -> DataFlowKernel:
        """Start a run, or return the loaded one; see :func:`parslab.load`."""
        return session.load(config)

    @classmethod
    def dfk(cls) -> DataFlowKernel:
        """Return the loaded run; see :func:`parslab.dfk`."""
        return session.dfk()

    @classmethod
    def clear(cls) -> None:
        """Forget the loaded run; see :func:`parslab.clear`."""
        session.clear()

    @classmethod
    def wait_for_current_tasks(cls) -> None:
        """Wait until all tasks are finished; see :func:`parslab.wait_for_current_tasks`."""
        session.wait_for_current_tasks()
