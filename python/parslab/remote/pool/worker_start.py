"""How a worker process is started: its plan, its command and its settings.

The interpreter may be that of another environment.  That environment has its own installed packages, and needs none of
ours: a worker looks those up where its parent has them.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from parslab.clock import anchor
from parslab.remote.pool.control_group import worker_mark
from parslab.remote.software.engines import ContainerStart, Mount
from parslab.wire.descriptors import user_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.remote.software.preparation import Interpreter

__all__ = ["ProcessPlan", "WorkerRun", "source_folders", "start_command", "worker_settings"]

# ``sys.path`` is set before parslab is imported, so that the worker loads the notebook's parslab.  The settings
# are removed from the environment, because every process that a task starts inherits it.
_START = (
    "import json, os, sys; s = json.loads(os.environ.pop('PARSLAB_WORKER')); sys.path[:] = s['path']; "
    "from parslab.remote.worker.main import main; main(s)"
)
# The packages of the environment count first.  Only ``parslab`` and ``cloudpickle`` are always ours: both ends of a
# link need the same version of parslab, and cloudpickle reads what the client has pickled.
_START_ELSEWHERE = """
import json, os, sys
from importlib.machinery import PathFinder
s = json.loads(os.environ.pop('PARSLAB_WORKER'))
sys.path[:] = [*s['path'], *(entry for entry in sys.path if entry and entry not in s['path'])]
class Ours:
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [s['packages'][name]]) if name in s['packages'] else None
class OnlyOurs:
    def find_spec(name, path=None, target=None):
        return Ours.find_spec(name) if name in ('parslab', 'cloudpickle') else None
sys.meta_path.insert(0, OnlyOurs)
sys.meta_path.append(Ours)
from parslab.remote.worker.main import main
main(s)
"""
_SUPERVISE = (
    "import json, os, sys; s = json.loads(os.environ.pop('PARSLAB_WORKER')); sys.path[:] = s.pop('host_path'); "
    "from parslab.remote.software.supervisor import supervise; supervise(s)"
)
_PACKAGES = ("parslab", "msgspec", "cloudpickle", "psutil")
"""The packages that a worker needs, whatever its interpreter."""
_PACKAGE_FOLDER = "/parslab-packages"
"""Where these packages are mounted in a container with an interpreter of its own."""
_SYSTEM = ("", "/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr", "/usr/local", "/var")
"""Folders that every image has itself."""


class WorkerRun(NamedTuple):
    """The run of worker processes, as far as its pool needs to know it."""

    run: str
    """The name of the run."""
    package: str
    """The version of parslab."""
    path: Sequence[str]
    """The ``sys.path`` of the workers."""
    cwd: str
    folder: str = ""
    """The folder of the run."""


class ProcessPlan(NamedTuple):
    """The environment and the cores of one worker process."""

    environment: dict[str, str]
    """Variables on top of those of its parent."""
    cores: tuple[int, ...] | None = None
    """The cores that it may use; None: all that its parent may use."""
    interpreter: str = ""
    """The interpreter of another environment; empty: that of its parent."""
    container: ContainerStart | None = None
    """The container in which it runs; None: in none."""

    def with_software(self, prepared: Interpreter | ContainerStart) -> ProcessPlan:
        """Return this plan with software that has been prepared."""
        if isinstance(prepared, ContainerStart):
            return self._replace(container=prepared)
        return self.with_interpreter(*prepared)

    def with_interpreter(self, interpreter: str, variables: dict[str, str]) -> ProcessPlan:
        """Return this plan with an interpreter of another environment; its ``PATH`` comes in front of the other one."""
        environment = {**self.environment, **variables}
        others = self.environment.get("PATH") or os.environ.get("PATH") or os.defpath
        environment["PATH"] = os.pathsep.join([variables["PATH"], others])
        return self._replace(environment=environment, interpreter=interpreter)


def start_command(plan: ProcessPlan) -> list[str]:
    """Return the command that starts a worker."""
    if plan.container is not None:
        return [sys.executable, "-c", _SUPERVISE]
    return [plan.interpreter, "-c", _START_ELSEWHERE] if plan.interpreter else [sys.executable, "-c", _START]


def worker_settings(name: str, executor: int, plan: ProcessPlan, run: WorkerRun) -> dict[str, object]:
    """Return the settings of a worker, without its descriptors."""
    settings: dict[str, object] = {
        "worker": name,
        "executor": executor,
        "parent": os.getpid(),
        "package": run.package,
        "path": run.path,
        "clock": anchor(),
        "descriptors": user_limit(),
    }
    if plan.cores is not None:
        settings["cores"] = plan.cores
    if plan.interpreter:
        settings["path"] = source_folders(run.path)
        settings["packages"] = _package_folders()
    if plan.container is not None:
        settings |= _inside(plan.container, run)
        # The container has variables of its own, and gets only those that the user and the pool set.
        settings["environment"] = {
            **plan.environment,
            "PARSLAB_RUN": run.run,
            "PARSLAB_WORKER_OF": worker_mark(name),
        }
    return settings


def _inside(start: ContainerStart, run: WorkerRun) -> dict[str, object]:
    """Return the settings of a worker in a container, whose interpreter is mounted or belongs to the image."""
    own = start.python or ("python3" if sys.base_prefix in _SYSTEM else "")
    folders = [Mount(folder, folder) for folder in (run.cwd, run.folder, *source_folders(run.path))]
    if own:
        packages = {package: f"{_PACKAGE_FOLDER}/{package}" for package in _package_folders()}
        folders += [Mount(f"{folder}/{name}", packages[name], True) for name, folder in _package_folders().items()]
        inside = {
            "start": _START_ELSEWHERE,
            "path": source_folders(run.path),
            "packages": dict.fromkeys(packages, _PACKAGE_FOLDER),
        }
    else:
        mounted = (sys.base_prefix, sys.prefix, *run.path)
        folders += [Mount(folder, folder, True) for folder in mounted]
        inside = {"start": _START, "path": list(run.path)}
    started = msgspec.structs.replace(
        start, python=own or sys.executable, mounts=(*_outermost(folders), *start.mounts), folder=run.cwd
    )
    return {
        **inside,
        "host_path": list(run.path) if not own else sys.path,
        "cwd": run.cwd,
        "container": msgspec.to_builtins(started),
    }


def _outermost(folders: list[Mount]) -> list[Mount]:
    """Return the folders that exist and lie in no other one; those of the system belong to the image."""
    kept: list[Mount] = []
    for mount in sorted(folders, key=lambda one: (one.target.count("/"), one.read_only)):
        if not os.path.isdir(mount.source) or mount.target.rstrip("/") in _SYSTEM:
            continue
        if not any(mount.target == one.target or mount.target.startswith(f"{one.target}/") for one in kept):
            kept.append(mount)
    return kept


def source_folders(path: Sequence[str]) -> list[str]:
    """Return the entries of a ``sys.path`` that do not belong to one Python: the user's own folders."""
    return [entry for entry in path if not _is_installed(entry)]


def _is_installed(entry: str) -> bool:
    return "site-packages" in entry or "dist-packages" in entry or "/lib/python" in entry or entry.endswith(".zip")


@functools.cache
def _package_folders() -> dict[str, str]:
    """Return where this process has the packages that a worker needs."""
    folders = {}
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            folders[name] = os.path.dirname(os.path.dirname(spec.origin))
    return folders
