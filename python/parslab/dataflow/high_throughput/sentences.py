"""Writes sentences about managers: why one is refused, what happened to its tasks, what a task asks for [core]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.wire.messages.base import PROTOCOL

if TYPE_CHECKING:
    from parslab.records.mpi import MpiSpec
    from parslab.wire.messages.base import TaskSpec
    from parslab.wire.messages.manager import ManagerHello

__all__ = ["demands", "misfit", "mpi_demands", "tasks_of_lost_manager"]


def misfit(hello: ManagerHello, python: str, package: str) -> str:
    """Return why this manager cannot work for a run with this Python and this parslab; empty when it can.

    The sentence names the side to fix.
    """
    where = f"host {hello.host} (block {hello.block})"
    # Pickled functions hold bytecode, which only the same minor version of Python can run.
    if hello.python != python:
        return (
            f"{where} runs Python {hello.python}, this notebook {python}: activate an environment with Python "
            f"{python} in worker_init, or name its interpreter with HighThroughputExecutor(python=...)."
        )
    if hello.protocol != PROTOCOL or hello.package != package:
        return (
            f"{where} has parslab {hello.package}, this notebook {package}: install parslab {package} in the "
            "environment that worker_init activates there."
        )
    return ""


def tasks_of_lost_manager(failed: int, retried: int) -> str:
    """Say what happened to the tasks of a lost manager, as part of a sentence.

    Examples
    --------
    >>> tasks_of_lost_manager(1, 2)
    'of the 3 tasks that it held 1 has failed and 2 are tried again'
    """
    if not failed + retried:
        return "it held no task"
    if failed and retried:
        these = f"{failed} {'has' if failed == 1 else 'have'} failed and {retried} {'is' if retried == 1 else 'are'}"
        return f"of the {failed + retried} tasks that it held {these} tried again"
    one = failed + retried == 1
    task = "the task" if one else f"the {failed + retried} tasks"
    if failed:
        return f"{task} that it held {'has' if one else 'have'} failed"
    return f"{task} that it held {'is' if one else 'are'} tried again"


def demands(spec: TaskSpec) -> str:
    """Return what a task asks for, as part of a sentence."""
    parts = [
        f"{spec.cores:g} cores" if spec.cores else "",
        f"{spec.memory >> 20} MB of memory" if spec.memory else "",
        f"{spec.gpus} accelerators" if spec.gpus else "",
    ]
    return " and ".join(part for part in parts if part)


def mpi_demands(spec: MpiSpec) -> str:
    """Return the nodes and ranks that a task asks for, as part of a sentence."""
    ranks = f"{spec.ranks_per_node} rank{'s' * (spec.ranks_per_node > 1)}"
    if spec.cores:
        return f"{spec.cores} core{'s' * (spec.cores > 1)} of one node for {ranks}"
    return f"{spec.nodes} node{'s' * (spec.nodes > 1)} with {ranks} on a core each"
