"""The two configurations that Parsl's tutorials import; each access of the module makes a new one.

``parslab config list`` shows parslab's own configurations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.config import Config
from parslab.executors import ThreadPoolExecutor

if TYPE_CHECKING:
    htex_local: Config
    local_threads: Config

__all__ = ["htex_local", "local_threads"]


def _htex_local() -> Config:
    from parslab.executors.high_throughput import HighThroughputExecutor
    from parslab.providers.local import LocalProvider

    provider = LocalProvider(init_blocks=1, max_blocks=1)
    return Config(executors=[HighThroughputExecutor(label="htex_local", cores_per_worker=1, provider=provider)])


def _local_threads() -> Config:
    return Config(executors=[ThreadPoolExecutor()])


def __getattr__(name: str) -> Config:
    # Made on access, because a configuration reads the settings of the site, and an import must not.
    if name == "htex_local":
        return _htex_local()
    if name == "local_threads":
        return _local_threads()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
