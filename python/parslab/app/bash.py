"""``BashApp`` is an app whose function returns a command line, which the worker runs with bash."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from parslab.app.base import App
from parslab.app.special import AUTO_LOGNAME
from parslab.bodies.bash import SANDBOX, run
from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.client.futures.app_future import AppFuture
    from parslab.config import Config

__all__ = ["AUTO_LOGNAME", "BashApp"]


class BashApp(App):
    """A function that returns a command line for bash; see :func:`parslab.bash_app`.

    Attributes
    ----------
    sandbox
        Whether each call runs in a folder of its own, or the path where to make such folders; None: as the
        configuration of the run says.
    """

    kind = "bash_app"
    runner = staticmethod(run)
    strict = True

    def __init__(
        self, function: Callable[..., Any], *, sandbox: bool | str | os.PathLike[str] | None = None, **options: Any
    ) -> None:
        super().__init__(function, **options)
        if sandbox is not None and not isinstance(sandbox, (bool, str, os.PathLike)):
            raise ConfigurationError(
                f"App {self.__name__}: sandbox must be True, False or a path of a folder, not {sandbox!r}."
            )
        self.sandbox = sandbox

    def __call__(self, /, *args: Any, **kwargs: Any) -> AppFuture:
        if self.sandbox is not False:
            asked = self._asked()
            if asked is not False:
                kwargs[SANDBOX] = asked
        return super().__call__(*args, **kwargs)

    def _asked(self) -> bool | str:
        """Return False for no sandbox, or the folder in which to make it; True: in that for temporary files."""
        config = self._run().config
        asked = self.sandbox
        if asked is None:
            asked = config is not None and config.sandbox
        if isinstance(asked, bool):
            return asked and (self._working_dir(config) or True)
        return os.path.abspath(os.path.expanduser(asked))  # the worker may run in another folder

    def _working_dir(self, config: Config | None) -> str:
        """Return the ``working_dir`` of the executors that may run the calls; empty if they differ."""
        executors = () if config is None else config.executors
        folders = {
            str(getattr(executor, "working_dir", None) or "")
            for executor in executors
            if self.executors == "all" or executor.label in self.executors
        }
        return folders.pop() if len(folders) == 1 else ""

    def _ignored(self) -> tuple[str, ...]:
        return (*super()._ignored(), SANDBOX)  # where a command runs does not change what it makes
