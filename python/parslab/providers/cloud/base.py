"""The base of the providers for clouds: a description whose blocks are instances."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from parslab.description import Duration, Number, Text, Variables, YesNo
from parslab.errors import OptionalModuleMissing
from parslab.providers.base import Job, Provider
from parslab.providers.cloud.start_script import start_script

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.providers.cloud.instances import CloudClient
    from parslab.providers.cloud.runner import InstanceRunner

__all__ = ["CloudProvider"]


class CloudProvider(Provider):
    """Base of the providers for clouds.

    An instance needs bash, Python and the notebook's version of parslab; ``worker_init`` may install them.  It must
    reach the notebook's host.  It shares no disk with it, so the executor moves the Files of apps.

    Parameters
    ----------
    nodes_per_block
        Instances of each block.
    walltime
        The lease of an instance: the time after which it ends by itself, whatever becomes of the run.
    spot
        Whether to take spot (preemptible) instances, which cost less, and which the cloud may take back at any time.
    linger
        Whether an instance stays until the end of its lease when its manager has left, so that its logs can be read.
        The run still ends it when it ends the block.
    tags
        More tags (labels, metadata) of the instances; tags that name the run, executor and block are always there.
    price_per_hour
        The price of an instance per hour, which the panel shows; None means the price that the cloud says, if it does.
    notebook_address
        The address at which instances reach this host, where that is none of its own: behind a router that passes
        ``HighThroughputExecutor(port=...)`` on.
    poll_interval
        Least seconds between two requests for the states of the instances.
    """

    walltime = Duration(3600.0, low=60.0)
    spot = YesNo(False)
    linger = YesNo(False)
    tags = Variables({})
    price_per_hour = Number(None, low=0)
    notebook_address = Text(None)
    poll_interval = Duration(10.0)

    module: ClassVar[str] = ""
    """The package that its client needs."""
    package: ClassVar[str] = ""
    """The name of that package where packages are installed from."""
    extra: ClassVar[str] = ""
    """The extra of parslab that brings the package."""

    @property
    def remote(self) -> bool:
        return True

    def require(self) -> None:
        if not _installed(self.module):
            raise OptionalModuleMissing(f"{self.package}, which {type(self).__name__} needs,", self.extra)

    def script(self, job: Job) -> str:
        return self.start_script(job, '{"for": "the instances only"}' if job.invitation else "")

    def start_script(self, job: Job, invitation: str) -> str:
        """Return the text that each instance of a block runs; it contains the invitation of the run, with its keys."""
        return start_script(
            job,
            worker_init=self.worker_init,
            command=self.launcher.script(job.command, 1),
            lease=float(self.walltime),
            linger=bool(self.linger),
            invitation=invitation,
        )

    def runner(self, folder: Path) -> InstanceRunner:
        # The user's process needs only the description, so it does not load what makes requests.
        from parslab.providers.cloud.runner import InstanceRunner

        self.require()
        return InstanceRunner(self, self.client())

    def client(self) -> CloudClient:
        """Return what makes the requests of this cloud."""
        raise NotImplementedError


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False
