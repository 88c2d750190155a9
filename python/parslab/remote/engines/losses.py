"""Says which errors of an engine mean that it has lost a worker [core].

Each library has its own classes for that.  They are known by their names: none of these libraries may be loaded here.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

__all__ = ["is_broken", "is_loss"]

_LOST = frozenset(
    {
        "BrokenExecutor",  # the standard library, loky, pathos
        "BrokenProcessPool",
        "TerminatedWorkerError",
        "KilledWorker",  # Dask
        "LostWorkerError",
        "FutureCancelledError",
        "CancelledError",
        "CommClosedError",
        "WorkerCrashedError",  # Ray
        "LocalRayletDiedError",
        "NodeDiedError",
        "OutOfMemoryError",
        "RayActorError",
        "ActorDiedError",
        "OwnerDiedError",
        "ObjectLostError",
        "ExecutorlibSocketError",  # executorlib
        "ManagerLost",  # parslab and Parsl
        "WorkerLost",
    }
)
"""Classes of errors, or of their bases, that tell of a worker, not of a task."""


def is_loss(error: BaseException) -> bool:
    """Return whether an error of an engine means that a worker, or the engine itself, is gone."""
    return isinstance(error, ConnectionError) or any(kind.__name__ in _LOST for kind in type(error).__mro__)


def is_broken(error: BaseException) -> bool:
    """Return whether an executor that gave this error runs nothing any more, so that another one must be made."""
    return isinstance(error, (BrokenExecutor, RuntimeError)) and (
        isinstance(error, BrokenExecutor) or "cannot schedule new futures" in str(error).lower()
    )
