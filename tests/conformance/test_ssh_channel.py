"""A provider of a scheduler through a login host, in the family's suite on real jobs of a small scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.providers.base import SubmitError
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite
from tests.ssh.queue import Queue
from tests.ssh.server import SSHServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import SlurmProvider
    from parslab.providers.base import Provider

pytestmark = pytest.mark.timeout(180)  # each test waits for logins of a real ssh


@pytest.fixture(scope="module")
def server() -> Iterator[SSHServer]:
    with SSHServer.ready() as server, server.listening():
        yield server


class TestChannel(ProviderSuite):
    server: SSHServer
    queue: Queue

    @pytest.fixture(autouse=True)
    def _places(self, server: SSHServer, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.server = server
        self.queue = Queue(tmp_path_factory.mktemp("scheduler") / "queue")

    def provider(self, **options: Any) -> SlurmProvider:
        return self.queue.provider(self.queue.channel(self.server), **options)

    def refused(self) -> tuple[Provider, str]:
        (self.queue.folder / "refuse").write_text("sbatch: error: invalid partition specified: nowhere\n")
        return self.provider(partition="nowhere"), "Slurm refused the job.*invalid partition specified: nowhere"

    def test_nothing_is_left(self, folder: Path) -> None:
        with self.running(folder) as runner:
            self.until(runner, runner.submit(a_job(folder, command="true")))
            assert list((self.server.config.parent / ".parslab" / "channel").iterdir())
        assert list((self.server.config.parent / ".parslab" / "channel").iterdir()) == []

    def test_a_full_disk_is_told(self, folder: Path) -> None:
        channel = self.queue.channel(self.server, folder="/dev/full/x")
        runner = self.queue.provider(channel).runner(folder)
        with pytest.raises(SubmitError, match=r"cannot be written to /dev/full/x/.*choose another folder"):
            runner.submit(a_job(folder))
        runner.close()
