"""Makes the names and labels of what parslab creates in a cluster, from the names of jobs [pure].

Kubernetes takes lower-case letters, digits and ``-`` in names, 63 characters at most.  A name that must be changed gets
a digest of the original, so that two jobs never share one.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

__all__ = [
    "JOB",
    "LABELS",
    "MANAGED_BY",
    "RELAY",
    "JobParts",
    "labels_of",
    "object_name",
    "parts_of",
    "pod_names",
    "selector_of",
]

_LONGEST = 63
_DIGEST = 8

JOB = "parslab/job"
"""The annotation with the name of the block's job."""
MANAGED_BY = "app.kubernetes.io/managed-by"
RELAY = "parslab-relay"
"""The label of a pod that relays connections; its value is the run."""
LABELS = ("parslab-run", "parslab-executor", "parslab-block")
"""The labels that name the run, the executor and the block."""


class JobParts(NamedTuple):
    """The parts of a job's name ``parslab.RUN.EXECUTOR.BLOCK``."""

    run: str
    executor: str
    block: str


def parts_of(job: str) -> JobParts:
    """Return the parts of a job's name.

    Examples
    --------
    >>> parts_of("parslab.000-1a2b3c.my.label.12")
    JobParts(run='000-1a2b3c', executor='my.label', block='12')
    """
    parts = job.split(".", 2)
    executor, _, block = parts[-1].rpartition(".")
    return JobParts(parts[1] if len(parts) > 2 else job, executor or job, block)


def object_name(*parts: str) -> str:
    """Return a name that Kubernetes takes.

    Examples
    --------
    >>> object_name("parslab", "000-1a2b3c", "htex", "0")
    'parslab-000-1a2b3c-htex-0'
    >>> object_name("parslab", "My_label")
    'parslab-my-label-7cd31fc4'
    """
    plain = "-".join(part for part in parts if part)
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    if name == plain and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(plain.encode()).hexdigest()[:_DIGEST]
    return f"{name[: _LONGEST - _DIGEST - 1].strip('-')}-{digest}".strip("-")


def pod_names(prefix: str, job: str, count: int) -> list[str]:
    """Return the names of the pods of a block; the same for each attempt, so that no attempt makes a second set."""
    parts = parts_of(job)
    name = object_name(prefix, *parts)
    return [name] if count == 1 else [object_name(prefix, *parts, f"n{number}") for number in range(count)]


def labels_of(job: str) -> dict[str, str]:
    """Return the labels of everything that belongs to a block."""
    return {MANAGED_BY: "parslab", **dict(zip(LABELS, map(_label, parts_of(job)), strict=True))}


def selector_of(job: str, block: bool = False) -> str:
    """Return what selects the objects of the executor of a job, or only those of its block."""
    labels = labels_of(job)
    return ",".join(f"{name}={labels[name]}" for name in (LABELS if block else LABELS[:2]))


def _label(text: str) -> str:
    """Return a value that a label takes."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", text) and len(text) <= _LONGEST:
        return text
    return object_name(text)
