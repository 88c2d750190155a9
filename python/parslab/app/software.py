"""Make a description of software from the options of an app or an executor."""

from __future__ import annotations

import os
from collections.abc import Sequence

from parslab.errors import ConfigurationError
from parslab.records.software import Software

__all__ = ["software"]


def software(owner: str, environment: Sequence[str] | str | os.PathLike[str] | None) -> Software | None:
    """Return the software that ``environment`` describes; None for None.

    Parameters
    ----------
    owner
        Who asks, for messages: ``App fit``.
    environment
        Requirements, or the folder or interpreter of an environment that exists.

    Raises
    ------
    ConfigurationError
        It is neither.

    Examples
    --------
    >>> str(software("App fit", ["numpy<2"]))
    'environment numpy<2'
    """
    if environment is None:
        return None
    if isinstance(environment, (str, os.PathLike)):
        place = os.path.expanduser(os.fspath(environment))
        if os.sep not in place:
            raise ConfigurationError(
                f"{owner}: environment must be a list of requirements, such as [{place!r}], or the path of an "
                "environment."
            )
        return Software(python=os.path.abspath(place))
    names = list(environment) if isinstance(environment, Sequence) else []
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigurationError(
            f'{owner}: environment must be a list of requirements, such as ["numpy<2"], not {environment!r}.'
        )
    options = [name for name in names if name.lstrip().startswith("-")]
    if options:
        raise ConfigurationError(
            f"{owner}: environment holds requirements, and {options[0]!r} is an option of pip: put it into pip.conf, "
            "or into a variable of uv."
        )
    return Software.of(names)
