"""One runner for all clouds [shell]: it requests, watches and ends the instances of blocks.

The number of a block's job is the ids of its instances, with commas between them.  So any process that reads the number
in the block journal can end the instances.

How the runner reads what a cloud says:

* the block runs while one of its instances runs;
* an instance that has shut itself down has the exit status that its start script wrote to the console;
* a block whose instances the cloud does not list any more is missing;
* an ended block keeps its status: the runner never asks for it again.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.atomic_files import write_atomically
from parslab.providers.base import Job, JobStatus, SubmitError, ended, not_written
from parslab.providers.cloud.failures import CloudError
from parslab.providers.cloud.instances import InstanceRequest
from parslab.providers.cloud.start_script import exit_status, own_output
from parslab.providers.remote_invitation import remote_invitation
from parslab.records.states import ENDED, BlockState

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.cloud.instances import CloudClient, Instance, InstanceSettings

__all__ = ["OUTPUT_WITHIN", "InstanceRunner"]

OUTPUT_WITHIN = 20.0
"""Seconds to wait for the exit status of an instance that has shut itself down; clouds deliver the console late."""

_PAUSES = (1.0, 2.0)
"""Seconds between two attempts to end instances that the cloud does not list."""

_ORDER = (BlockState.running, BlockState.queued, BlockState.failed, BlockState.scaled_in, BlockState.finished)
"""Of the states of a block's instances, the first in this list is the state of the block."""


@dataclass(eq=False)
class _Block:
    """What the runner knows of a block."""

    job: Job | None = None
    created: float | None = None
    """When this process created its instances."""
    last: JobStatus | None = None
    unlisted_since: float | None = None
    down_since: float | None = None
    """Since when its instances are known to have shut themselves down, while their exit status is not known."""
    cancelled: bool = False


@dataclass(eq=False)
class _Price:
    """The price of an instance per hour; the cloud is asked once."""

    given: float | None
    asked: bool = field(default=False)

    def of(self, client: CloudClient) -> float | None:
        if self.given is None and not self.asked:
            self.asked = True
            # Many users may not ask for prices, and nothing depends on the answer.
            with contextlib.suppress(CloudError):
                self.given = client.price()
        return self.given


