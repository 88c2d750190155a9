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

from parslab.clock import anchor
from parslab.wire.descriptors import user_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ProcessPlan", "WorkerRun", "source_folders", "start_command", "worker_settings"]

# ``sys.path`` is set before parslab is imported, so that the worker loads the notebook's parslab.  The settings
# are removed from the environment, because every process that a task starts inherits it.
_START = (
    "import json, os, sys; s = json.loads(os.environ.pop('PARSLAB_WORKER')); sys.path[:] = s['path']; "
    "from parslab.remote.worker.main import main; main(s)"
)
# The packages of the environment count first.  Only ``parslab`` is always ours, because both ends of a link must be of
# the same version.
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
        return Ours.find_spec(name) if name == 'parslab' else None
sys.meta_path.insert(0, OnlyOurs)
sys.meta_path.append(Ours)
from parslab.remote.worker.main import main
main(s)
"""
_PACKAGES = ("parslab", "msgspec", "cloudpickle", "psutil")
"""The packages that a worker needs, whatever its interpreter."""


class WorkerRun(NamedTuple):
    """The run of worker processes, as far as its pool needs to know it."""

    run: str
    """The name of the run."""
    package: str
    """The version of parslab."""
    path: Sequence[str]
    """The ``sys.path`` of the workers."""
    cwd: str


class ProcessPlan(NamedTuple):
    """The environment and the cores of one worker process."""

    environment: dict[str, str]
    """Variables on top of those of its parent."""
    cores: tuple[int, ...] | None = None
    """The cores that it may use; None: all that its parent may use."""
    interpreter: str = ""
    """The interpreter of another environment; empty: that of its parent."""

    def with_interpreter(self, interpreter: str, variables: dict[str, str]) -> ProcessPlan:
        """Return this plan with an interpreter of another environment; its ``PATH`` comes in front of the other one."""
        environment = {**self.environment, **variables}
        others = self.environment.get("PATH") or os.environ.get("PATH") or os.defpath
        environment["PATH"] = os.pathsep.join([variables["PATH"], others])
        return ProcessPlan(environment, self.cores, interpreter)


def start_command(plan: ProcessPlan) -> list[str]:
    """Return the command that starts a worker."""
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
    return settings


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
