"""Small functions of Parsl's ``parsl.utils`` that programs and providers of users call."""

from __future__ import annotations

import inspect
import subprocess
from typing import Any

from parslab.bodies.command import stream_target
from parslab.errors import BadStdStreamFile
from parslab.version import version

__all__ = ["RepresentationMixin", "execute_wait", "get_std_fname_mode", "get_version", "wtime_to_minutes"]


def get_version() -> str:
    """Return the version of parslab."""
    return version()


def wtime_to_minutes(time_string: str) -> int:
    """Return the minutes of a text ``HH:MM:SS``; seconds do not count.

    Examples
    --------
    >>> wtime_to_minutes("01:30:00")
    90
    """
    hours, minutes, _ = time_string.split(":")
    return int(hours) * 60 + int(minutes)


def get_std_fname_mode(fdname: str, stdfspec: Any) -> tuple[str, str]:
    """Return path and mode of a value of ``stdout`` or ``stderr``.

    Parameters
    ----------
    fdname
        ``"stdout"`` or ``"stderr"``.
    stdfspec
        A path, or ``(path, mode)``.
    """
    target = stream_target(fdname, stdfspec)
    if target is None:
        raise BadStdStreamFile(fdname, "None", "it must be a path, or a pair of path and mode")
    return target


def execute_wait(cmd: str, walltime: float | None = None) -> tuple[int, str, str]:
    """Run a command with the shell, and return its exit status, stdout and stderr.

    Parameters
    ----------
    cmd
        The command line.
    walltime
        Seconds after which the command is killed.

    Raises
    ------
    subprocess.TimeoutExpired
        The command took longer.
    """
    done = subprocess.run(["/bin/bash", "-c", cmd], capture_output=True, text=True, timeout=walltime, check=False)
    return done.returncode, done.stdout, done.stderr


class RepresentationMixin:
    """Shows an object as the call that makes it; each parameter of the constructor must be an attribute, too."""

    def __repr__(self) -> str:
        parameters = list(inspect.signature(type(self).__init__).parameters.values())[1:]
        shown = []
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if not hasattr(self, parameter.name):
                return f"{type(self).__name__}(...)"
            shown.append(f"{parameter.name}={getattr(self, parameter.name)!r}")
        return f"{type(self).__name__}({', '.join(shown)})"
