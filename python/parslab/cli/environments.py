"""``parslab environments``: list, remove and prune the Python environments that tasks have asked for on this host."""

from __future__ import annotations

import time

from parslab.errors import ConfigurationError
from parslab.records.durations import format_duration
from parslab.records.text import printable
from parslab.remote.software.cache import EnvironmentCache, cache_folder

__all__ = ["prune", "remove", "show"]

_DAY = 86400.0


def show() -> None:
    """Print a line for each environment, the one that was used last first."""
    cache = EnvironmentCache(cache_folder())
    found = cache.environments()
    if not found:
        print(f"There is no environment in {cache.folder}.")
        return
    for one in found:
        what = "damaged" if one.manifest is None else f"{one.manifest.size / 1e6:6.0f} MB"
        used = "in use" if one.in_use else f"used {format_duration(max(0.0, time.time() - one.used))} ago"
        names = "" if one.manifest is None else ", ".join(one.manifest.requirements)
        print(printable(f"{one.key}  {what}  {used:<16}  {names}"))
    total = sum(one.manifest.size for one in found if one.manifest is not None)
    print(f"{total / 1e9:.2f} GB in {cache.folder}")


def remove(names: list[str], everything: bool) -> int:
    """Remove environments by the beginning of their names; return 1 if one of them is in use."""
    cache = EnvironmentCache(cache_folder())
    keys = [one.key for one in cache.environments()]
    if bool(names) == everything:
        raise ConfigurationError("Name environments, or --all: parslab environments remove NAME.")
    chosen = keys if everything else [_key(name, keys) for name in names]
    left = [key for key in chosen if not cache.remove(key)]
    print(f"Removed {len(chosen) - len(left)} of {len(chosen)}.")
    for key in left:
        print(f"{key} is in use: it can be removed when the runs that use it have ended.")
    return 1 if left else 0


def _key(name: str, keys: list[str]) -> str:
    fitting = [key for key in keys if key.startswith(name)]
    if len(fitting) != 1:
        raise ConfigurationError(f"{len(fitting) or 'No'} environments begin with {name!r}: see parslab environments.")
    return fitting[0]


def prune(days: float, gigabytes: float) -> None:
    """Remove the environments that nobody has used for so long, and the oldest ones while all are larger."""
    removed = EnvironmentCache(cache_folder()).prune(days * _DAY, int(gigabytes * 1e9))
    print(f"Removed {len(removed)}.")
