"""Handle the keywords that have a meaning for parslab: inputs, outputs, stdout, stderr and others.

``app.base`` calls this in the user's thread, only for calls that have such a keyword. This module never modifies
objects of the caller: it copies lists, and makes new File objects for ``outputs``.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.app.resources import SPECIFICATIONS, WALLTIME
from parslab.bodies.bash import SANDBOX
from parslab.bodies.command import stream_target
from parslab.data_provider.files import File

if TYPE_CHECKING:
    from parslab.client.handle.dfk import DataFlowKernel

__all__ = ["AUTO_LOGNAME", "SPECIAL", "SpecialCall", "special_parameters"]

AUTO_LOGNAME = -1
"""Value of ``stdout`` or ``stderr`` of a bash app: a new file in the run directory."""

STREAMS = ("stdout", "stderr")
SPECIAL = frozenset({"inputs", "outputs", "label", SANDBOX, *STREAMS, WALLTIME, *SPECIFICATIONS})
"""Keywords that this module handles."""


def special_parameters(function: Callable[..., Any]) -> tuple[inspect.Signature | None, dict[str, Any]]:
    """Return the signature of ``function``, None if it has none, and its special parameters with their defaults."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return None, {}
    return signature, {name: p.default for name, p in signature.parameters.items() if name in SPECIAL}


class SpecialCall:
    """One call with special keywords: the ``args`` and ``kwargs`` to submit, and what its future shows.

    Parameters
    ----------
    name
        The name of the app, for messages and file names.
    signature
        The signature of the app's function; None when it has none.
    strict
        True for bash apps, where special keywords always have their meaning. Other functions may have parameters of
        these names that are no files (``inputs`` of a neural network). There only a File or AUTO_LOGNAME is special,
        and all other values pass unchanged.
    copies
        Whether outputs become new Files; staging providers pass Files that have their local paths already.
    """

    def __init__(
        self,
        name: str,
        signature: inspect.Signature | None,
        strict: bool,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        copies: bool = True,
    ) -> None:
        self.name = name
        self.strict = strict
        self.args, self.kwargs, values = _bound(name, signature, strict, args, dict(kwargs))
        self.asked = {key: values[key] for key in (*SPECIFICATIONS, WALLTIME) if values.get(key) is not None}
        """The resources and limits of the call, as the caller passed them."""
        self.label = values.get("label")
        self.streams: dict[str, Any] = {}
        self.automatic: list[str] = []
        """Streams for which this object makes the file names."""
        self.files: list[File] = []
        if type(values.get("inputs")) is list:
            self._replace("inputs", list(values["inputs"]))
        outputs = values.get("outputs")
        if strict and outputs is not None:
            self.files = [_file(name, output, copies) for output in _listed(name, "outputs", outputs)]
        elif isinstance(outputs, (list, tuple)) and all(isinstance(output, File) for output in outputs):
            self.files = [_file(name, output, copies) for output in outputs]
        if self.files:
            self._replace("outputs", list(self.files))
        for stream in STREAMS:
            if values.get(stream) is not None:
                self.streams[stream] = values[stream]

    def write_to(self, files: list[File]) -> None:
        """Have the task write its outputs to these files, which are the local copies."""
        if files:
            self._replace("outputs", files)

    @property
    def needs_number(self) -> bool:
        """Whether a stream has an automatic name, which holds the number of the task."""
        return any(isinstance(value, int) and value == AUTO_LOGNAME for value in self.streams.values())

    def name_streams(self, dfk: DataFlowKernel, number: int, output: Callable[[File], File] | None = None) -> None:
        """Give each stream the form in which it travels; AUTO_LOGNAME becomes a path.

        Parameters
        ----------
        dfk
            The run.
        number
            The number of the task, for automatic names.
        output
            A function that returns the local copy of a File, which the task writes; None: the File itself.
        """
        for stream, value in self.streams.items():
            if isinstance(value, int) and value == AUTO_LOGNAME:
                value = self.streams[stream] = self._automatic(dfk, number, stream)
                self.automatic.append(stream)
                self._replace(stream, value)
            if self.strict:
                local = output(value) if output is not None and isinstance(value, File) else value
                self._redirect(stream, local)

    def _automatic(self, dfk: DataFlowKernel, number: int, stream: str) -> Any:
        """Return the value for which AUTO_LOGNAME stands."""
        choose = None if dfk.config is None else dfk.config.std_autopath
        if choose is None:
            return str(_auto_path(dfk, number, self.name, self.label, stream))
        call = {"func_name": self.name, "args": self.args, "kwargs": self.kwargs, "label": self.label, "dfk": dfk}
        return choose({**call, "id": number, "number": number}, stream)

    def _redirect(self, stream: str, value: Any) -> None:
        """Give a stream of a bash app the form in which it travels."""
        if isinstance(value, File):
            self._replace(stream, (value.filepath, "w"))
            return
        stream_target(stream, value)  # checks the form, so that the cell gets the error and not the task
        if not isinstance(value, (str, tuple)):
            self._replace(stream, os.fspath(value))

    def _replace(self, name: str, value: Any) -> None:
        self.kwargs[name] = value


