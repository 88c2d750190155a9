"""Make one ``TaskSpec`` from the ``resource_specification`` of an app and of a call, and from ``walltime``.

``app.base`` calls this in the user's thread, when it makes an app, and for calls that have such keywords. A mistake
raises a ConfigurationError in the cell that contains it, before a task exists.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from parslab.app.mpi import MPI_KEYS, mpi_specification
from parslab.errors import ConfigurationError, InvalidResourceSpecification
from parslab.wire.messages.base import TaskSpec

if TYPE_CHECKING:
    from parslab.records.software import Software

__all__ = ["KEYS", "SPECIFICATIONS", "WALLTIME", "checked", "specification"]

SPECIFICATIONS = ("parsl_resource_specification", "parslab_resource_specification")
"""Keywords of a call, the first one for programs written for Parsl. If a call has both, the second one counts."""
WALLTIME = "walltime"

# A number without a unit counts megabytes, as in Parsl.
_UNITS = {"": 10**6, "B": 1}
_UNITS.update({f"{prefix}B": 1000 ** (n + 1) for n, prefix in enumerate("KMGT")})
_UNITS.update({f"{prefix}IB": 1024 ** (n + 1) for n, prefix in enumerate("KMGT")})


def specification(
    app: str, asked: Mapping[str, Any], walltime: Any = None, software: Software | None = None
) -> TaskSpec | None:
    """Return the ``TaskSpec`` of a call; None when all values are the defaults, so that a plain call sends no spec.

    Parameters
    ----------
    app
        The name of the app, for messages.
    asked
        The specifications of decorator and call, merged, as :func:`checked` returns them.
    walltime
        Seconds that the call may run, or None. The shorter of two limits counts.
    software
        The software that the worker needs, or None.

    Raises
    ------
    ConfigurationError
        A key does not exist, or its value is wrong.

    Examples
    --------
    >>> specification("fit", {"cores": 2, "memory": "4GB"})
    Spec(cores=2.0, memory=4000000000, gpus=0, priority=None, max_run_time=0.0, retries=-1)
    """
    values: dict[str, Any] = {}
    is_mpi = False
    for asked_key, value in asked.items():
        key = _RENAMED.get(asked_key, asked_key)
        if key in MPI_KEYS:
            is_mpi = True
            continue
        read = KEYS.get(key)
        if read is None:
            if _has_no_effect(key, value):
                continue
            raise InvalidResourceSpecification(
                f"App {app}: resource_specification has no key {key!r}; its keys are {', '.join(KEYS)}. "
                f"An MPI task also has {', '.join(sorted(MPI_KEYS))}."
            )
        if value is not None:
            values[key] = read(app, f"{key} of resource_specification", value)
    mpi = mpi_specification(app, asked, values) if is_mpi else None
    if mpi is not None:
        values["mpi"] = mpi
        if mpi.ranks > 1:
            values.pop("cores", None)  # the MPI part has them; an executor without MPI mode takes only one process
    if walltime is not None:
        limit = _above_zero(app, WALLTIME, walltime, " of seconds")
        values["max_run_time"] = min(limit, values.get("max_run_time", limit))
    if software is not None:
        values["software"] = software
    return TaskSpec(**values) if values else None


def _has_no_effect(key: str, value: Any) -> bool:
    """Return whether a key of Parsl changes nothing here; the user gets one warning for it."""
    if key in _ALWAYS_ONE:
        return bool(value == 1)
    reason = _IGNORED.get(key)
    if reason is None:
        return False
    from parslab.description import warn_once  # imports traitlets, which a plain app does not need

    warn_once(f"parsl_resource_specification: {key} has no effect in parslab: {reason}.")
    return True


def checked(app: str, asked: Any) -> dict[str, Any]:
    """Return a copy of a specification after a check that it is a dictionary; empty for None."""
    if asked is None:
        return {}
    if not isinstance(asked, Mapping):
        raise ConfigurationError(
            f'App {app}: a resource specification is a dictionary such as {{"cores": 2}}, not {asked!r}.'
        )
    return dict(asked)


def _number(value: Any) -> float:
    """Return ``value`` as a float; NaN when it is no finite number. NumPy's numbers are allowed, booleans are not."""
    # NaN, because the range checks of the callers are false for it.
    if isinstance(value, (bool, str, bytes)):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _above_zero(app: str, what: str, value: Any, unit: str = "") -> float:
    number = _number(value)
    if not number > 0:
        raise ConfigurationError(f"App {app}: {what} must be a number{unit} above 0, not {value!r}.")
    return number


def _any_number(app: str, what: str, value: Any) -> float:
    number = _number(value)
    if math.isnan(number):
        raise ConfigurationError(f"App {app}: {what} must be a number, not {value!r}.")
    return number


def _whole(app: str, what: str, value: Any) -> int:
    number = _number(value)
    if not number >= 0 or number != int(number):
        raise ConfigurationError(f"App {app}: {what} must be a whole number of at least 0, not {value!r}.")
    return int(number)


def _memory(app: str, what: str, value: Any) -> int:
    """Return the bytes of a number of megabytes, or of a string with a unit."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)\s*", value, re.IGNORECASE)
        unit = match[2].upper() if match else ""
        size = _UNITS.get(unit if not unit or unit.endswith("B") else f"{unit}B")
        count = float(match[1]) * size if match and size else 0.0
    else:
        count = _number(value) * _UNITS[""]
    if not count >= 1:
        raise ConfigurationError(
            f"App {app}: {what} must be a number of megabytes above 0, or a text such as '4GB' or '512MiB', "
            f"not {value!r}."
        )
    return int(count)


def _seconds(app: str, what: str, value: Any) -> float:
    return _above_zero(app, what, value, " of seconds")


_RENAMED = {"cores_per_task": "cores", "gpus_per_task": "gpus"}
"""Keys of Parsl's FluxExecutor, with the key of the same meaning."""
_IGNORED = {
    "disk": "the disks of nodes are not counted",
    "running_time_min": "parslab learns how long the tasks of an app take",
}
"""Keys of Parsl's WorkQueueExecutor and TaskVineExecutor that change nothing here, each with the reason."""
_ALWAYS_ONE = frozenset({"num_tasks"})
"""Keys of Parsl's FluxExecutor for tasks of several processes; such a task of parslab is one process."""

_Reader = Callable[[str, str, Any], Any]
KEYS: Mapping[str, _Reader] = cast(
    "Mapping[str, _Reader]",
    {
        "cores": _above_zero,
        "memory": _memory,
        "gpus": _whole,
        "priority": _any_number,
        "max_run_time": _seconds,
        "retries": _whole,
    },
)
"""The keys of a specification, each with the function that reads its value."""
