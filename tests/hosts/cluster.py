"""Hosts without a shared disk: how tests start managers on them, and what breaks there."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import parslab
from parslab.description import Text
from parslab.launchers import Launcher
from tests.process.sandbox import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HostLauncher", "Hosts"]

QUICK = {"heartbeat_period": 0.5, "heartbeat_threshold": 15.0}
"""A lost manager is noticed soon, but not because these hosts share two cores with a crowd."""


class HostLauncher(Launcher):
    """Starts one manager on each of some virtual hosts.

    Parameters
    ----------
    run
        The command that runs another one on a host, whose name follows it.
    hosts
        The names, with spaces between them.
    """

    run = Text("")
    hosts = Text("")

    positional: ClassVar[tuple[str, ...]] = ()

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        starts = [f"{self.run} {host} bash -c {shlex.quote(command)} &" for host in self.hosts.split()]
        return "\n".join([*starts, "wait"])


@dataclass(frozen=True)
class Hosts:
    """The hosts that are up."""

    names: tuple[str, ...]
    address: str
    """At which they reach this host."""
    scripts: Path
    environment: dict[str, str]
    """What the scripts need in theirs."""
    shared: Path
    """The one folder that all hosts and this one share: for the files by which managers find the run."""

    def executor(self, label: str = "htex", names: tuple[str, ...] = (), **options: Any) -> Any:
        """Return an executor with a manager on each host, of which none sees our files."""
        root = self.environment["TESTBED_ROOT"]
        run = f"env TESTBED_ROOT={shlex.quote(root)} bash {shlex.quote(str(self.scripts / 'host-run.sh'))}"
        launcher = HostLauncher(run=run, hosts=" ".join(names or self.names))
        return parslab.HighThroughputExecutor(
            label=label,
            address=self.address,
            shared_filesystem=False,
            provider=parslab.LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, launcher=launcher),
            **{"max_workers_per_node": 1, "cores_per_worker": 0.1, **QUICK, **options},
        )

    def one_each(self, **options: Any) -> list[Any]:
        """Return an executor for each host, with its name as label: so a test decides which host runs a task."""
        return [self.executor(name, names=(name,), **options) for name in self.names]

    def run(self, host: str, *command: str) -> str:
        """Run a command on a host, and return what it prints."""
        return self._script("host-run.sh", host, *command)

    def crash(self, host: str) -> None:
        """Cut the power of a host."""
        self._script("hosts-up.sh", "crash", host)

    def boot(self, host: str) -> None:
        """Start a host again; its disk is as it was."""
        self._script("hosts-up.sh", "start", host)

    def _script(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            ["bash", str(self.scripts / name), *arguments],
            # Without the mark of the test's processes: a host that boots outlives the test.
            env={**{name: text for name, text in os.environ.items() if name != TOKEN}, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
