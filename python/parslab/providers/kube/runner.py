"""Submits, watches and cancels blocks that are pods [shell].

The number of a block's job is the names of its pods, with commas between them.  So any process that reads the number in
the block journal can delete the pods.

How the runner reads what Kubernetes reports:

* the block runs while one of its pods runs;
* a pod that does not start although it is on a node gets some seconds, in which Kubernetes tries again, and has failed;
* a pod that waits for a node waits on, because a cluster may grow;
* of an ended block the log and the events are kept in files, and the pods are deleted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from parslab.atomic_files import write_atomically
from parslab.providers.base import Job, JobStatus, SubmitError, not_written
from parslab.providers.kube.failures import KubernetesError
from parslab.providers.kube.names import JOB, selector_of
from parslab.providers.kube.owner import PodOwner
from parslab.providers.kube.pod_book import EventBook, PodBook
from parslab.providers.kube.pod_log import PodLog
from parslab.providers.kube.pods import PodSettings, pod_manifests
from parslab.providers.kube.relay import PodRelay
from parslab.providers.kube.watch import Watch
from parslab.providers.remote_invitation import remote_invitation
from parslab.records.states import ENDED, BlockState

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.kube.cluster import ClusterNamespace
    from parslab.providers.kube.pod_states import PodState

__all__ = ["STUCK_AFTER", "PodRunner", "PodRunnerSettings", "events_file"]

log = logging.getLogger(__name__)

STUCK_AFTER = 20.0
"""Seconds for which a pod may fail to start on its node; Kubernetes tries again after ten."""

_LOG_WITHIN = 5.0
"""Seconds in which the rest of the log of an ended pod must come."""
_MOST_LOGS = 64
"""Logs that are copied while their pods run; each needs a thread and a connection.  Others come at the end."""

_ORDER = tuple(map(BlockState, ("running", "queued", "failed", "missing", "scaled_in", "finished")))
"""Of the states of a block's pods, the first in this list is the state of the block."""


class PodRunnerSettings(PodSettings, Protocol):
    """What the runner reads of a :class:`~parslab.providers.kube.provider.KubernetesProvider`."""

    cmd_timeout: float
    notebook_address: str | None
    route: str

    def script(self, job: Job) -> str:
        """Return what is created for a block, without the keys of the run, as text."""


@dataclass(eq=False)
class _Block:
    """What the runner knows of a block."""

    pods: list[str]
    job: Job | None = None
    last: JobStatus | None = None
    stuck_since: float | None = None
    cancelled: bool = False
    logs: dict[str, PodLog] = field(default_factory=dict)


def events_file(job: Job) -> str:
    """Return the file with the events of a block's pods."""
    return job.stdout.removesuffix(".stdout") + ".events"


