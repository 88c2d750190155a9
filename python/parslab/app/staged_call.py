"""``StagedCall`` is one call of an app whose files may have to be staged.

``app.base`` makes one for each call, but only in programs that have such files at all.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from parslab.app.data_manager import data_manager
from parslab.client.futures.app_future import DataFuture
from parslab.data_provider.files import File
from parslab.data_provider.staging import WithTransfers, transferred
from parslab.serialize.functions import AppFunction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel

__all__ = ["INHIBIT", "StagedCall"]

INHIBIT = "_parsl_staging_inhibit"
"""A keyword with which providers call apps whose Files must stay as they are (Parsl: same name)."""
TRANSFERS = "_parslab_transfers"
"""The keyword in which the transfers of a call travel, so that all calls of an app share one function."""


class Transfers:
    """The transfers of one call, and the runner of its app; ``repr`` of it is what the panel shows.

    Attributes
    ----------
    runner
        The runner of the app; None: the function itself is called.
    inputs, outputs
        As in :class:`~parslab.data_provider.staging.WithTransfers`.
    """

    def __init__(self, runner: Callable[..., Any] | None, plan: WithTransfers) -> None:
        self.runner = runner
        self.inputs = plan.inputs
        self.outputs = plan.outputs


def run_with_transfers(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Fetch the inputs of a call, run its function, and store its outputs; the runner of calls with transfers."""
    transfers: Transfers = kwargs.pop(TRANSFERS)
    runner = transfers.runner
    with transferred(transfers.inputs, transfers.outputs):
        return function(*args, **kwargs) if runner is None else runner(function, *args, **kwargs)


class StagedCall:
    """Stages the files of one call.

    Parameters
    ----------
    dfk
        The run.
    code
        The function of the app.
    executor
        The label of the executor that was drawn for the call.
    stages
        Whether to stage at all; providers call apps whose Files stay as they are.
    """

    def __init__(self, dfk: DataFlowKernel, code: AppFunction, executor: str, stages: bool) -> None:
        self.manager = data_manager(dfk)
        self.executor = executor
        self.future: AppFuture | None = None
        """The future of the call, where transfers of outputs need it before the call is submitted."""
        self.stages = stages
        self._dfk = dfk
        self._code = code
        runner = code.runner
        self._original: Callable[..., Any] = (
            code.function if runner is None else functools.partial(runner, code.function)
        )
        self._function = self._original
        self._stored: dict[int, Any] = {}
        """By the identity of the caller's File: the future of its transfer."""

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with staged Files: those that are arguments themselves, and those in ``inputs``."""
        if not self.stages:
            return args, dict(kwargs)
        args = tuple([self._input(value) for value in args])
        changed = {
            name: self._input(value) for name, value in kwargs.items() if name not in ("outputs", "stdout", "stderr")
        }
        listed = changed.get("inputs")
        if isinstance(listed, (list, tuple)) and any(isinstance(value, (File, DataFuture)) for value in listed):
            changed["inputs"] = [self._input(value) for value in listed]
        return args, {**kwargs, **changed}

    def _input(self, value: Any) -> Any:
        if not isinstance(value, (File, DataFuture)):
            return value
        staged, self._function = self.manager.optionally_stage_in(value, self._function, self.executor)
        return staged

    def reserve(self) -> AppFuture:
        """Return the future of the call, which has the number of its task, before the call is submitted."""
        if self.future is None:
            self.future = self._dfk.new_future(self._code.name)
            self.manager.begin_outputs()
        return self.future

    def output(self, file: File) -> File:
        """Return the File that the task writes, and start what brings it to its URL."""
        if not self.stages or not self.manager.needs_stage_out(file, self.executor):
            return file
        copy = file.cleancopy()
        stored = self.manager.stage_out(copy, self.executor, self.reserve())
        if stored is not None:
            self._stored[id(file)] = stored
        self._function = self.manager.replace_task_stage_out(copy, self._function, self.executor)
        return copy

    def data_future(self, future: AppFuture, file: File) -> DataFuture:
        """Return the future of an output, which is done when the file is at its URL."""
        stored = self._stored.get(id(file))
        if stored is None:
            return DataFuture(future, file)
        return DataFuture(stored.parent if isinstance(stored, DataFuture) else stored, file, future.task_id)

    def code(self, staged: AppFunction) -> AppFunction:
        """Return the function to submit: that of the app, ``staged`` if transfers surround it, or one of a provider."""
        if self._function is self._original:
            return self._code
        if isinstance(self._function, WithTransfers) and self._function.function is self._original:
            return staged
        return AppFunction(self._function, None, self._code.name, self._code.software)

    def transfers(self) -> dict[str, Any]:
        """Return the keyword that carries the transfers of this call; empty if it has none."""
        plan = self._function
        if isinstance(plan, WithTransfers) and plan.function is self._original:
            return {TRANSFERS: Transfers(self._code.runner, plan)}
        return {}

    def submit(self, call: Callable[[AppFuture | None], AppFuture]) -> AppFuture:
        """Submit the call, and then the transfers of its outputs."""
        if self.future is None:
            return self.manager.submit(self._code.name, call)
        submitted = False
        try:
            future = call(self.future)
            submitted = True
        finally:
            self.manager.end_outputs(submitted)
        return future
