"""``Executors`` chooses the executor of each call."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError, InvalidResourceSpecification
from parslab.wire.messages.base import TaskKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parslab.records.software import Software
    from parslab.wire.messages.base import TaskSpec

__all__ = ["Executors"]


class Executors:
    """The executors of one run, by number; the DataFlowKernel sends them in its welcome.

    Attributes
    ----------
    labels
        Their labels.
    kinds
        Their task kinds: ``TaskKind.remote`` (worker processes) or ``TaskKind.local`` (threads of this process).
    """

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ()
        self.kinds: tuple[int, ...] = ()
        self._mpi: frozenset[int] = frozenset()
        """The numbers of the executors that run MPI tasks, and no others."""
        self._choices: dict[str | tuple[str, ...], tuple[int, ...]] = {}
        """The numbers for each choice of labels that a call has made: an app makes the same choice in each call."""

    def set(self, executors: Sequence[tuple[str, int]], mpi: Iterable[int] = ()) -> None:
        """Store the labels and kinds that the DataFlowKernel has sent, and which executors run MPI tasks."""
        self.labels = tuple(label for label, _ in executors)
        self.kinds = tuple(kind for _, kind in executors)
        self._mpi = frozenset(mpi)

    def pick(self, executors: str | Sequence[str], spec: TaskSpec | None, app: str) -> int:
        """Return the number of the executor for one call, drawn at random from several [HPDC19 §3.5].

        Parameters
        ----------
        executors
            ``"all"``, or labels.
        spec
            The resources and limits of the call.  A run-time limit excludes threads if there is another executor,
            because a thread stops only when it comes to Python code.
        app
            The name of the app, for errors.

        Raises
        ------
        ConfigurationError
            No executor has such a label, or none of them can enforce the limit.
        InvalidResourceSpecification
            None of the executors runs MPI tasks, or all of them do and the call is none.
        """
        numbers = self._choices.get(executors if type(executors) is str else tuple(executors))
        if numbers is None:
            numbers = self._numbers_of(executors)
        if self._mpi or (spec is not None and spec.mpi is not None):
            numbers = self._for_mpi(numbers, spec, app)
        if spec is not None and spec.max_run_time:
            numbers = self._that_can_stop(numbers)
        if spec is not None and spec.software is not None:
            numbers = self._with_workers(numbers, spec.software, app)
        return numbers[0] if len(numbers) == 1 else random.choice(numbers)

    def _numbers_of(self, executors: str | Sequence[str]) -> tuple[int, ...]:
        labels = [executors] if isinstance(executors, str) else list(executors)
        if labels == ["all"]:
            labels = list(self.labels)
        unknown = [label for label in labels if label not in self.labels]
        if unknown or not labels:
            raise ConfigurationError(
                f"There is no executor {', '.join(map(repr, unknown)) or 'named'}; "
                f"this run has {', '.join(self.labels)}."
            )
        numbers = tuple(self.labels.index(label) for label in labels)
        self._choices[executors if isinstance(executors, str) else tuple(executors)] = numbers
        return numbers

    def _that_can_stop(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """Return the executors that can stop a task at its run-time limit; all if there are only threads."""
        able = tuple(number for number in numbers if self.kinds[number] == TaskKind.remote)
        return able or numbers

    def _for_mpi(self, numbers: tuple[int, ...], spec: TaskSpec | None, app: str) -> tuple[int, ...]:
        """Return the executors in MPI mode for an MPI task, and the others for any other task."""
        mpi = spec.mpi if spec is not None else None
        in_mode = tuple(number for number in numbers if number in self._mpi)
        others = tuple(number for number in numbers if number not in self._mpi)
        if mpi is not None and in_mode:
            return in_mode
        if mpi is not None and mpi.ranks > 1:
            labels = ", ".join(self.labels[number] for number in numbers)
            raise InvalidResourceSpecification(
                f"App {app} asks for {mpi.ranks} ranks, and executor {labels} runs tasks of one process: use an "
                "MPIExecutor, or HighThroughputExecutor(enable_mpi_mode=True)."
            )
        # The transfer of a file needs no ranks, and goes to the executor of the task that needs the file.
        if others or (spec is not None and spec.staging):
            return others or numbers
        labels = ", ".join(self.labels[number] for number in numbers)
        raise InvalidResourceSpecification(
            f"App {app}: executor {labels} runs MPI tasks, so a call needs "
            'a resource specification such as parsl_resource_specification={"num_nodes": 1, "ranks_per_node": 2}.'
        )

    def _with_workers(self, numbers: tuple[int, ...], software: Software, app: str) -> tuple[int, ...]:
        """Return the executors that can run a task with other software than that of this process."""
        able = tuple(number for number in numbers if self.kinds[number] == TaskKind.remote)
        if not able:
            labels = ", ".join(self.labels[number] for number in numbers)
            raise ConfigurationError(
                f"App {app}: executor {labels} cannot use {software}, because its threads run in this process: choose "
                "one with worker processes."
            )
        return able
