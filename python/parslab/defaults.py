"""Finds the defaults of a site and of the environment for the options that a configuration leaves out.

The administrator of a site, or the user, puts ``parslab_config.py`` on Jupyter's config path (``jupyter --paths``
lists the folders; the first ones win).  The file sets ``c.CLASS.option = value``, as Jupyter's own files do.  It may
also make a ``config``, which ``parslab.load()`` then takes.

The user's code has priority over the environment, the environment over the files, and the files over the defaults of
the classes.  The files are read when the first description is made, and again when they have changed.

==========================  =================================================
variable                    the option that it gives a default
==========================  =================================================
``PARSLAB_RUN_DIR``         ``Config.run_dir``
``PARSLAB_RETRIES``         ``Config.retries``
``PARSLAB_STRATEGY``        ``Config.strategy``
``PARSLAB_MAX_IDLETIME``    ``Config.max_idletime``, in seconds
``PARSLAB_LINGER``          ``Config.linger``, in seconds
``PARSLAB_WORKERS``         ``LowLatencyExecutor.workers``
``PARSLAB_ADDRESS``         ``HighThroughputExecutor.address``
``PARSLAB_PORT``            ``HighThroughputExecutor.port``
``PARSLAB_PYTHON``          ``HighThroughputExecutor.python``
``PARSLAB_USAGE_TRACKING``  ``Config.usage_tracking``
``PARSLAB_USAGE_ADDRESS``   ``Config.usage_address``
``PARSLAB_CONFIG``          what ``parslab.load()`` takes: a name or a file
==========================  =================================================
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CONFIG_VARIABLE", "FILE_NAME", "VARIABLES", "Site", "broken_at", "config_files", "defaults_of", "site"]

FILE_NAME = "parslab_config.py"

CONFIG_VARIABLE = "PARSLAB_CONFIG"

VARIABLES: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "PARSLAB_RUN_DIR": ("Config", "run_dir", str),
    "PARSLAB_RETRIES": ("Config", "retries", int),
    "PARSLAB_STRATEGY": ("Config", "strategy", str),
    "PARSLAB_MAX_IDLETIME": ("Config", "max_idletime", float),
    "PARSLAB_LINGER": ("Config", "linger", float),
    "PARSLAB_USAGE_TRACKING": ("Config", "usage_tracking", int),
    "PARSLAB_USAGE_ADDRESS": ("Config", "usage_address", str),
    "PARSLAB_WORKERS": ("LowLatencyExecutor", "workers", int),
    "PARSLAB_ADDRESS": ("HighThroughputExecutor", "address", str),
    "PARSLAB_PORT": ("HighThroughputExecutor", "port", int),
    "PARSLAB_PYTHON": ("HighThroughputExecutor", "python", str),
}
"""For each variable the class, the option, and the function that makes the value from the text."""


class _Section:
    """``c.CLASS`` in a file: its options, each with the place that set it."""

    def __init__(self, name: str) -> None:
        self.__dict__.update(_name=name, _set={})  # __setattr__ would make options of them

    def __setattr__(self, option: str, value: Any) -> None:
        self._set[option] = (value, _place(sys._getframe(1)))

    def __getattr__(self, option: str) -> Any:
        # copy, pickle and debuggers look for such names, and expect this error where there are none.
        if option.startswith("__"):
            raise AttributeError(option)
        if option not in self._set:
            raise ConfigurationError(f"c.{self._name}.{option} has not been set before it is read.")
        return self._set[option][0]


def options_of(section: _Section) -> dict[str, tuple[Any, str]]:
    """Return the options of a section; this is a function, because every attribute of a section is an option."""
    return dict(vars(section)["_set"])


class _Sections:
    """``c`` in a file."""

    def __getattr__(self, name: str) -> _Section:
        if name.startswith("__"):
            raise AttributeError(name)
        section = self.__dict__[name] = _Section(name)
        return section

    def __setattr__(self, name: str, value: Any) -> None:
        raise ConfigurationError(f"c.{name} is a class: set its options, as in c.{name}.option = value.")


class Site:
    """The settings in the files of a site.

    Attributes
    ----------
    files : tuple of str
        The files, those with the highest priority last.
    config : object
        The object ``config`` of the file with the highest priority that makes one, or None.
    config_file : str
        The file that made ``config``.
    """

    def __init__(self, files: tuple[str, ...]) -> None:
        self.files = files
        self.config: Any = None
        self.config_file = ""
        self._sections = _Sections()

    def sections(self) -> dict[str, dict[str, tuple[Any, str]]]:
        """Return for each class name its options, each with its value and the place that set it."""
        return {name: options_of(section) for name, section in vars(self._sections).items()}

    def read(self) -> None:
        """Run the files, those with the lowest priority first.

        Raises
        ------
        ConfigurationError
            A file is broken; the error names the file and the line.
        """
        for path in self.files:
            names = {"__file__": path, "__name__": "parslab_config", "c": self._sections}
            # Jupyter's own configuration files may begin with ``c = get_config()``.
            names["get_config"] = lambda: self._sections
            try:
                with open(path, encoding="utf-8") as file:
                    exec(compile(file.read(), path, "exec"), names)
            except Exception as error:  # the file may contain any code
                raise ConfigurationError(broken_at(path, error, "The site's configuration")) from error
            if names.get("config") is not None:
                self.config, self.config_file = names["config"], path


# Any thread of the user may make descriptions, and must not see half of the settings while another thread reads them.
# The lock is reentrant, because a file of the site may itself make a description.
_lock = threading.RLock()
_read: dict[tuple[tuple[str, int, int], ...], Site] = {}
_reading: Site | None = None


def site() -> Site:
    """Return the present settings in the files of the site.

    Raises
    ------
    ConfigurationError
        A file is broken.
    """
    global _reading
    with _lock:
        if _reading is not None:  # a file makes a description, which gets the settings so far
            return _reading
        state = tuple((path, (stat := os.stat(path)).st_mtime_ns, stat.st_size) for path in config_files())
        if state not in _read:
            _reading = Site(tuple(path for path, _, _ in state))
            try:
                _reading.read()
                _read.clear()  # nobody asks for an older state of the files again
                _read[state] = _reading
            finally:
                _reading = None
        return _read[state]


def config_files() -> list[str]:
    """Return the files ``parslab_config.py`` on Jupyter's config path, those with the highest priority last."""
    from jupyter_core.paths import jupyter_config_path

    paths = (os.path.join(folder, FILE_NAME) for folder in reversed(jupyter_config_path()))
    return [path for path in dict.fromkeys(paths) if os.path.isfile(path)]


