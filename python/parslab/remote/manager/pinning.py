"""Plan the workers of a node: their number, cores, accelerators and environment variables [core].

A manager calls :func:`plan` once before it starts its workers.  The arguments describe the node; the result is one
:class:`WorkerPlan` for each worker.  Each error is one sentence, because users read it in the stderr of the block.

Invariants:

- There is at least one worker.
- With an affinity other than ``none`` every worker has at least one core of this node.
- The user's ``environment`` overrides variables that are computed here; the identity of a worker overrides both.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.remote.pool.processes import thread_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parslab.records.executor_settings import ManagerSettings

__all__ = ["PinningError", "WorkerPlan", "notice", "plan"]

GB = 10**9

_LIST = "list:"


class PinningError(ConfigurationError):
    """The workers that the settings ask for do not fit on this node."""


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """The cores and the environment of one worker.

    Attributes
    ----------
    cores
        The cores that it may run on; None: all that its manager may use.
    environment
        Variables on top of those of its manager.
    """

    cores: frozenset[int] | None
    environment: dict[str, str]


def plan(
    settings: ManagerSettings,
    cores: Sequence[int],
    memory: int,
    pool: str,
    block: str,
    *,
    usable: int | None = None,
    pinnable: bool = True,
    inherited: Mapping[str, str] | None = None,
) -> list[WorkerPlan]:
    """Divide a node among workers; the rank of a worker is its position in the list.

    Parameters
    ----------
    settings
        The options of the executor.
    cores
        Numbers of the cores that processes of this job may run on.
    memory
        Bytes that these processes may use.
    pool, block
        Names of the manager and of its block.
    usable
        How many cores they may keep busy at a time (the cgroup quota); None: all.
    pinnable
        Whether this system can bind a process to cores; otherwise (macOS) the affinity is ignored.
    inherited
        The manager's environment, in which a scheduler names the accelerators of this job.

    Raises
    ------
    PinningError
        The node has no room for a worker, or the settings name cores or accelerators that it does not have.
    """
    usable = len(cores) if usable is None else usable
    affinity = settings.cpu_affinity if pinnable else "none"
    sets = _listed(affinity, cores) if affinity.startswith(_LIST) else None
    count = _count(settings, usable, memory, sets)
    shares = sets if sets is not None else _shares(affinity, sorted(cores), count)
    accelerators = _chosen(settings.available_accelerators, count)
    threads = settings.threads_per_worker
    plans = []
    for rank in range(count):
        own = shares[rank] if shares is not None else None
        # Without a limit each worker's numerical library starts a thread for every core of the node.
        environment = thread_variables(threads or (len(own) if own else max(1, usable // count)))
        if own is not None:
            environment.update(_thread_binding(own))
        if accelerators:
            environment.update(_visible(accelerators[rank], settings.available_accelerators, inherited or {}))
        environment.update(settings.environment)
        environment.update(_identity(rank, count, pool, block))
        plans.append(WorkerPlan(frozenset(own) if own is not None else None, environment))
    return plans


def notice(settings: ManagerSettings, pinnable: bool) -> str:
    """Return a warning about a setting that this system ignores; empty if there is none."""
    if pinnable or settings.cpu_affinity == "none":
        return ""
    return (
        f"cpu_affinity={settings.cpu_affinity!r} is ignored here: this system cannot bind processes to cores; its "
        "workers run on any of them."
    )


# ----- how many


def _count(settings: ManagerSettings, usable: int, memory: int, sets: Sequence[Sequence[int]] | None) -> int:
    """Return how many workers the node has room for: the smallest number that a limit allows."""
    limits: list[tuple[int, str]] = []
    if settings.max_workers_per_node:
        limits.append((settings.max_workers_per_node, f"max_workers_per_node={settings.max_workers_per_node}"))
    each = settings.cores_per_worker
    # The small term makes up for rounding: 0.6 / 0.2 is 2.999... in floating point, and three workers fit.
    room = int(usable / each + 1e-9)
    limits.append((room, f"{_cores(usable)} and cores_per_worker={each:g}"))
    if settings.mem_per_worker:
        size = settings.mem_per_worker
        limits.append((int(memory / (size * GB) + 1e-9), f"{memory / GB:.1f} GB of memory and mem_per_worker={size:g}"))
    count, why = min(limits, key=lambda limit: limit[0])
    if count < 1:
        raise PinningError(
            f"This node has no room for a single worker: it has {why}; ask the provider for more of it, or lower the "
            "executor's option."
        )
    if sets is not None:
        if count < len(sets):
            raise PinningError(
                f"cpu_affinity lists cores for {len(sets)} workers, but there is room for {count} on this node "
                f"({why}): list fewer, or change what limits them."
            )
        count = len(sets)
    accelerators = settings.available_accelerators
    if sets is not None and accelerators and len(accelerators) < count:
        raise PinningError(
            f"cpu_affinity lists cores for {count} workers, but available_accelerators names {len(accelerators)}, one "
            "for each worker: list as many of both."
        )
    return min(count, len(accelerators)) if accelerators else count


def _cores(count: int) -> str:
    return f"{count} usable core{'s' if count != 1 else ''}"


# ----- which cores


def _listed(affinity: str, cores: Sequence[int]) -> list[list[int]]:
    """Return the core sets of ``list:0,2-3:1,4``, one for each worker."""
    # Checked here, on the node: the notebook does not know which cores a batch system will give to the job.
    sets = []
    for text in affinity[len(_LIST) :].split(":"):
        own: list[int] = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            try:
                own.extend(range(int(first), int(last if dash else first) + 1))
            except ValueError:
                own = []
                break
        if not own:
            raise PinningError(
                f"cpu_affinity has {text!r} where the cores of a worker should stand, such as '0,1' or '4-7'."
            )
        sets.append(sorted(set(own)))
    strange = sorted({core for own in sets for core in own} - set(cores))
    if strange:
        raise PinningError(
            f"cpu_affinity lists core {', '.join(map(str, strange))}, but the cores of this node that this job may use "
            f"are {_ranges(cores)}."
        )
    return sets


def _shares(affinity: str, cores: list[int], count: int) -> list[list[int]] | None:
    """Return the cores of each worker, some with one more than others; None if the workers share all cores."""
    if affinity == "none":
        return None
    if count > len(cores):
        raise PinningError(
            f"cpu_affinity={affinity!r} needs a core for each worker, and there are {count} workers on "
            f"{_cores(len(cores))}: raise cores_per_worker to 1, or use cpu_affinity='none'."
        )
    if affinity == "alternating":
        return [cores[rank::count] for rank in range(count)]
    # Cores with neighbouring numbers usually share a cache, so the threads of a worker stay close together.
    least, more = divmod(len(cores), count)
    ends = [(rank + 1) * least + min(rank + 1, more) for rank in range(count)]
    shares = [cores[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if affinity == "block":
        return shares
    if affinity == "block-reverse":
        return shares[::-1]
    raise PinningError(f"cpu_affinity must be none, block, alternating, block-reverse or list:..., not {affinity!r}.")


def _ranges(cores: Sequence[int]) -> str:
    """Return numbers as a short text, such as ``0-3,8``."""
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and core == parts[-1][1] + 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in parts)


def _thread_binding(cores: Sequence[int]) -> dict[str, str]:
    """Return the variables, as in Parsl, with which OpenMP binds each of its threads to one of these cores."""
    listed = ",".join(map(str, cores))
    return {"GOMP_CPU_AFFINITY": listed, "KMP_AFFINITY": f"explicit,proclist=[{listed}]"}


# ----- which accelerators


def _chosen(accelerators: Sequence[str], count: int) -> list[str]:
    """Return the accelerator of each worker, in the order listed.

    An accelerator that is listed n times serves n workers.  If there are fewer workers than names, every accelerator
    gets one worker before any gets a second one.
    """
    seen: Counter[str] = Counter()
    turns = []
    for place, name in enumerate(accelerators):
        turns.append((seen[name], place))
        seen[name] += 1
    return [accelerators[place] for place in sorted(place for _, place in sorted(turns)[:count])]


def _visible(accelerator: str, accelerators: Sequence[str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that hide all accelerators but those of one worker, which are separated by commas.

    ROCm numbers the devices of ROCR_VISIBLE_DEVICES again from 0.  It then applies HIP_VISIBLE_DEVICES, or else
    CUDA_VISIBLE_DEVICES, to these numbers, and would find no device if all three variables had the same value.
    """
    names = accelerator.split(",")
    every = {name for entry in accelerators for name in entry.split(",")}
    hip = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
    return {
        "CUDA_VISIBLE_DEVICES": _given(names, every, inherited, "CUDA_VISIBLE_DEVICES"),
        "ROCR_VISIBLE_DEVICES": _given(names, every, inherited, *hip),
        "HIP_VISIBLE_DEVICES": ",".join(map(str, range(len(names)))),
        "ZE_AFFINITY_MASK": _given(names, every, inherited, "ZE_AFFINITY_MASK"),
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
    }


def _given(names: Sequence[str], every: set[str], inherited: Mapping[str, str], *variables: str) -> str:
    """Return the accelerators of a worker as this job names them.

    If the scheduler has listed the job's devices, a number is a position in that list.  It is the name of a device only
    if the list contains the names of all workers' accelerators.
    """
    for variable in variables:
        ours = [name for name in inherited.get(variable, "").split(",") if name]
        if not ours:
            continue
        if every <= set(ours):
            break
        given = []
        for name in names:
            if name.isdigit() and int(name) >= len(ours):
                raise PinningError(
                    f"available_accelerators names {name}, but this job has {len(ours)} "
                    f"({variable}={inherited[variable]}): ask the provider for more, or name fewer."
                )
            given.append(ours[int(name)] if name.isdigit() else name)
        return ",".join(given)
    return ",".join(names)


# ----- who it is


def _identity(rank: int, count: int, pool: str, block: str) -> dict[str, str]:
    """Return the variables that identify a worker; Parsl's names, too, because existing apps read them."""
    values = {"RANK": str(rank), "COUNT": str(count), "POOL_ID": pool, "BLOCK_ID": block}
    return {f"{prefix}_WORKER_{word}": text for prefix in ("PARSLAB", "PARSL") for word, text in values.items()}
