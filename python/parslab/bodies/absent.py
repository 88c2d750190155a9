"""``AbsentApp`` replaces an app on a worker; a call of it raises an error that explains why it cannot work there."""

from __future__ import annotations

from typing import Any, NoReturn

from parslab.errors import NoDataFlowKernelError

__all__ = ["AbsentApp"]


class AbsentApp:
    """Replaces an app to which the function of a task refers.

    Parameters
    ----------
    name
        The name of the app.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NoDataFlowKernelError(
            f"App {self.__name__} was called inside a task: apps are called in the notebook; "
            "use a join_app for a task that starts others."
        )

    def __repr__(self) -> str:
        return f"<app {self.__name__}, which cannot be called on a worker>"
