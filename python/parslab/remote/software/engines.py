"""The command lines of container engines [core]: how each one finds, pulls, starts and removes.

A command runs one worker in the foreground.  The container is removed when its first process ends.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import NamedTuple

import msgspec

__all__ = ["ENGINES", "NAME_PREFIX", "ContainerEngine", "ContainerStart", "Mount", "removes_container"]


NAME_PREFIX = "parslab-"
"""The beginning of the names of our containers."""


class Mount(NamedTuple):
    """A folder of the host inside the container."""

    source: str
    target: str
    read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Mount:
        """Return the mount that ``/host``, ``/host:/inside`` or ``/host:/inside:ro`` describes."""
        source, *rest = text.split(":")
        return cls(source, rest[0] if rest else source, rest[1:] == ["ro"])


class ContainerStart(msgspec.Struct, frozen=True):
    """What is needed to start a container."""

    engine: str
    program: str
    """The path of the engine's command."""
    image: str
    python: str
    mounts: tuple[Mount, ...]
    folder: str
    """The working folder inside."""
    options: tuple[str, ...] = ()


class ContainerEngine(ABC):
    """One engine."""

    name: str

    @abstractmethod
    def present(self, program: str, image: str) -> list[str] | None:
        """Return the command that succeeds if the node has the image; None: it cannot be asked."""

    @abstractmethod
    def pull(self, program: str, image: str) -> list[str]:
        """Return the command that fetches the image."""

    @abstractmethod
    def start(self, start: ContainerStart, name: str, arguments: list[str], uid: int, gid: int) -> list[str]:
        """Return the command that runs the interpreter with these arguments.

        Parameters
        ----------
        start
            The container.
        name
            Its name, where the engine gives names.
        uid, gid
            The user whom files that it writes must belong to.
        """

    def remove(self, program: str, name: str) -> list[str] | None:
        """Return the command that ends and removes a container; None: it ends with its processes."""
        return None


class _Oci(ContainerEngine):
    """Podman and Docker."""

    def present(self, program: str, image: str) -> list[str] | None:
        return [program, "image", "inspect", "--format", "{{.Id}}", image]

    def pull(self, program: str, image: str) -> list[str]:
        return [program, "pull", "--quiet", image]

    def start(self, start: ContainerStart, name: str, arguments: list[str], uid: int, gid: int) -> list[str]:
        command = [start.program, "run", "--rm", "--name", name]
        # Shared memory of the host: large values travel through it.  Labels of SELinux would hide mounted folders.
        command += ["--ipc=host", "--security-opt=label=disable", *self.user(uid, gid)]
        for mount in start.mounts:
            command.append(f"--volume={mount.source}:{mount.target}{':ro' if mount.read_only else ''}")
        # The image's own entry point would get our words as its arguments.
        command += [f"--workdir={start.folder}", f"--entrypoint={start.python}", *start.options]
        return [*command, start.image, *arguments]

    def user(self, uid: int, gid: int) -> list[str]:
        """Return the options with which files that the container writes belong to the user."""
        raise NotImplementedError

    def remove(self, program: str, name: str) -> list[str] | None:
        return [program, "rm", "--force", name]


class Podman(_Oci):
    """Podman: a user's containers run in that user's own namespace."""

    name = "podman"

    def user(self, uid: int, gid: int) -> list[str]:
        return ["--userns=keep-id"] if uid else []


class Docker(_Oci):
    """Docker: its server starts the containers, as root unless we say otherwise."""

    name = "docker"

    def user(self, uid: int, gid: int) -> list[str]:
        return [f"--user={uid}:{gid}"] if uid else []


class Apptainer(ContainerEngine):
    """Apptainer: the container is a child process of its command."""

    name = "apptainer"

    def present(self, program: str, image: str) -> list[str] | None:
        # The command converts an image of a registry once, and keeps it in its cache.
        return [program, "exec", _located(image, "docker://"), "true"]

    def pull(self, program: str, image: str) -> list[str]:
        return [program, "exec", _located(image, "docker://"), "true"]

    def start(self, start: ContainerStart, name: str, arguments: list[str], uid: int, gid: int) -> list[str]:
        command = [start.program, "exec", "--cleanenv"]
        for mount in start.mounts:
            command += ["--bind", f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}"]
        command += ["--pwd", start.folder, *start.options]
        return [*command, _located(start.image, "docker://"), start.python, *arguments]


class Singularity(Apptainer):
    """Singularity, from which Apptainer comes."""

    name = "singularity"


class Shifter(ContainerEngine):
    """Shifter of NERSC."""

    name = "shifter"

    def present(self, program: str, image: str) -> list[str] | None:
        return [program, f"--image={_located(image, 'docker:')}", "true"]

    def pull(self, program: str, image: str) -> list[str]:
        # Beside the command, where a site that has one has the other.
        return [os.path.join(os.path.dirname(program), "shifterimg"), "pull", _located(image, "docker:")]

    def start(self, start: ContainerStart, name: str, arguments: list[str], uid: int, gid: int) -> list[str]:
        # Shifter mounts nothing read-only.
        volumes = ";".join(f"{mount.source}:{mount.target}" for mount in start.mounts)
        command = [start.program, f"--image={_located(start.image, 'docker:')}", f"--volume={volumes}"]
        return [*command, f"--workdir={start.folder}", *start.options, start.python, *arguments]


_PLACES = ("docker", "docker-archive", "docker-daemon", "oci", "oci-archive", "library", "oras", "shub", "custom", "id")
"""The words in front of an image that say where it is."""


def removes_container(command_line: bytes) -> bool:
    """Return whether this is the helper of Podman that removes one of our containers, as soon as it has ended.

    Parameters
    ----------
    command_line
        The words of its command, with a zero byte behind each.
    """
    program, *words = command_line.split(b"\0")
    if os.path.basename(program) == b"conmon":
        return any(word.startswith(NAME_PREFIX.encode()) for word in words)
    return b"\0container\0cleanup\0" in command_line


def _located(image: str, kind: str) -> str:
    """Return an image with the kind of its place; a path, or an image that names its place, stays as it is."""
    is_path = image.startswith(("/", "./", "../")) or image.endswith((".sif", ".img"))
    return image if is_path or image.partition(":")[0] in _PLACES else f"{kind}{image}"


ENGINES: dict[str, ContainerEngine] = {
    engine.name: engine for engine in (Podman(), Docker(), Apptainer(), Singularity(), Shifter())
}
"""All engines by name, in the order in which a node is searched for one."""
