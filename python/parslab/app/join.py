"""``JoinApp`` is an app whose function runs in the notebook's process and returns futures of other apps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.app.origin import calling_cell
from parslab.app.python import PythonApp
from parslab.data_provider.staging import INTERNAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.client.calls.identities import IdentifiedCalls
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.serialize.functions import AppFunction
    from parslab.wire.messages.base import TaskSpec

__all__ = ["JoinApp"]


class JoinApp(PythonApp):  # in Parsl, too, and libraries ask for that class
    """A function that calls other apps and returns their futures; see :func:`parslab.join_app`."""

    kind = "join_app"
    takes_async = False

    def _submit(
        self,
        dfk: DataFlowKernel,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        spec: TaskSpec | None,
        calls: IdentifiedCalls | None,
    ) -> AppFuture:
        cell = calling_cell()
        return dfk.submit_join(self.code, args, kwargs, name=self.__name__, cell=cell, spec=spec, calls=calls)

    def _drawn(self, dfk: DataFlowKernel) -> str:
        return INTERNAL

    def _send(
        self,
        dfk: DataFlowKernel,
        code: AppFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        executors: str | Sequence[str],
        *,
        spec: TaskSpec | None,
        calls: IdentifiedCalls | None,
        future: AppFuture | None,
    ) -> AppFuture:
        cell = calling_cell()
        return dfk.submit_join(code, args, kwargs, name=self.__name__, cell=cell, spec=spec, calls=calls, future=future)
