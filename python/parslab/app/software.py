"""Make a description of software from the options of an app."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.records.software import Software

if TYPE_CHECKING:
    from parslab.executors.containers import Container

__all__ = ["software"]


def software(
    owner: str, environment: Sequence[str] | str | os.PathLike[str] | None, container: Container | str | None = None
) -> Software | None:
    """Return the software that the options describe; None for None.

    Parameters
    ----------
    owner
        Who asks, for messages: ``App fit``.
    environment
        Requirements, or the folder or interpreter of an environment that exists.
    container
        A container, or the name of its image.

    Raises
    ------
    ConfigurationError
        An option is none of these, or both are there.

    Examples
    --------
    >>> str(software("App fit", ["numpy<2"]))
    'environment numpy<2'
    """
    if container is not None:
        if environment is not None:
            raise ConfigurationError(f"{owner}: environment and container exclude each other: install it in the image.")
        return Software(container=_container(owner, container).spec())
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


def _container(owner: str, container: Container | str) -> Container:
    # Here, because most programs need nothing of it.
    from parslab.executors.containers import Container

    if isinstance(container, str):
        return Container(container)
    if isinstance(container, Container):
        return container
    raise ConfigurationError(f"{owner}: container must be a Container, or the name of an image, not {container!r}.")
