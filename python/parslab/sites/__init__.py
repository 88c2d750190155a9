"""Ready configurations, and how a name or a file becomes a Config.

Each other file of this folder is a configuration.  ``parslab.load("NAME")`` takes it as it is, and ``parslab config
copy NAME`` copies it for editing; its docstring says what it is for.  This runs in the user's process, and asks no
scheduler.
"""

from __future__ import annotations

import difflib
import os
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.config import Config
from parslab.defaults import CONFIG_VARIABLE, broken_at, site
from parslab.description import Description
from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_site", "default_config", "file_of", "named_config", "names", "summary"]

_FOLDER = Path(__file__).parent
_FIRST = ("laptop", "big_node")


def names() -> list[str]:
    """Return the names of the ready configurations; those that need no scheduler come first."""
    found = [path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("_")]
    return sorted(found, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


def file_of(name: str) -> Path:
    """Return the file of a ready configuration.

    Raises
    ------
    ConfigurationError
        There is no configuration of this name.
    """
    if name not in names():
        raise ConfigurationError(f"There is no ready configuration {name!r}; there are {', '.join(names())}.")
    return _FOLDER / f"{name}.py"


def summary(name: str) -> str:
    """Return the first line of the docstring of a ready configuration."""
    import ast

    text = ast.get_docstring(ast.parse(file_of(name).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def named_config(name: str | os.PathLike[str]) -> Config:
    """Return the Config of a ready configuration, or of a file.

    Parameters
    ----------
    name
        ``"slurm"``, or the path of a file of Python that makes a Config named ``config`` (or just one Config).

    Raises
    ------
    ConfigurationError
        There is no such name or file, or the file is broken; the error names the file and the line.

    Examples
    --------
    >>> from parslab.sites import named_config
    >>> named_config("laptop").executors[0].label
    'llex'
    """
    text = os.path.expanduser(os.fspath(name))
    if not text.endswith(".py") and os.sep not in text and not os.path.isfile(text):
        return _config_of(str(file_of(text)))
    if not os.path.isfile(text):
        raise ConfigurationError(f"There is no file {text}.")
    return _config_of(text)


def default_config() -> Config:
    """Return the Config of ``parslab.load()``: that of the site, or else a worker for each core of this host.

    Raises
    ------
    ConfigurationError
        The site's configuration is broken, or ``PARSLAB_CONFIG`` names none.
    """
    chosen = os.environ.get(CONFIG_VARIABLE, "").strip()
    if chosen:
        try:
            return named_config(chosen)
        except ConfigurationError as error:
            raise ConfigurationError(f"{CONFIG_VARIABLE}={chosen}: {error}") from error
    there = site()
    if there.config is None:
        return Config()
    if not isinstance(there.config, Config):
        raise ConfigurationError(
            f"{there.config_file}: config must be a Config, not a {type(there.config).__name__}: "
            "config = Config(executors=[...])."
        )
    return there.config


def check_site() -> None:
    """Check the settings in the files of the site before a description needs them.

    Raises
    ------
    ConfigurationError
        A class or an option is misspelt, or a value is wrong; the error names the file and the line.
    """
    sections = site().sections()
    if not sections:
        return
    import parslab

    # The names of parslab are imported lazily, and __subclasses__() finds only classes that are imported.
    for name in parslab.__all__:
        getattr(parslab, name)
    classes = {cls.__name__: cls for cls in _below(Description)}
    for name, options in sections.items():
        cls = classes.get(name)
        if cls is None:
            # A name that resembles none of ours may be a class of a package that is not imported yet.
            similar = difflib.get_close_matches(name, classes, 1, 0.8)
            if similar and options:
                place = next(iter(options.values()))[1]
                raise ConfigurationError(f"{place}: there is no class {name}; did you mean c.{similar[0]}?")
            continue
        for option, (value, place) in options.items():
            try:
                cls.try_option(option, value)
            except ConfigurationError as error:
                raise ConfigurationError(f"{place}: {error}") from None


def _below(cls: type[Description]) -> Iterator[type[Description]]:
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)


def _config_of(path: str) -> Config:
    try:
        # Not __main__: a block under ``if __name__ == "__main__"`` is for a run of the file itself.
        made: dict[str, Any] = runpy.run_path(path, run_name="parslab_configuration")
    except Exception as error:  # the file may contain any code
        raise ConfigurationError(broken_at(path, error, "The configuration")) from error
    config = made.get("config")
    if config is None:
        found = [value for name, value in made.items() if isinstance(value, Config) and not name.startswith("_")]
        config = found[0] if len(found) == 1 else None
    if not isinstance(config, Config):
        raise ConfigurationError(f"{path} does not make a Config named config.")
    return config
