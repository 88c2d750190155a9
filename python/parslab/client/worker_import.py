"""Let workers import modules that call ``parslab.load()`` at their top level.

A module may call ``load()`` and define apps.  Every worker that runs one of these apps imports the module.  Without the
check here each worker would start a run of its own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from parslab.errors import NoDataFlowKernelError

if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = ["UnloadedRun", "importing_module"]

_IMPORT = "<frozen importlib._bootstrap>"
"""The file name of the frames in which CPython executes an import statement."""


def importing_module() -> str:
    """Return the name of the module that a worker imports now; empty outside of workers and of imports."""
    # Only worker processes import this module, so no flag has to travel through the environment.
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
    """A run that does nothing: ``load()`` returns it to a module that a worker imports.

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
            # pickle, copy and IPython ask for optional special methods, and expect an AttributeError.
            raise AttributeError(name)
        raise NoDataFlowKernelError(
            f"A worker imports {self._module}, where parslab.load() does nothing, so there is no {name}: "
            "put the load() and what uses it under `if __name__ == '__main__':`, or into a function."
        )
