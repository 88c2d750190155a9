"""Config: the immutable description of a run that ``load()`` takes.

Stands above ``executors`` in the house, because the embedded default is one of them.
"""

from __future__ import annotations

from typing import Any

import traitlets

from parslab.description import Description, PathText
from parslab.errors import ConfigurationError
from parslab.executors import Executor, LowLatencyExecutor

__all__ = ["Config"]


class _Executors(traitlets.TraitType[Any, Any]):
    """One executor or several, kept as a tuple."""

    wants = "a list of at least one executor, such as [LowLatencyExecutor()]"

    def validate(self, obj: Any, value: Any) -> tuple[Executor, ...]:
        try:
            executors = tuple(value)
        except TypeError:
            raise traitlets.TraitError(self.wants) from None
        if not executors or not all(isinstance(executor, Executor) for executor in executors):
            raise traitlets.TraitError(self.wants)
        return executors


class Config(Description):
    """Description of a run: where its tasks execute and where its files go.

    Parameters
    ----------
    executors
        Where tasks run.  An app that names none is sent to any of them.
    run_dir
        Folder in which each run makes its own numbered folder (logs, monitoring, output of bash apps).

    Examples
    --------
    >>> from parslab.executors import LowLatencyExecutor, ThreadPoolExecutor
    >>> Config(executors=[LowLatencyExecutor(workers=4), ThreadPoolExecutor()])
    Config(executors=[LowLatencyExecutor(workers=4), ThreadPoolExecutor()])
    """

    executors = _Executors((LowLatencyExecutor(),))
    run_dir = PathText("runinfo")

    def check(self) -> None:
        labels = [executor.label for executor in self.executors]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigurationError(
                    f"Config: the label {label!r} names more than one executor; labels must differ."
                )
