"""Descriptions of where blocks come from: this host, batch schedulers (paper section 4.2.1).

Names are looked up lazily: a configuration for one scheduler loads nothing of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parslab.providers.base import Job, JobStatus, Provider, Runner, SubmitError
    from parslab.providers.local import LocalProvider
    from parslab.providers.slurm import SlurmProvider

__all__ = [
    "Job",
    "JobStatus",
    "LocalProvider",
    "Provider",
    "Runner",
    "SlurmProvider",
    "SubmitError",
]

_WHERE = {
    "Job": "base",
    "JobStatus": "base",
    "LocalProvider": "local",
    "Provider": "base",
    "Runner": "base",
    "SlurmProvider": "slurm",
    "SubmitError": "base",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        from importlib import import_module

        value = getattr(import_module(f"parslab.providers.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'parslab.providers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
