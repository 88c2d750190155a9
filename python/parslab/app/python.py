"""python_app: the function's body is the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.app.base import App
from parslab.app.origin import calling_cell
from parslab.serialize.functions import Function

if TYPE_CHECKING:
    from parslab.client.dfk import DataFlowKernel
    from parslab.client.futures import AppFuture
    from parslab.wire.messages import Spec

__all__ = ["PythonApp"]


class PythonApp(App):
    """A function that runs on a worker; see :func:`parslab.python_app`."""

    kind = "python_app"
    takes_async = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._code = Function(self.func, name=self.__name__)

    def _submit(
        self, dfk: DataFlowKernel, args: tuple[Any, ...], kwargs: dict[str, Any], spec: Spec | None
    ) -> AppFuture:
        return dfk.submit(self._code, args, kwargs, executors=self.executors, cell=calling_cell(), spec=spec)