class PodRunner:
    """Submits, watches and cancels the pods of a provider.

    Parameters
    ----------
    provider
        The provider.
    cluster
        The requests of its cluster.
    now
        A monotonic clock; only tests pass it.
    """

    period = 0.5
    late_arrival = 10.0

    def __init__(
        self, provider: PodRunnerSettings, cluster: ClusterNamespace, now: Callable[[], float] = time.monotonic
    ) -> None:
        # Each executor has pods of its own, so no runner is asked for those of others.
        self.group = f"Kubernetes {id(self)}"
        self._provider, self._cluster, self._now = provider, cluster, now
        self._owner = PodOwner(cluster)
        self._relay = PodRelay(provider, cluster, float(provider.cmd_timeout))
        # Threads of one controller write to it without a lock, because each write is one operation.
        self._blocks: dict[str, _Block] = {}
        self._events = EventBook()
        self._book = PodBook(self._events)
        # Several threads of one controller may be the first that needs the watches.
        self._starting = threading.Lock()
        self._watches: list[Watch] = []
        self._left: dict[str, int | None] = {}
        """Pods of ended blocks that are to be deleted, each with the seconds that it has for its end."""
        self._released: set[str] = set()
        """Jobs of ended blocks; the last one takes the owner of the pods along."""
        self._unneeded: set[str] = set()
        """Jobs whose submission was refused for now, but not the owner of their pods."""

    # ----- submit

    def submit(self, job: Job) -> str:
        provider = self._provider
        try:
            # The file is for the user, so it lacks the keys that the pods get.
            write_atomically(job.script, provider.script(job))
            invitation = remote_invitation(job.invitation, provider.notebook_address)
        except OSError as error:
            raise not_written(job, error) from error
        try:
            self._watch(job.name).wait(float(provider.cmd_timeout))
            with self._owner.held(job, invitation) as owner:
                self._lead_here(job, owner)
                names = self._create(job, owner)
        except (KubernetesError, SubmitError) as error:
            # A relay that only starts is needed at the next attempt.
            (self._unneeded if error.transient else self._released).add(job.name)
            self._delete_left()
            raise SubmitError(f"{error}", error.transient) from error
        number = ",".join(names)
        self._blocks[number] = _Block(names, job)
        return number

    def _lead_here(self, job: Job, owner: str) -> None:
        """Tell the pods how they reach this host by way of a relay, where they may need one."""
        provider = self._provider
        if not job.invitation or not self._may_relay():
            return
        try:
            relays = self._relay.addresses(job, owner)
        except (SubmitError, KubernetesError) as error:
            # Pods may reach this host without it, but while it only starts, they would have to.
            if provider.route == "relay" or error.transient:
                raise
            log.warning("there is no relay, so that pods must reach this host themselves: %s", error)
            return
        directly = provider.route != "relay"
        try:
            told = remote_invitation(job.invitation, provider.notebook_address, relays=relays, directly=directly)
        except OSError as error:
            raise not_written(job, error) from error
        self._owner.tell(job, told)

    def _may_relay(self) -> bool:
        route = self._provider.route
        return route == "relay" or (route == "auto" and not self._cluster.in_the_cluster())

    def _create(self, job: Job, owner: str) -> list[str]:
        manifests = pod_manifests(self._provider, job, owner)
        names = [manifest["metadata"]["name"] for manifest in manifests]
        self._events.want(names)
        made: list[str] = []
        try:
            for name, manifest in zip(names, manifests, strict=True):
                self._book.add(self._created(name, manifest, owner))
                made.append(name)
        except KubernetesError:
            # A block has all of its pods or none.
            self._events.forget(names)
            self._left |= dict.fromkeys(made, 0)
            self._released.add(job.name)
            raise
        return names

    def _created(self, name: str, manifest: dict[str, Any], owner: str) -> dict[str, Any]:
        try:
            return self._cluster.create("pods", manifest)
        except KubernetesError as error:
            if error.status != 409:
                raise
            # The answer to an earlier request for this pod was lost, unless it is the pod of somebody else.
            found = self._cluster.get(f"pods/{name}")
            owners = [one["uid"] for one in found["metadata"].get("ownerReferences", ())]
            if owner not in owners or found["metadata"].get("deletionTimestamp"):
                raise
            return found

    def adopt(self, number: str, job: Job) -> None:
        names = number.split(",")
        self._events.want(names)
        self._blocks[number] = _Block(names, job)
        if job.invitation and self._may_relay():
            # In a thread, because the cluster may not answer, and the run need not wait for it.
            threading.Thread(target=self._resume_relay, args=(job,), name="parslab-relay", daemon=True).start()

    def _resume_relay(self, job: Job) -> None:
        with contextlib.suppress(KubernetesError):  # the next block starts it again
            self._relay.resume(job, self._owner.found(job))

    def find(self, name: str) -> str | None:
        found = self._cluster.get("pods", labelSelector=selector_of(name, block=True)).get("items") or []
        names = [
            pod["metadata"]["name"]
            for pod in found
            if pod["metadata"].get("annotations", {}).get(JOB) == name and not pod["metadata"].get("deletionTimestamp")
        ]
        return ",".join(sorted(names)) or None

    def _watch(self, job: str) -> Watch:
        """Return the watch of the executor's pods; the first call starts it."""
        with self._starting:
            if not self._watches:
                pods = Watch(self._cluster, "pods", {"labelSelector": selector_of(job)}, self._book)
                kind = {"fieldSelector": "involvedObject.kind=Pod"}
                self._watches = [pods, Watch(self._cluster, "events", kind, self._events)]
                for watch in self._watches:
                    watch.start()
            return self._watches[0]

    # ----- status

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        self._delete_left()
        blocks = {job: self._blocks.setdefault(job, _Block(job.split(","))) for job in jobs}
        known = next((block.job.name for block in self._blocks.values() if block.job is not None), None)
        if known is None:
            return {}
        watch = self._watch(known)
        watch.wait(float(self._provider.cmd_timeout))
        if watch.trouble is not None:
            raise watch.trouble
        for job, block in blocks.items():
            if block.last is None or block.last.state not in ENDED:
                block.last = self._status(job, block)
        return {job: block.last for job, block in blocks.items() if block.last is not None}

    def _status(self, number: str, block: _Block) -> JobStatus:
        states = {name: self._book.state(name) for name in block.pods}
        found = [state for state in states.values() if state is not None]
        if not found:
            return JobStatus(BlockState.missing, f"Kubernetes does not list {number} any more")
        self._follow_logs(block)
        first = min(found, key=lambda state: _ORDER.index(state.status.state))
        hosts = ",".join(dict.fromkeys(state.status.hosts for state in found if state.status.hosts))
        status = JobStatus(first.status.state, first.status.reason, hosts)
        if status.state is BlockState.queued and self._is_stuck(block, first):
            status = JobStatus(BlockState.failed, status.reason, hosts)
        if block.cancelled and all(self._book.is_gone(name) for name in block.pods):
            status = JobStatus(BlockState.scaled_in, "ended", hosts)
        elif block.cancelled and status.state in ENDED:
            status = JobStatus(BlockState.scaled_in, status.reason, hosts)
        if status.state in ENDED:
            self._finish(block, {name for name, state in states.items() if state is not None and state.lost})
        return status

    def _is_stuck(self, block: _Block, state: PodState) -> bool:
        if not state.stuck:
            block.stuck_since = None
            return False
        block.stuck_since = self._now() if block.stuck_since is None else block.stuck_since
        return self._now() >= block.stuck_since + STUCK_AFTER

    # ----- logs and events

    def _follow_logs(self, block: _Block) -> None:
        if block.job is None:
            return
        for name in block.pods:
            running = sum(len(other.logs) for other in list(self._blocks.values()))
            if name not in block.logs and running < _MOST_LOGS and self._book.has_log(name):
                block.logs[name] = self._log(block.job, block, name)
                block.logs[name].start()

    def _log(self, job: Job, block: _Block, pod: str) -> PodLog:
        place = block.pods.index(pod)
        path = job.stdout if place == 0 else f"{job.stdout}.{place}"

        def over() -> bool:
            state = self._book.state(pod)
            return state is None or state.status.state in ENDED

        return PodLog(self._cluster, pod, path, over)

    def _finish(self, block: _Block, lost: set[str]) -> None:
        """Keep what there is to know of the pods of an ended block, and delete them."""
        for name in block.pods:
            if name not in lost:
                self._copy_log(block, name)
        logs, block.logs = block.logs, {}
        for name, following in logs.items():  # of pods that are gone, whose last words may be on their way
            following.finish(0.0 if name in lost else _LOG_WITHIN)
        self._keep_events(block)
        self._released.add(self._job_name(block))
        for name in block.pods:
            if not self._book.is_gone(name):
                self._left[name] = 0 if name in lost else None
        self._delete_left()
        self._events.forget(block.pods)
        self._book.forget(block.pods)

    def _copy_log(self, block: _Block, pod: str) -> None:
        """Copy the log of a pod as it is now, if the pod is there."""
        if block.job is None or not self._book.has_log(pod) or self._book.is_gone(pod):
            return
        following = block.logs.pop(pod, None)
        if following is not None:
            following.stop()
        with contextlib.suppress(OSError):  # of the cluster, or of the disk
            self._log(block.job, block, pod).copy()

    def _keep_events(self, block: _Block) -> None:
        if block.job is None:
            return
        for name in block.pods:
            with contextlib.suppress(
                KubernetesError
            ):  # the watch may be late, and what it has is enough where this fails
                found = self._cluster.get("events", fieldSelector=f"involvedObject.name={name}")
                self._events.listed(found.get("items") or [])
        lines = [f"{name}: {event}\n" for name in block.pods for event in self._events.of(name)]
        if lines:
            with contextlib.suppress(OSError):
                write_atomically(events_file(block.job), "".join(lines))

    # ----- cancel

    def cancel(self, jobs: list[str]) -> None:
        names = set()
        for number in jobs:
            block = self._blocks.setdefault(number, _Block(number.split(",")))
            if block.last is not None and block.last.state in ENDED:
                continue
            self._keep_events(block)
            name = self._job_name(block)
            block.cancelled = True
            for pod in block.pods:
                self._copy_log(block, pod)
                self._cluster.delete(f"pods/{pod}")
            names.add(name)
        for name in sorted(names - {""}):
            self._release(name)

    def _release(self, job: str) -> None:
        """Delete the owner of the pods if none is left, and with it the relay."""
        if self._owner.release(job):
            self._relay.drop()

    def _job_name(self, block: _Block) -> str:
        """Return the name of a block's job; empty where neither this process nor Kubernetes knows it."""
        if block.job is not None:
            return block.job.name
        for name in block.pods:
            with contextlib.suppress(KubernetesError):
                found = self._cluster.get(f"pods/{name}")["metadata"]
                return str(found.get("annotations", {}).get(JOB, ""))
        return ""

    def _delete_left(self) -> None:
        """Delete the pods of ended blocks, and their owner if it has no others; a failure is tried again later."""
        with contextlib.suppress(KubernetesError):
            for pod, grace in list(self._left.items()):
                self._cluster.delete(f"pods/{pod}", grace)
                self._left.pop(pod, None)
            for job in list(self._released):
                if job:
                    self._release(job)
                self._released.discard(job)

    def close(self) -> None:
        self._released |= self._unneeded
        self._delete_left()
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.close()
        for block in list(self._blocks.values()):
            for following in block.logs.values():
                following.close()
        self._relay.close()
        self._cluster.close()
