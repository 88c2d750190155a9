"""``BashApp`` is an app whose function returns a command line, which the worker runs with bash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.app.base import App
from parslab.app.origin import calling_cell
from parslab.app.special import AUTO_LOGNAME
from parslab.bodies.bash import run

if TYPE_CHECKING:
    from parslab.client.calls.identities import IdentifiedCalls
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.wire.messages.base import TaskSpec

__all__ = ["AUTO_LOGNAME", "BashApp"]


class BashApp(App):
    """A function that returns a command line for bash; see :func:`parslab.bash_app`."""

    kind = "bash_app"
    runner = staticmethod(run)
    strict = True

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
