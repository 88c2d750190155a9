"""The provider of hosts that are reached by ssh, in the family's suite on real logins; and what it adds."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.providers.base import FindsJobs, SubmitError
from parslab.providers.ssh.provider import SSHProvider
from parslab.records.states import BlockState
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Runner


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> SSHServer:
    return SSHServer.in_folder(tmp_path_factory.mktemp("ssh"))


class TestSSH(ProviderSuite):
    """The suite's jobs have no program of their own for the host, so the Python of the tests runs them."""

    server: SSHServer

    @pytest.fixture(autouse=True)
    def _server(self, server: SSHServer) -> None:
        self.server = server

    def provider(self, **options: Any) -> SSHProvider:
        return SSHProvider(hosts=["here", "there"], ssh_options=self.server.options, **options)