class InstanceRunner:
    """Requests, watches and ends the blocks of a cloud provider.

    Parameters
    ----------
    provider
        The provider.
    client
        The requests of its cloud.
    now, sleep
        A monotonic clock, and the function that waits; only tests pass them.
    """

    late_arrival = 30.0

    def __init__(
        self,
        provider: InstanceSettings,
        client: CloudClient,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # Another executor may use another account or region, so no runner asks for the instances of others.
        self.group = f"{client.cloud} {id(self)}"
        self.period = float(provider.poll_interval)
        self._provider, self._client, self._now, self._sleep = provider, client, now, sleep
        # Threads of one controller write to it without a lock, because each write is one operation.
        self._blocks: dict[str, _Block] = {}
        self._price = _Price(provider.price_per_hour)

    # ----- submit

    def submit(self, job: Job) -> str:
        provider = self._provider
        try:
            # The file is for the user, so it lacks the keys that the instances get.
            write_atomically(job.script, provider.script(job), 0o700)
            invitation = remote_invitation(job.invitation, provider.notebook_address)
        except OSError as error:
            raise not_written(job, error) from error
        request = InstanceRequest(
            name=job.name,
            count=provider.nodes_per_block,
            start_script=provider.start_script(job, invitation),
            tags={**provider.tags, **_own_tags(job.name)},
            lease=float(provider.walltime),
        )
        try:
            ids = self._client.create(request)
        except CloudError as error:
            raise SubmitError(f"{error}", error.transient) from error
        number = ",".join(sorted(ids))
        self._blocks[number] = _Block(job, self._now())
        return number

    def adopt(self, number: str, job: Job) -> None:
        self._blocks[number] = _Block(job)

    def find(self, name: str) -> str | None:
        return ",".join(sorted(self._client.find(name))) or None

    # ----- status

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        asked = {job: self._blocks.setdefault(job, _Block()) for job in jobs}
        open_jobs = [job for job, block in asked.items() if block.last is None or block.last.state not in ENDED]
        ids = [instance for job in open_jobs for instance in job.split(",")]
        listed = {instance.id: instance for instance in self._client.describe(ids)} if ids else {}
        price = self._price.of(self._client) if listed else None
        for job in open_jobs:
            block = asked[job]
            found = [listed[instance] for instance in job.split(",") if instance in listed]
            status = self._listed(block, found) if found else self._unlisted(block, job)
            if status is not None:
                cost = None if price is None else price * len(job.split(","))
                block.last = JobStatus(status.state, status.reason, status.hosts, cost)
        return {job: block.last for job, block in asked.items() if block.last is not None}

    def _listed(self, block: _Block, found: list[Instance]) -> JobStatus | None:
        block.unlisted_since = None
        first = min(found, key=lambda instance: _ORDER.index(instance.state))
        hosts = ",".join(instance.host for instance in found if instance.host)
        if first.state not in ENDED:
            return JobStatus(first.state, first.reason, hosts)
        # The instance that failed is the one whose console explains the end of the block.
        text = self._console(first.id)
        status = exit_status(text)
        if first.ended_itself and status is None and not block.cancelled:
            block.down_since = self._now() if block.down_since is None else block.down_since
            if self._now() < block.down_since + OUTPUT_WITHIN:
                return block.last
        self._keep_output(block, text)
        # In some clouds an instance that has shut down still costs money, until somebody deletes it.
        self._client.terminate([instance.id for instance in found])
        if block.cancelled:
            return JobStatus(BlockState.scaled_in, first.reason, hosts)
        if first.ended_itself and status is not None:
            left = ended(status)
            return JobStatus(left.state, left.reason, hosts)
        return JobStatus(first.state, first.reason, hosts)

    def _unlisted(self, block: _Block, job: str) -> JobStatus | None:
        now = self._now()
        block.unlisted_since = now if block.unlisted_since is None else block.unlisted_since
        if now < block.unlisted_since + (0.0 if block.cancelled else self._client.listed_within):
            return block.last
        if block.cancelled:
            return JobStatus(BlockState.scaled_in, "ended")
        return JobStatus(BlockState.missing, f"{self._client.cloud} does not list {job} any more")

    def _console(self, instance: str) -> str:
        # Not every account may read it, and a block has ended without it, too.
        with contextlib.suppress(CloudError):
            return self._client.output(instance)
        return ""

    def _keep_output(self, block: _Block, console: str) -> None:
        """Write what the start script has written to the file that the panel and the failure sentences read."""
        if block.job is not None and console:
            with contextlib.suppress(OSError):
                Path(block.job.stdout).write_text(own_output(console, block.job.name), encoding="utf-8")

    # ----- cancel

    def cancel(self, jobs: list[str]) -> None:
        blocks = {job: self._blocks.setdefault(job, _Block()) for job in jobs}
        alive = [job for job, block in blocks.items() if block.last is None or block.last.state not in ENDED]
        ids = [instance for job in alive for instance in job.split(",")]
        unlisted = self._client.terminate(ids) if ids else []
        for pause in _PAUSES:
            # An instance of the last seconds may not be listed yet.  To forget it now would cost money.
            if unlisted:
                self._sleep(pause)
                unlisted = self._client.terminate(unlisted)
        new = [instance for instance in unlisted if self._is_new(instance)]
        for job in alive:
            blocks[job].cancelled = not set(job.split(",")) & set(new)
        if new:
            raise CloudError(f"{self._client.cloud} does not list {', '.join(new)} yet", transient=True)

    def _is_new(self, instance: str) -> bool:
        created = [block.created for job, block in self._blocks.items() if instance in job.split(",")]
        return any(when is not None and self._now() < when + self._client.listed_within for when in created)

    def close(self) -> None:
        self._client.close()


def _own_tags(name: str) -> dict[str, str]:
    """Return the tags that name the run, the executor and the block, from the name of a job."""
    parts = name.split(".", 2)
    label, _, block = parts[-1].rpartition(".")
    return {
        "Name": name,
        "parslab": name,
        "parslab-run": parts[1] if len(parts) > 2 else name,
        "parslab-executor": label or name,
        "parslab-block": block,
    }
