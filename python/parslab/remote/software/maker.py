"""Make one environment with uv, unless the cache has it, or fetch the image of a container [shell].

The maker is a process of its own, because an environment takes seconds and may hang on a network.  Its owner reads
the result from its stdout, or the reason of a failure from its stderr.  When the owner dies, the system
kills the maker and uv.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from parslab.errors import ConfigurationError, OptionalModuleMissing
from parslab.records.software import Software
from parslab.remote.software.cache import EnvironmentCache, cache_folder, key_of
from parslab.remote.software.engines import ENGINES, ContainerEngine, ContainerStart, Mount
from parslab.remote.software.index import index_variables
from parslab.remote.worker.lifeline import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from parslab.records.software import ContainerSpec

__all__ = ["CONSTRAINTS", "MakerOrder", "fetch_image", "main", "make_environment", "uv_command"]

CONSTRAINTS = ("cloudpickle>=3.0", "msgspec>=0.18.6", "psutil>=5.9.6")
"""The versions that a worker can work with, if the requirements bring their own."""
_LAST_WORDS = 2000
"""Characters of uv's output that explain a failure."""


def fetch_image(container: ContainerSpec) -> ContainerStart:
    """Return how the container starts on this node, after its image is there.

    Raises
    ------
    ConfigurationError
        There is no engine, or the image cannot be had; the text ends with the last lines of the engine.
    """
    engine, program = _engine(container.engine)
    present = engine.present(program, container.image)
    if not os.path.exists(container.image) and (present is None or _status(present)):
        _run(engine.pull(program, container.image), dict(os.environ))
    return ContainerStart(
        engine=engine.name,
        program=program,
        image=container.image,
        python=container.python,
        mounts=tuple(map(Mount.parse, container.mounts)),
        folder="/",
        options=container.options,
    )


def _engine(name: str) -> tuple[ContainerEngine, str]:
    """Return the engine of this name, or the first one that this node has, and the path of its command."""
    for engine in [ENGINES[name]] if name else ENGINES.values():
        program = shutil.which(engine.name)
        if program is not None:
            return engine, program
    host = socket.gethostname()
    if name:
        raise ConfigurationError(f"host {host} has no command {name} on PATH")
    raise ConfigurationError(f"host {host} has no container engine on PATH: none of {', '.join(ENGINES)}")


def _status(command: list[str]) -> int:
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, check=False).returncode


class MakerOrder(msgspec.Struct, frozen=True):
    """What the owner of a maker orders."""

    software: Software
    path: list[str]
    """The ``sys.path`` of the owner."""
    lifeline: int
    """The descriptor that ends the maker when its owner dies."""
    parent: int


def uv_command() -> list[str]:
    """Return the command of uv: the one of the installed package, else the one on PATH.

    Raises
    ------
    OptionalModuleMissing
        There is no uv.
    """
    try:
        import uv

        return [uv.find_uv_bin()]
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise OptionalModuleMissing("uv, which makes the Python environments of tasks,", "environments")
    return [found]


def make_environment(cache: EnvironmentCache, requirements: Sequence[str]) -> tuple[str, bool]:
    """Return the key of the environment for these requirements, and whether it was missing or damaged until now.

    Raises
    ------
    ConfigurationError
        It cannot be made; the text ends with the last lines of uv.
    """
    index = index_variables()
    key = key_of(requirements, index)
    with cache.making(key):
        if cache.manifest(key) is not None:
            return key, False
        uv = uv_command()
        new = cache.new_folder(key)
        try:
            _build(uv, new, requirements, {**os.environ, **index})
            cache.write_manifest(new, requirements, sys.version.partition(" ")[0])
            cache.publish(new, key)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return key, True


def _build(uv: list[str], folder: Path, requirements: Sequence[str], environment: dict[str, str]) -> None:
    python = os.fspath(folder / "bin" / "python")
    # The scripts of a relocatable environment still find their interpreter after it is renamed.
    _run([*uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, os.fspath(folder)], environment)
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in CONSTRAINTS))
    options = ["--no-index"] if environment.get("UV_NO_INDEX") else []
    command = [*uv, "pip", "install", "--quiet", *options, "--python", python, "--constraint", os.fspath(constraints)]
    _run([*command, "--", *requirements], environment)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        check=False,
    )
    if done.returncode:
        words = done.stdout.decode(errors="replace").strip()[-_LAST_WORDS:]
        raise ConfigurationError(f"{os.path.basename(command[0])} ended with status {done.returncode}:\n{words}")


def main(text: bytes) -> int:
    """Make the environment that its owner ordered, or fetch the image; return a status.

    Parameters
    ----------
    text
        A :class:`MakerOrder` as JSON.
    """
    order = msgspec.json.decode(text, type=MakerOrder)
    die_with_parent(order.lifeline, order.parent)
    try:
        if order.software.container is not None:
            print(msgspec.json.encode(fetch_image(order.software.container)).decode(), flush=True)
            return 0
        cache = EnvironmentCache(cache_folder())
        key, made = make_environment(cache, order.software.requirements)
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(key, flush=True)
    # Only now: a removal needs the locks of other environments, and two makers could wait for each other.
    if made:
        cache.prune()
    return 0
