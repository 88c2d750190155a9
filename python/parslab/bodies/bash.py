"""Run a bash app on the worker: call its function for the command line, run it with bash, check the output files.

:func:`run` is the runner of every bash app.
"""

from __future__ import annotations

import inspect
import os
import sys
import weakref
from types import FunctionType
from typing import TYPE_CHECKING, Any

from parslab.bodies.command import CommandLine, run_command
from parslab.errors import AppBadFormatting, AppError, BashAppNoReturn, BashExitFailure, MissingOutputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["SANDBOX", "run"]

SANDBOX = "_parslab_sandbox"
"""The keyword by which an app asks for a sandbox: the folder in which to make it, or True: a temporary one."""
_OURS = ("inputs", "outputs", "stdout", "stderr", "label", "walltime")
# These are the beginnings of Python's messages about a format string that does not fit its arguments.  Any other error
# of the function is the user's own, and keeps its type.
_FORMATTING = (
    "Replacement index",
    "not enough arguments for format string",
    "not all arguments converted during string formatting",
    "unsupported format character",
)
_signatures: weakref.WeakKeyDictionary[FunctionType, inspect.Signature | None] = weakref.WeakKeyDictionary()


def run(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> int:
    """Run the command line that ``function`` returns; return 0, or raise one of the errors of a bash app.

    Parameters
    ----------
    function
        The function of the app. It gets only those special keywords that are among its parameters.
    args, kwargs
        The arguments of the call.

    Raises
    ------
    BashExitFailure
        The exit status of the command is not 0.
    MissingOutputs
        The command has not written a file of ``outputs``.
    """
    name = getattr(function, "__name__", type(function).__name__)
    sandbox = kwargs.pop(SANDBOX, None)
    kwargs, special = _divided(function, args, kwargs)
    if sandbox is not None:
        return _run_in_sandbox(name, function, args, kwargs, special, parent="" if sandbox is True else sandbox)
    code, tail = run_command(CommandLine(_command(name, function, args, kwargs)), special)
    if code:
        raise BashExitFailure(name, code, tail)
    missing = [path for path in map(os.fspath, special.get("outputs") or ()) if not os.path.exists(path)]
    if missing:
        raise MissingOutputs(name, missing, tail)
    return 0


def _run_in_sandbox(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    special: Mapping[str, Any],
    *,
    parent: str,
) -> int:
    """Run the command line in a folder of its own, which stays after a failure."""
    from parslab.bodies.sandbox import Sandbox  # here, because most workers never need it

    signature = _signature(function)
    if signature is not None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()  # a default may name an input or output, too
        args, kwargs = bound.args, bound.kwargs
    sandbox = Sandbox(name, parent)
    try:
        args, kwargs = sandbox.arguments(args, kwargs, special.get("outputs"), special.get("inputs"))
        text = _command(name, function, args, kwargs)
    except BaseException:
        sandbox.remove()  # nothing has run in it
        raise
    try:
        code, tail = run_command(CommandLine(text, sandbox.folder), special)
        if code:
            raise BashExitFailure(name, code, tail, sandbox.folder)
        missing = sandbox.missing()
        if missing:
            raise MissingOutputs(name, missing, tail, sandbox.folder)
        sandbox.deliver()
    except AppError:
        raise
    except BaseException:
        print(f"parslab: the sandbox {sandbox.folder} stays", file=sys.stderr)
        raise
    sandbox.remove()
    return 0


def _divided(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return the keywords that ``function`` takes, and all special keywords with its defaults."""
    special = {key: kwargs[key] for key in _OURS if key in kwargs}
    signature = _signature(function)
    if signature is None:
        return kwargs, special
    takes = signature.parameters
    if special and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        kwargs = {key: value for key, value in kwargs.items() if key in takes or key not in special}
    if not takes.keys().isdisjoint(_OURS):  # otherwise there is nothing to find
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        special.update({key: bound.arguments[key] for key in _OURS if key in bound.arguments})
    return kwargs, special


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function; None if it has none."""
    # Kept for functions only: their attributes and defaults do not change on a worker, those of other callables may.
    if type(function) is not FunctionType:
        return _new_signature(function)
    if function not in _signatures:
        _signatures[function] = _new_signature(function)
    return _signatures[function]


def _new_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _command(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    try:
        command = function(*args, **kwargs)
    except (IndexError, TypeError, ValueError) as error:
        if not str(error).startswith(_FORMATTING):
            raise
        raise AppBadFormatting(f"The command line of bash app {name} cannot be formatted: {error}") from error
    if not isinstance(command, str):
        shown = "None" if command is None else f"a value of type {type(command).__name__}"
        raise BashAppNoReturn(name, shown)
    return command