def _bound(
    name: str, signature: inspect.Signature | None, strict: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """Return arguments with every special one as a keyword, and the values of the special ones with defaults.

    A function gets a specification of resources only when it has a parameter of that name.
    """
    if signature is None:
        asked = {key: kwargs.pop(key) for key in SPECIFICATIONS if key in kwargs}
        return args, kwargs, {**{key: kwargs[key] for key in SPECIAL & kwargs.keys()}, **asked}
    takes = signature.parameters
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    ours = SPECIFICATIONS if any_keyword else (*SPECIFICATIONS, WALLTIME)
    asked = {key: kwargs.pop(key) for key in ours if key in kwargs and key not in takes}
    extra = {}
    if strict and not any_keyword:
        # The runner of a bash app reads these from the keywords, although the function has no such parameters.
        extra = {key: kwargs.pop(key) for key in SPECIAL & kwargs.keys() if key not in takes}
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}() {error}") from None
    values = {key: p.default for key, p in takes.items() if key in SPECIAL and p.default is not p.empty}
    values.update({key: value for key, value in bound.arguments.items() if key in SPECIAL})
    values.update({key: value for key, value in kwargs.items() if key in SPECIAL})
    values.update(extra)
    values.update(asked)
    positional, keywords = _as_keywords(bound)
    return positional, {**keywords, **extra, **{k: v for k, v in values.items() if k in takes}}, values


def _as_keywords(bound: inspect.BoundArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments in which special parameters, and all after them, are keywords if the signature allows it.

    As keywords, :class:`SpecialCall` can replace them by name.
    """
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for key, value in bound.arguments.items():
        kind = bound.signature.parameters[key].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            # A parameter before *args cannot become a keyword, because the next argument would take its place.
            if value and keywords:
                return bound.args, dict(bound.kwargs)
            positional.extend(value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            keywords.update(value)
        elif kind is inspect.Parameter.KEYWORD_ONLY or keywords or key in SPECIAL:
            keywords[key] = value
        else:
            positional.append(value)
    return tuple(positional), keywords


def _listed(app: str, keyword: str, value: Any) -> Iterable[Any]:
    if isinstance(value, (str, bytes, os.PathLike)) or not isinstance(value, Iterable):
        raise TypeError(f"App {app}: {keyword} must be a list, not {value!r}.")
    return value


def _file(app: str, output: Any, copies: bool) -> File:
    if isinstance(output, File):
        return output.cleancopy() if copies else output
    if isinstance(output, (str, os.PathLike)):
        return File(output)
    raise TypeError(f"App {app}: outputs must be a list of File objects or paths, it has {output!r}.")


def _auto_path(dfk: DataFlowKernel, number: int, name: str, label: Any, stream: str) -> Path:
    words = ["task", f"{number:04}", name, *([str(label)] if label else [])]
    # A name such as <lambda> has characters that a shell treats specially.
    stem = "_".join(re.sub(r"[^\w.-]+", "", word) for word in words)
    # As in Parsl, 10,000 calls share a folder: larger folders are slow on network file systems.
    return Path(dfk.run_dir) / "task_logs" / f"{number // 10000:04}" / f"{stem}.{stream}"
