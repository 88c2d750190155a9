"""``PythonApp`` is an app whose function runs on a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.app.base import App
from parslab.bodies.time_limit import with_limit

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["PythonApp", "timeout"]


class PythonApp(App):
    """A function that runs on a worker; see :func:`parslab.python_app`."""

    kind = "python_app"
    takes_async = True


def timeout(f: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """Return the function with a limit of time: AppTimeout is raised in it when it takes longer (Parsl: same name).

    A C function that blocks goes on until its end.  The keyword ``walltime`` of an app's call is better: a worker stops
    the task at its limit.
    """
    return with_limit(f, seconds)
