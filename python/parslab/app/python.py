"""``PythonApp`` is an app whose function runs on a worker."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from parslab.app.base import App
from parslab.clock import steady_time
from parslab.errors import AppTimeout

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["PythonApp", "timeout"]


class PythonApp(App):
    """A function that runs on a worker; see :func:`parslab.python_app`."""

    kind = "python_app"
    takes_async = True


def timeout(f: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """Return the function with a limit of time: it raises AppTimeout when it ends later (Parsl: same name).

    Python cannot stop a function in a thread, so the error comes when the function has ended.  The keyword ``walltime``
    of an app's call is better: the worker stops the task at its limit.
    """

    @functools.wraps(f)
    def limited(*args: Any, **kwargs: Any) -> Any:
        begin = steady_time()
        value = f(*args, **kwargs)
        if steady_time() - begin > seconds:
            raise AppTimeout(f"{getattr(f, '__name__', f)} ran longer than {seconds:g} s")
        return value

    return limited
