"""A DataFlowKernel that only writes down what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from parslab.client.futures.app_future import AppFuture
from parslab.config import Config

if TYPE_CHECKING:
    from parslab.client.futures.home import FutureHome
    from parslab.client.handle.dfk import DataFlowKernel


class FakeKernel:
    """Takes calls and gives futures that are never done."""

    config = Config()
    run_dir = Path("/runs/000")
    labels = ("llex", "threads")

    def __init__(self) -> None:
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = []

    def submit(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> AppFuture:
        future = options.pop("future", None)
        self.calls.append((function, args, kwargs, options))
        return future or AppFuture(cast("FutureHome", self), len(self.calls) - 1, function.name)

    def new_future(self, name: str) -> AppFuture:
        return AppFuture(cast("FutureHome", self), len(self.calls), name)

    def submit_join(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> AppFuture:
        self.calls.append((function, args, kwargs, options))
        return AppFuture(cast("FutureHome", self), len(self.calls) - 1, options["name"])

    def release(self, task: int, size: int) -> None:
        """A future is garbage."""

    @property
    def itself(self) -> DataFlowKernel:
        return cast("DataFlowKernel", self)

    @property
    def last(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of the last call."""
        _, args, kwargs, _ = self.calls[-1]
        return args, kwargs
