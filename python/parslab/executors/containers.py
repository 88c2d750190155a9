"""``Container`` describes the container in which the tasks of an app or of an executor run."""

from __future__ import annotations

from typing import Any, ClassVar

from parslab.description import Choice, Description, Text, Texts
from parslab.errors import ConfigurationError
from parslab.options import Option
from parslab.records.software import ContainerSpec

__all__ = ["ENGINES", "Container", "ContainerOption"]

ENGINES = ("podman", "docker", "apptainer", "singularity", "shifter")
"""The engines that parslab can start, in the order in which a node is searched for one."""


class Container(Description):
    """A container: its image, and how to start it.

    The worker runs inside the container, and stays for later tasks of the same container.  It sees the folder of the
    notebook, the run's folder and the folders that the notebook imports from, at the same paths.

    Parameters
    ----------
    image
        The image, as the engine names it: ``"python:3.11"``, ``"registry.site/group/solver:2"``, or the path of an
        image file for Apptainer.
    engine
        ``"podman"``, ``"docker"``, ``"apptainer"``, ``"singularity"`` or ``"shifter"``; None means the first of these
        that the node has.
    mounts
        More folders to mount: ``"/data"``, ``"/data:/inside"`` or ``"/data:/inside:ro"``.
    engine_options
        More options of the engine's command that starts a container, such as ``"--gpus=all"``.
    python
        The interpreter inside the image, with the same minor version of Python.  None means that the interpreter of
        the notebook is mounted, which needs an image with a C library that is not older; where that interpreter lies in
        ``/usr``, None means ``"python3"`` inside the image.

    Examples
    --------
    >>> Container("solver:2", engine="podman", mounts=["/data:/data:ro"])
    Container(image='solver:2', engine='podman', mounts=('/data:/data:ro',))
    """

    image = Text(None)
    engine = Choice(None, ENGINES)
    mounts = Texts(())
    engine_options = Texts(())
    python = Text(None)

    positional: ClassVar[tuple[str, ...]] = ("image",)

    def check(self) -> None:
        if not self.image or self.image.startswith("-"):
            raise ConfigurationError('Container: image must be the name of an image, such as Container("python:3.11").')
        for mount in self.mounts:
            parts = mount.split(":")
            if (
                not 1 <= len(parts) <= 3
                or not all(part.startswith("/") for part in parts[:2])
                or parts[2:]
                not in (
                    [],
                    ["ro"],
                    ["rw"],
                )
            ):
                raise ConfigurationError(
                    f"Container: a mount is '/host', '/host:/inside' or '/host:/inside:ro', not {mount!r}."
                )

    def spec(self) -> ContainerSpec:
        """Return the description as it travels."""
        return ContainerSpec(
            self.image,
            engine=self.engine or "",
            mounts=tuple(self.mounts),
            options=tuple(self.engine_options),
            python=self.python or "",
        )


class ContainerOption(Option):
    """A container, or the name of its image."""

    wants = "a Container, or the name of an image"

    def accepted(self, value: Any) -> Container:
        if isinstance(value, str):
            value = Container(value)
        if not isinstance(value, Container):
            self.refuse()
        return value
