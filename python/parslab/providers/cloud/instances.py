"""What the core asks of a cloud, and what a cloud reports of its instances.

A client of a cloud is a :class:`CloudClient`.  Its methods block; the background threads of the scaling controller
call them, several at the same time.  All of them raise :class:`~parslab.providers.cloud.failures.CloudError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parslab.providers.base import Job

__all__ = ["CloudClient", "Instance", "InstanceRequest", "InstanceSettings"]


class InstanceSettings(Protocol):
    """What the runner reads of a :class:`~parslab.providers.cloud.base.CloudProvider`."""

    nodes_per_block: int
    walltime: float
    tags: Mapping[str, str]
    price_per_hour: float | None
    notebook_address: str | None
    poll_interval: float

    def script(self, job: Job) -> str:
        """Return the start script without the keys of the run, for the run folder."""

    def start_script(self, job: Job, invitation: str) -> str:
        """Return the start script."""


class InstanceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The instances of one block."""

    name: str
    """The name of the block's job; no other block has it."""
    count: int
    start_script: str
    """What each instance runs when it has booted.  It contains the keys of the run, so nobody may log it."""
    tags: dict[str, str]
    lease: float
    """Seconds after which the instances end."""


class Instance(msgspec.Struct, frozen=True):
    """An instance, as its cloud describes it."""

    id: str
    state: BlockState
    """queued while it is being made, running, or how it ended: finished, failed, scaled_in."""
    reason: str = ""
    host: str = ""
    ended_itself: bool = False
    """Whether its own start script has shut it down."""


class CloudClient(Protocol):
    """The requests of one cloud."""

    cloud: str
    """The name of the cloud, for sentences."""
    listed_within: float
    """Seconds after which an instance that is not listed has ended, because new ones do not show up everywhere."""

    def create(self, request: InstanceRequest) -> list[str]:
        """Make the instances of a block, all or none, and return their ids.

        A second request of the same name makes no second set where the cloud can avoid that.
        """

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """Return those of these instances that the cloud lists, ended ones as long as it does."""

    def find(self, name: str) -> list[str]:
        """Return the ids of the instances of the block with this name."""

    def terminate(self, ids: Sequence[str]) -> list[str]:
        """End instances; one that has ended is no error.  Return the ids of those that may not be listed yet."""

    def output(self, instance: str) -> str:
        """Return what the console of an instance shows; empty if the cloud does not keep it."""

    def price(self) -> float | None:
        """Return the price of an instance per hour; None if the cloud does not say."""

    def close(self) -> None:
        """Close the connections."""