def defaults_of(classes: Iterable[str]) -> dict[str, tuple[Any, str]]:
    """Return the defaults of the site and the environment for a class: the value of each option, and who sets it.

    Parameters
    ----------
    classes
        The names of a class and its bases; the last one, the class itself, has the highest priority.
    """
    found: dict[str, tuple[Any, str]] = {}
    sections = site().sections()
    names = list(classes)
    for name in names:
        if name in sections:
            found.update(sections[name])
    for variable, (name, option, make) in VARIABLES.items():
        text = os.environ.get(variable, "").strip()
        if text and name in names:
            try:
                found[option] = (make(text), variable)
            except ValueError:
                found[option] = (
                    text,
                    variable,
                )  # the option refuses the text with its own error, which says what it takes
    return found


def broken_at(path: str, error: BaseException, what: str) -> str:
    """Return one sentence about a Python file that failed: the file, the line and the error."""
    # The last frame in the file is the line of the user; deeper frames are in libraries.
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == path else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    kind = "" if isinstance(error, ConfigurationError) else f"{type(error).__name__}: "
    where = f"{path}, line {line}" if line else path
    text = " ".join(f"{what} cannot be used ({where}): {kind}{message}".split())
    return text if text.endswith(".") else f"{text}."


def _place(frame: Any) -> str:
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"
