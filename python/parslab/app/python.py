"""``PythonApp`` is an app whose function runs on a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.app.base import App
from parslab.app.origin import calling_cell

if TYPE_CHECKING:
    from parslab.client.calls.identities import IdentifiedCalls
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.wire.messages.base import TaskSpec

__all__ = ["PythonApp"]


class PythonApp(App):
    """A function that runs on a worker; see :func:`parslab.python_app`."""

    kind = "python_app"
    takes_async = True

    def _submit(
        self,
        dfk: DataFlowKernel,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        spec: TaskSpec | None,
        calls: IdentifiedCalls | None,
    ) -> AppFuture:
        cell = calling_cell()
        return dfk.submit(self.code, args, kwargs, executors=self.executors, cell=cell, spec=spec, calls=calls)
