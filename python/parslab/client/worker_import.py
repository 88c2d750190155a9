"""What ``load()`` returns to a module that a worker imports: nothing is loaded, and the module can be imported.

A module that calls ``parslab.load()`` at its top and defines apps is imported by every worker that runs one of them. A
run for each of them is never meant.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from parslab.errors import NoDataFlowKernelError

if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = ["UnloadedRun", "importing_module"]

_IMPORT = "<frozen importlib._bootstrap>"


def importing_module() -> str:
    """Return the module whose import by a worker leads to this call; empty outside of workers and of imports."""
    if "parslab.remote.worker.worker" not in sys.modules:
        return ""
    module = ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            module = str(frame.f_globals.get("__name__", ""))
        if frame.f_code.co_filename == _IMPORT and module:
            return module
        frame = frame.f_back
    return ""


class UnloadedRun:
    """Stands for a run in a module that a worker imports: it can be entered and cleaned up, and does nothing.

    Parameters
    ----------
    module
        The module that called ``load()``.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __enter__(self) -> UnloadedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def cleanup(self) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NoDataFlowKernelError(
            f"A worker imports {self._module}, where parslab.load() does nothing, so there is no {name}: "
            "put the load() and what uses it under `if __name__ == '__main__':`, or into a function."
        )
