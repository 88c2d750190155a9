"""Reads what Kubernetes says of a pod: its state, and in Kubernetes' own words why it waits or has ended [pure]."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from parslab.providers.base import JobStatus, ended
from parslab.providers.kube.pods import CONTAINER
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["PodEvent", "PodState", "event_of", "pod_state", "state_of_deleted"]


class PodEvent(NamedTuple):
    """An event of a pod."""

    time: str
    """When it happened last, as Kubernetes writes it."""
    warning: bool
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.time} {'Warning' if self.warning else 'Normal '} {self.reason}: {self.message}"


class PodState(NamedTuple):
    """The state of a pod."""

    status: JobStatus
    stuck: bool = False
    """Whether it will not start although it is on a node: Kubernetes tries again for ever."""
    lost: bool = False
    """Whether nobody on its node can end it."""


_STUCK = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "FailedAttachVolume",
        "FailedCreatePodSandBox",
        "FailedMount",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RegistryUnavailable",
        "RunContainerError",
    }
)
"""Reasons for which a pod waits on its node, and which Kubernetes does not give up."""

_ADVICE = (
    (r"ErrImage|ImagePull|InvalidImage|ImageInspect", "correct image, or name the login for its registry by secret"),
    (r"RegistryUnavailable", "try another registry"),
    (r"CreateContainerConfigError|FailedMount", "correct what is named there, or make it in the namespace"),
    (r"FailedAttachVolume", "correct the volumes"),
    (r"OOMKilled", "raise max_mem, or have fewer workers in a pod"),
    (r"StartError|ContainerCannotRun|RunContainerError|CreateContainerError", "the image needs bash and Python"),
    (r"[Ii]nit container|CrashLoopBackOff", "see its log with kubectl, and correct it"),
    (r"Unschedulable|FailedScheduling", "if that stays so, ask for less with init_cpu and init_mem"),
    (r"Evicted", "ask for as much memory and disk as the tasks use"),
)
"""What the user can do; the first pattern that matches counts."""

_FINISHED = {
    "DeadlineExceeded": "it reached its walltime",
    "Shutdown": "its node was shut down",
    "Terminated": "its node was shut down",
    "Preempting": "another pod took its place",
}
"""Ends that come from outside, after the pod did what it should."""

_OUTSIDE = re.compile(r"(?i)preempt|evict|taint|nodelost|nodenotready|shutdown|NodeControllerEviction")
"""Reasons of events and conditions for which Kubernetes itself takes a pod away."""


def event_of(found: dict[str, Any]) -> PodEvent:
    """Return an event that Kubernetes describes."""
    when = found.get("lastTimestamp") or found.get("eventTime") or found["metadata"].get("creationTimestamp") or ""
    message = " ".join(str(found.get("message") or "").split())
    return PodEvent(str(when), found.get("type") == "Warning", str(found.get("reason") or ""), message)


def pod_state(pod: dict[str, Any], events: Sequence[PodEvent] = ()) -> PodState:
    """Return the state of a pod that Kubernetes lists."""
    status = pod.get("status", {})
    hosts = pod.get("spec", {}).get("nodeName", "")
    main = _of_container(status.get("containerStatuses", ()))
    over = main.get("state", {}).get("terminated")
    if _node_is_gone(pod, over):
        words = _newest(events, _OUTSIDE) or "NodeLost: its node does not answer"
        return PodState(JobStatus(BlockState.failed, words, hosts), lost=True)
    if over is not None and status.get("reason") not in ("Evicted", *_FINISHED):
        return PodState(_ended(over, hosts, _taken_away(status, events)))
    phase = status.get("phase", "Pending")
    if phase == "Succeeded":
        return PodState(JobStatus(BlockState.finished, "exit status 0", hosts))
    if phase == "Failed":
        return PodState(_failed(status, hosts))
    if "running" in main.get("state", {}):
        # A node that does not answer is told with the block, which runs on until Kubernetes gives it up.
        words = "" if _is_ready(status) is not False else _newest(events, _OUTSIDE)
        return PodState(JobStatus(BlockState.running, words, hosts))
    return _waiting(status, main, events, hosts)


def state_of_deleted(pod: dict[str, Any], events: Sequence[PodEvent]) -> JobStatus:
    """Return the status of a pod that is gone and that parslab has not deleted; ``pod`` is the last seen of it."""
    found = pod_state(pod, events).status
    if found.state in (BlockState.finished, BlockState.failed):
        return found
    words = _taken_away(pod.get("status", {}), events)
    if words:
        return JobStatus(BlockState.failed, words, found.hosts)
    return JobStatus(BlockState.scaled_in, "somebody deleted its pod", found.hosts)


# ----- ended


def _taken_away(status: dict[str, Any], events: Sequence[PodEvent]) -> str:
    """Return why Kubernetes took the pod away; empty if it did not."""
    condition = _condition(status, "DisruptionTarget")
    return _worded(condition.get("reason", ""), condition.get("message", "")) or _newest(events, _OUTSIDE)


def _ended(over: dict[str, Any], hosts: str, taken_away: str) -> JobStatus:
    """Return how the container ended."""
    left = ended(int(over.get("exitCode", 1)))
    if taken_away and left.state is BlockState.failed:
        return JobStatus(left.state, f"{taken_away} ({left.reason})", hosts)
    reason = over.get("reason", "")
    if reason in ("", "Completed", "Error"):
        return JobStatus(left.state, left.reason, hosts)
    words = _worded(reason, over.get("message", ""))
    if left.state is BlockState.finished:  # what was killed was not the command itself
        return JobStatus(left.state, f"{left.reason} ({words})", hosts)
    return JobStatus(left.state, _advised(f"{words} ({left.reason})"), hosts)


def _failed(status: dict[str, Any], hosts: str) -> JobStatus:
    """Return why a pod has failed whose container did not end by itself."""
    reason, message = status.get("reason", ""), status.get("message", "")
    if reason in _FINISHED:
        words = _worded(reason, message)
        return JobStatus(BlockState.finished, f"{_FINISHED[reason]} ({words})", hosts)
    for one in status.get("initContainerStatuses", ()):
        over = one.get("state", {}).get("terminated")
        if over is not None and over.get("exitCode"):
            return JobStatus(BlockState.failed, _advised(_of_init(one["name"], over)), hosts)
    return JobStatus(BlockState.failed, _advised(_worded(reason, message) or "its pod has failed"), hosts)


def _of_init(name: str, over: dict[str, Any]) -> str:
    words = "" if over.get("reason") in ("", None, "Error") else f", {_worded(over['reason'], over.get('message', ''))}"
    return f"init container {name} failed: {ended(int(over.get('exitCode', 1))).reason}{words}"


def _node_is_gone(pod: dict[str, Any], over: dict[str, Any] | None) -> bool:
    """Return whether Kubernetes deletes a pod whose node does not answer, so that it could not end in order."""
    if pod.get("status", {}).get("reason") == "NodeLost":
        return True
    deleted = bool(pod.get("metadata", {}).get("deletionTimestamp"))
    ready = _condition(pod.get("status", {}), "Ready")
    # The node itself gives a reason for a pod that is not ready; for a lost node it is left as it was, or empty.
    silent = ready.get("status") == "False" and not str(ready.get("reason") or "").startswith(("Containers", "Pod"))
    return deleted and over is None and silent and bool(pod.get("spec", {}).get("nodeName"))


# ----- waiting


def _waiting(status: dict[str, Any], main: dict[str, Any], events: Sequence[PodEvent], hosts: str) -> PodState:
    """Return why a pod does not run yet."""
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        words = _worded(scheduled.get("reason", ""), scheduled.get("message", ""))
        return PodState(JobStatus(BlockState.queued, _advised(words), hosts))
    for one in (*status.get("initContainerStatuses", ()), main):
        wait = one.get("state", {}).get("waiting", {})
        if wait.get("reason") in _STUCK:
            words = _worded(wait["reason"], wait.get("message", ""))
            last = one.get("lastState", {}).get("terminated")
            if last is not None:
                words += f" ({ended(int(last.get('exitCode', 1))).reason})"
            elif wait["reason"] == "ImagePullBackOff":
                # This one only says that it waits; the event says what was wrong with the image.
                said = [event.message for event in events if event.reason == "Failed" and "pull" in event.message]
                words = _worded(wait["reason"], said[-1]) if said else words
            kind = "init container " + one["name"] + " does not start: " if one is not main else ""
            return PodState(JobStatus(BlockState.queued, _advised(kind + words), hosts), stuck=True)
    latest = events[-1] if events else None
    if latest is not None and latest.warning and latest.reason.startswith(("Failed", "Exceeded", "Evict")):
        words = _worded(latest.reason, latest.message)
        return PodState(JobStatus(BlockState.queued, _advised(words), hosts), stuck=latest.reason in _STUCK)
    reason = main.get("state", {}).get("waiting", {}).get("reason", "")
    return PodState(JobStatus(BlockState.queued, reason, hosts))


# ----- parts


def _of_container(statuses: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return next((one for one in statuses if one.get("name") == CONTAINER), {})


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((one for one in status.get("conditions", ()) if one.get("type") == kind), {})


def _is_ready(status: dict[str, Any]) -> bool | None:
    found = _condition(status, "Ready").get("status")
    return None if found is None else found == "True"


def _newest(events: Sequence[PodEvent], pattern: re.Pattern[str]) -> str:
    """Return the words of the newest event whose reason matches; empty if there is none."""
    found = [event for event in events if pattern.search(event.reason)]
    return _worded(found[-1].reason, found[-1].message) if found else ""


def _worded(reason: str, message: str) -> str:
    message = " ".join(message.split()).rstrip(". ")
    return f"{reason}: {message}" if reason and message else reason or message


def _advised(words: str) -> str:
    """Return words of Kubernetes, and what the user can do."""
    what = next((what for pattern, what in _ADVICE if re.search(pattern, words)), "")
    return f"{words}: {what}, and load again" if what else words
