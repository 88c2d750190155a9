"""Take the place of an app on a worker, and explain there why it cannot be called."""

from __future__ import annotations

from typing import Any, NoReturn

from parslab.errors import NoDataFlowKernelError

__all__ = ["AbsentApp"]


class AbsentApp:
    """Takes the place of an app to which the function of a task refers."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NoDataFlowKernelError(
            f"App {self.__name__} was called inside a task: apps are called in the notebook; "
            "use a join_app for a task that starts others."
        )

    def __repr__(self) -> str:
        return f"<app {self.__name__}, which cannot be called on a worker>"
