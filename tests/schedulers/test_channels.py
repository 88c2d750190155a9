"""The providers of real schedulers, whose commands run on a login host that only ssh reaches."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

from parslab import SSH
from parslab.providers.batch.grid_engine import GridEngineProvider
from parslab.providers.batch.slurm import SlurmProvider
from parslab.testing.conformance.providers import ProviderSuite
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Provider
    from tests.schedulers.conftest import Scheduler


@pytest.fixture(scope="module")
def server() -> Iterator[SSHServer]:
    with SSHServer.ready() as server, server.listening():
        yield server


class ChannelSuite(ProviderSuite):
    channel: SSH

    def use(self, server: SSHServer, scheduler: Scheduler) -> None:
        """Reach a scheduler by way of its login host."""
        init = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in scheduler.variables.items())
        self.channel = SSH("far", ssh_options=server.options, init=init)


class TestSlurmByChannel(ChannelSuite):
    @pytest.fixture(autouse=True)
    def _login_host(self, server: SSHServer, slurm_up: Scheduler) -> None:
        self.use(server, slurm_up)

    def provider(self, **options: Any) -> SlurmProvider:
        small = {"exclusive": False, "cores_per_node": 1, "poll_interval": 1, "walltime": 300}
        return SlurmProvider(**{**small, "channel": self.channel, **options})

    def refused(self) -> tuple[Provider, str]:
        return self.provider(partition="no-such-partition"), "Slurm refused the job.*invalid partition"


class TestGridEngineByChannel(ChannelSuite):
    @pytest.fixture(autouse=True)
    def _login_host(self, server: SSHServer, sge_up: Scheduler) -> None:
        self.use(server, sge_up)

    def provider(self, **options: Any) -> GridEngineProvider:
        return GridEngineProvider(**{"channel": self.channel, "poll_interval": 1, "walltime": 300, **options})

    def refused(self) -> tuple[Provider, str]:
        return self.provider(queue="no-such.q"), "Grid Engine refused the job.*no-such.q"
