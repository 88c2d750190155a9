"""A notebook's namespace for tests: cells are executed as `__main__`, and a worker unpickles what they made."""

from __future__ import annotations

import linecache
import weakref
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from parslab.serialize.functions import AppFunction, load_function

if TYPE_CHECKING:
    from collections.abc import Callable


class Notebook:
    """Cells share the names of `self.names`."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self._count = 0

    def cell(self, source: str) -> None:
        """Run a cell; its lines can be found under the name of a file that does not exist."""
        self._count += 1
        filename = f"<ipython-input-{self._count}-{id(self)}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        exec(compile(source, filename, "exec"), self.names)

    def app(self, name: str = "f", runner: Callable[..., Any] | None = None) -> AppFunction:
        """The function of an app made from what `name` is now."""
        return AppFunction(self.names[name], runner)


def on_worker(function: AppFunction) -> Callable[..., Any]:
    """The callable that a worker gets from the function as it is now.

    cloudpickle knows again a class that it has met in this process, and would change ours when a "worker" loads it.
    """
    payload = function.current().payload
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", weakref.WeakValueDictionary())
        return load_function(payload)
