"""``Sandbox`` is the folder of one bash app's call: inputs are reachable in it, outputs are moved out of it at the end.

``bodies.bash`` makes one for each call of an app that asks for it, on the worker. The command never sees the final path
of an output, so a command that is killed half-way leaves no half-written file there. An output that arrives does so in
one step: by a rename, or on another file system by a copy beside the final path and a rename.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import re
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Sandbox"]

_ROOT_OF_PATH = re.compile(r"/|\.\.(?:/|$)")
_copies = itertools.count()


class Sandbox:
    """A folder for one call.

    Parameters
    ----------
    name
        The name of the app, which becomes a part of the folder's name.
    parent
        The folder in which to make it; empty: the worker's folder for temporary files.

    Attributes
    ----------
    folder
        Its absolute path.
    """

    def __init__(self, name: str, parent: str = "") -> None:
        if parent:
            os.makedirs(parent, exist_ok=True)
        stem = re.sub(r"[^\w.-]+", "", name)
        self.folder = os.path.abspath(tempfile.mkdtemp(prefix=f"parslab-{stem}-", dir=parent or None))
        self._outputs: list[tuple[str, str, str, Any]] = []
        """For each output its path as the user gave it, the path here, the final path, and the state of that file."""

    def arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], outputs: Any, inputs: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with which the function makes a command line for this folder.

        Parameters
        ----------
        args, kwargs
            The arguments of the call.
        outputs, inputs
            Those of them that are lists of files, or None.

        Inputs with relative paths get links at the same places here. Outputs are Files with paths here.
        """
        lists = {}
        if outputs:
            lists[id(outputs)] = [self._output(file) for file in outputs]
        if inputs:
            lists[id(inputs)] = [self._input(file) for file in inputs]

        def changed(value: Any) -> Any:
            if id(value) in lists:
                return lists[id(value)]
            return self._input(value) if hasattr(value, "cleancopy") else value

        return tuple(map(changed, args)), {name: changed(value) for name, value in kwargs.items()}

    def _output(self, file: Any) -> Any:
        given = os.fspath(file)
        place = os.path.basename(given.rstrip("/")) if _ROOT_OF_PATH.match(os.path.normpath(given)) else given
        path = os.path.join(self.folder, os.path.normpath(place))
        if any(path == other for _, other, _, _ in self._outputs):  # two outputs of one name in different folders
            path = os.path.join(self.folder, str(len(self._outputs)), os.path.basename(path))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        final = os.path.abspath(given)
        self._outputs.append((given, path, final, _state(final)))
        return _at(file, path)

    def _input(self, file: Any) -> Any:
        """Return an input whose path can be used here; link the file into this folder if its path is relative."""
        try:
            given = os.fspath(file)
        except TypeError:
            return file  # the value of a future, or anything else that is no path
        if not isinstance(given, str) or not given or os.path.isabs(given):
            return file
        source, normal = os.path.abspath(given), os.path.normpath(given)
        if _ROOT_OF_PATH.match(normal):
            return _at(file, source)
        place = os.path.join(self.folder, normal)
        if os.path.exists(source) and not os.path.lexists(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if any(place == path for _, path, _, _ in self._outputs):
                _copy(source, place)  # the command changes this file, and must not change the original half-way
            else:
                os.symlink(source, place)
        return file

    def missing(self) -> list[str]:
        """Return the outputs that the command has not written, as the user named them."""
        return [
            given
            for given, path, final, before in self._outputs
            if not os.path.exists(path) and _state(final) in (None, before)
        ]

    def deliver(self) -> None:
        """Move all outputs to their final paths."""
        for _, path, final, _ in self._outputs:
            if os.path.exists(path):  # else the command has written to the final path itself
                _move(path, final)

    def remove(self) -> None:
        """Remove the folder with all that is left in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _at(file: Any, path: str) -> Any:
    """Return a File with another local path; a path itself becomes that path."""
    if not hasattr(file, "cleancopy"):
        return path
    moved = copy.copy(file)
    moved.local_path = path
    return moved


def _state(path: str) -> tuple[int, int, int] | None:
    """Return what changes when somebody writes a file; None when there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _copy(source: str, target: str) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _move(path: str, final: str) -> None:
    """Move a file or folder; whoever looks at the final path sees the old one or the new one, never a part."""
    os.makedirs(os.path.dirname(final), exist_ok=True)
    beside = f"{final}.parslab-{os.getpid()}-{next(_copies)}"
    source = path
    try:
        # A link would lose its target with this folder, so its content is copied.
        if os.path.islink(path) or not _same_file_system(path, final):
            _copy(path, beside)
            source = beside
        if os.path.isdir(final) and not os.path.islink(final):
            _replace_folder(source, final)
        else:
            os.replace(source, final)
    finally:
        if os.path.lexists(beside):
            _remove(beside)


def _replace_folder(source: str, final: str) -> None:
    """Put a folder in the place of another one; there is no call that does both steps at once."""
    old = f"{final}.parslab-old-{os.getpid()}-{next(_copies)}"
    os.rename(final, old)
    try:
        os.rename(source, final)
    except OSError:
        os.rename(old, final)
        raise
    _remove(old)


def _same_file_system(path: str, final: str) -> bool:
    return os.lstat(path).st_dev == os.stat(os.path.dirname(final)).st_dev


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
