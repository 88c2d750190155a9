"""The faults of a simulated run, and their probabilities."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Faults"]


@dataclass(frozen=True, slots=True)
class Faults:
    """The probability of each fault.

    Attributes
    ----------
    killed
        A worker dies while it runs this task.
    doubled
        An outcome arrives a second time, later.
    failed
        A task raises.
    cancelled
        The user cancels a task some time after the call.
    forgotten
        The user drops the future of a task as soon as it is settled, rather than at the end.
    unshippable
        The value of a local task cannot be pickled.
    handler_raises
        The retry handler itself raises, where there is one.
    retried
        The user retries a task that failed or was cancelled, each time that it ends like this.
    """

    killed: float = 0.03
    doubled: float = 0.05
    failed: float = 0.1
    cancelled: float = 0.1
    forgotten: float = 0.5
    unshippable: float = 0.2
    handler_raises: float = 0.05
    retried: float = 0.0
