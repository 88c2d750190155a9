"""The provider of blocks on hosts that are reached by ssh, and its runner.

A block is a process of the notebook's host that keeps an ssh for each of its hosts.  So the runner of local blocks
starts, watches, finds and ends it.  What this module adds is the choice of the hosts.
"""

from __future__ import annotations

import re
import shlex
import sys
import threading
from typing import TYPE_CHECKING, ClassVar

import msgspec

from parslab.atomic_files import write_atomically
from parslab.description import Choice, Texts
from parslab.errors import ConfigurationError
from parslab.paths import python_path_prefix
from parslab.providers.base import Job, JobStatus, Provider, SubmitError, exit_file, not_written
from parslab.providers.local import LocalRunner
from parslab.providers.ssh.session import SEPARATOR, SessionSettings
from parslab.records.states import ENDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Set
    from pathlib import Path

__all__ = ["SSHProvider", "SSHRunner"]

_END = "END_OF_WHAT_EACH_HOST_RUNS"


class SSHProvider(Provider):
    """Blocks are hosts that the user reaches with ``ssh``; each host of a block runs one manager.

    The user's own ``ssh`` logs in, with the keys, agent, known hosts and jump hosts of ``~/.ssh/config``.  It never
    asks for anything.  The hosts need bash, Python and the notebook's version of parslab, which ``worker_init``
    activates.  They share no disk with the notebook's host, so the executor moves the Files of apps.

    A manager connects to the notebook's host directly if it can, and otherwise through the ssh that started it.  For
    the options that are not described here see :class:`~parslab.providers.Provider`; ``launcher`` runs on each host.

    Parameters
    ----------
    hosts
        The hosts, as ``ssh`` takes them (``"me@node7.example.org"``, or a name of ``~/.ssh/config``).  A host that is
        listed twice may be part of two blocks.
    nodes_per_block
        Hosts of each block.
    max_blocks
        The largest number of blocks; by default all hosts may be in use.
    ssh_options
        More options of ssh, such as ``["-F", "config", "-p", "2222"]``.
    tunnel
        Whether managers connect through ssh: ``"auto"`` if they do not reach this host directly, ``"always"``, which
        opens no port to other hosts, or ``"never"``.

    Examples
    --------
    >>> SSHProvider(hosts=["node1", "node2"], worker_init="source ~/env/bin/activate").max_blocks
    2
    """

    hosts = Texts(())
    ssh_options = Texts(())
    tunnel = Choice("auto", ("auto", "always", "never"))

    commands: ClassVar[tuple[str, ...]] = ("bash", "ssh")
    positional: ClassVar[tuple[str, ...]] = ("hosts",)

    @property
    def remote(self) -> bool:
        return True

    @property
    def tunnelled(self) -> bool:
        return bool(self.tunnel == "always")

    def complete(self, given: Set[str]) -> None:
        super().complete(given)
        if "max_blocks" not in given:
            self.max_blocks = max(self.max_blocks, len(self.hosts) // self.nodes_per_block)

    def check(self) -> None:
        super().check()
        if not self.hosts:
            raise ConfigurationError("SSHProvider: hosts must name at least one host, as ssh takes it.")
        for host in self.hosts:
            if host.startswith("-") or re.search(r"\s", host) or not host:
                raise ConfigurationError(
                    f"SSHProvider: {host!r} is no host; options of ssh go to ssh_options or ~/.ssh/config."
                )
        wanted = self.max_blocks * self.nodes_per_block
        if wanted > len(self.hosts):
            raise ConfigurationError(
                f"SSHProvider: max_blocks={self.max_blocks} with nodes_per_block={self.nodes_per_block} needs {wanted} "
                f"hosts, but hosts has {len(self.hosts)}; a host may be listed more than once."
            )

    def script(self, job: Job) -> str:
        return self.script_for(job, list(self.hosts[: self.nodes_per_block]))

    def script_for(self, job: Job, hosts: list[str]) -> str:
        """Return the script of a block on these hosts, which this host runs."""
        settings = SessionSettings(
            job=job.name,
            hosts=hosts,
            options=list(self.ssh_options),
            tunnel=self.tunnel,
            invitation=job.invitation,
            python=job.python or "python3",
            connect_within=self.cmd_timeout,
        )
        facts = shlex.quote(msgspec.json.encode(settings).decode())
        return "\n".join(
            [
                "#!/bin/bash",
                "# Keeps an ssh for each host; what each host runs follows.",
                f"{python_path_prefix()}{shlex.quote(sys.executable)} -m parslab.providers.ssh.session {facts} "
                f"<<'{_END}'",
                f"{self.worker_init}{SEPARATOR}{self.launcher.script(job.command, 1)}",
                _END,
                "status=$?",
                f'echo "$status" > {shlex.quote(exit_file(job.script))}',
                'exit "$status"',
                "",
            ]
        )

    def runner(self, folder: Path) -> SSHRunner:
        return SSHRunner(self)


class SSHRunner:
    """Starts, watches and ends blocks on hosts that are reached by ssh.

    Parameters
    ----------
    provider
        The provider.
    """

    def __init__(self, provider: SSHProvider) -> None:
        self._provider = provider
        # A manager on a host needs longer for its end than one on this host.
        self._local = LocalRunner(self.script, grace=8.0)
        self.period, self.group, self.late_arrival = self._local.period, self._local.group, self._local.late_arrival
        # Several threads of one controller submit, and no two blocks may get the same host.
        self._choosing = threading.Lock()
        self._hosts: dict[str, list[str]] = {}
        """The hosts of each block that has not ended, by the name of its job."""
        self._names: dict[str, str] = {}
        """The names of jobs, by their numbers."""
        self._failures: dict[str, int] = {}
        """How many blocks have failed on a host since the last one that did not."""

    def script(self, job: Job) -> str:
        """Return the script of a block whose hosts are chosen."""
        return self._provider.script_for(job, self._hosts[job.name])

    def submit(self, job: Job) -> str:
        hosts = self._take(job)
        try:
            # The next process that looks after this block must know its hosts.
            write_atomically(hosts_file(job), "\n".join(hosts))
            number = self._local.submit(job)
        except OSError as error:
            self._hosts.pop(job.name, None)
            raise not_written(job, error) from error
        except BaseException:
            self._hosts.pop(job.name, None)
            raise
        self._names[number] = job.name
        return number

    def _take(self, job: Job) -> list[str]:
        provider = self._provider
        with self._choosing:
            free = list(provider.hosts)
            for host in (host for hosts in self._hosts.values() for host in hosts):
                if host in free:
                    free.remove(host)
            if len(free) < provider.nodes_per_block:
                raise SubmitError(
                    f"Block {job.name} waits for hosts, because other blocks use {_listed(provider.hosts, free)}.",
                    transient=True,
                )
            # A host on which blocks fail is tried last; sorting keeps the user's order among equals.
            free.sort(key=lambda host: self._failures.get(host, 0))
            self._hosts[job.name] = free[: provider.nodes_per_block]
            return self._hosts[job.name]

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        found = {}
        for number, status in self._local.status(jobs).items():
            name = self._names.get(number, "")
            hosts = self._hosts.get(name, [])
            found[number] = JobStatus(status.state, status.reason, " ".join(hosts) or status.hosts)
            if status.state in ENDED and self._hosts.pop(name, None) is not None:
                failed = status.state.value == "failed"
                for host in hosts:
                    self._failures[host] = self._failures.get(host, 0) + 1 if failed else 0
        return found

    def adopt(self, number: str, job: Job) -> None:
        self._local.adopt(number, job)
        self._names[number] = job.name
        try:
            with open(hosts_file(job), encoding="utf-8") as file:
                self._hosts[job.name] = file.read().split()
        except OSError:
            self._hosts[job.name] = []

    def find(self, name: str) -> str | None:
        return self._local.find(name)

    def cancel(self, jobs: list[str]) -> None:
        self._local.cancel(jobs)
        for name in [self._names[number] for number in jobs if number in self._names]:
            self._hosts.pop(name, None)

    def close(self) -> None:
        self._local.close()


def hosts_file(job: Job) -> str:
    """Return the file with the hosts of a block."""
    return f"{job.script}.hosts"


def _listed(hosts: Iterable[str], free: list[str]) -> str:
    return ", ".join(dict.fromkeys(host for host in hosts if host not in free))
