"""``BashApp`` is an app whose function returns a command line, which the worker runs with bash."""

from __future__ import annotations

from parslab.app.base import App
from parslab.app.special import AUTO_LOGNAME
from parslab.bodies.bash import run

__all__ = ["AUTO_LOGNAME", "BashApp"]


class BashApp(App):
    """A function that returns a command line for bash; see :func:`parslab.bash_app`."""

    kind = "bash_app"
    runner = staticmethod(run)
    strict = True
