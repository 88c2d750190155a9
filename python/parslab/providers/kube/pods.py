"""Makes the objects of a block: its pods, and the secret that owns the pods of a run's executor [pure].

The secret has the invitation of the run, so that its keys are in no description of a pod.  Kubernetes deletes the pods
when the secret is deleted, because it is their owner.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from parslab.providers.kube.names import (
    JOB,
    LABELS,
    MANAGED_BY,
    RELAY,
    labels_of,
    object_name,
    parts_of,
    pod_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parslab.launchers import Launcher
    from parslab.providers.base import Job

__all__ = [
    "CONTAINER",
    "INVITATION",
    "PodSettings",
    "owner_manifest",
    "owner_name",
    "pod_manifests",
    "pod_script",
    "relay_manifest",
    "relay_name",
]

CONTAINER = "parslab"
"""The name of the container that runs the managers."""
INVITATION = "invitation"
"""The key of the invitation in the secret."""
_MOUNTED = "/var/run/parslab-run"
_VOLUME = "parslab-run"
_GRACE = 10
"""Seconds between asking a pod to end and killing it."""

_RELAY_REQUESTS = {"cpu": "50m", "memory": "64Mi"}
_RELAY_LIMITS = {"cpu": "1", "memory": "256Mi"}
_RELAY_SCRIPT = """\
trap 'exit 0' TERM INT
left=60
while [ "$left" -gt 0 ]; do
  if [ -e "/tmp/parslab-agent-$(id -u)-{token}/door" ]; then left=60; else left=$((left - 1)); fi
  sleep 5 & wait $!
done
"""
"""What a relay's container does beside the agent: it ends when there has been no agent for five minutes."""

_MOUNT_KEYS = ("mountPath", "readOnly", "subPath", "mountPropagation")


class PodSettings(Protocol):
    """What this module reads of a :class:`~parslab.providers.kube.provider.KubernetesProvider`."""

    nodes_per_block: int
    launcher: Launcher
    worker_init: str
    image: str
    max_cpu: float
    max_mem: str
    init_cpu: float
    init_mem: str
    extra_requests: Mapping[str, str]
    extra_limits: Mapping[str, str]
    pod_name: str | None
    user_id: int | None
    group_id: int | None
    run_as_non_root: bool
    secret: str | None
    image_pull_secrets: Sequence[str]
    persistent_volumes: Sequence[Mapping[str, str]]
    volumes: Sequence[Mapping[str, Any]]
    service_account_name: str | None
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    security_context: Mapping[str, Any]
    node_selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, Any]]
    init_containers: Sequence[Mapping[str, Any]]
    template: Mapping[str, Any]
    walltime: float | None


def owner_name(job: str) -> str:
    """Return the name of the secret of a job's run and executor."""
    parts = parts_of(job)
    return object_name("parslab", parts.run, parts.executor)


def owner_manifest(job: Job, invitation: str) -> dict[str, Any]:
    """Return the secret with the invitation of the run; nobody may log it."""
    labels = {name: value for name, value in labels_of(job.name).items() if name != "parslab-block"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": owner_name(job.name), "labels": labels},
        "type": "Opaque",
        "stringData": {INVITATION: invitation} if invitation else {},
    }


def pod_manifests(settings: PodSettings, job: Job, owner: str) -> list[dict[str, Any]]:
    """Return the pods of a block.

    Parameters
    ----------
    settings
        The provider.
    job
        The block.
    owner
        The uid of the secret that owns them.
    """
    made = _pod(settings, job, owner)
    names = pod_names(settings.pod_name or "parslab", job.name, settings.nodes_per_block)
    pods: list[dict[str, Any]] = []
    for name in names:
        pod = _merged(made, settings.template)
        # What makes a pod ours is not the template's to change.
        pod["metadata"] |= {"name": name, "ownerReferences": made["metadata"]["ownerReferences"]}
        pod["metadata"]["labels"] |= labels_of(job.name)
        pod["metadata"]["annotations"] |= {JOB: job.name}
        pods.append(pod)
    return pods


def relay_name(job: str, owner: str) -> str:
    """Return the name of the pod that relays connections for a job's executor."""
    parts = parts_of(job)
    return object_name("parslab", parts.run, parts.executor, "relay", owner[:8])


def relay_manifest(settings: PodSettings, job: Job, owner: str) -> dict[str, Any]:
    """Return the pod that relays connections for the executor of a job.

    It has the image and the place of the other pods, but neither their resources nor the data that they mount.
    """
    pod: dict[str, Any] = _merged(_pod(settings, job, owner), settings.template)
    labels = labels_of(job.name)
    # Not the labels by which the pods of blocks are found.
    pod["metadata"] |= {"name": relay_name(job.name, owner), "ownerReferences": [_owned_by(job, owner)]}
    pod["metadata"]["labels"] = {**settings.labels, MANAGED_BY: "parslab", RELAY: labels[LABELS[0]]}
    spec = pod["spec"]
    for name in ("initContainers", "activeDeadlineSeconds"):
        spec.pop(name, None)
    container = next(one for one in spec["containers"] if one["name"] == CONTAINER)
    spec["containers"] = [container]
    spec["volumes"] = [
        one for one in spec.get("volumes", ()) if "persistentVolumeClaim" not in one and one["name"] != _VOLUME
    ]
    kept = {one["name"] for one in spec["volumes"]}
    container["volumeMounts"] = [one for one in container.get("volumeMounts", ()) if one["name"] in kept]
    container["command"] = ["bash", "-c", _for_kubernetes(_RELAY_SCRIPT.format(token=owner))]
    container["resources"] = {"requests": _RELAY_REQUESTS, "limits": _RELAY_LIMITS}
    return pod


def _owned_by(job: Job, owner: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "name": owner_name(job.name), "uid": owner}


def _pod(settings: PodSettings, job: Job, owner: str) -> dict[str, Any]:
    pull = [*([settings.secret] if settings.secret else []), *settings.image_pull_secrets]
    volumes, mounts = _volumes(settings, job)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE,
        "enableServiceLinks": False,
        "serviceAccountName": settings.service_account_name,
        # Tasks get credentials of the cluster only where the user names an account for them.
        "automountServiceAccountToken": None if settings.service_account_name else False,
        "activeDeadlineSeconds": None if settings.walltime is None else round(settings.walltime),
        "imagePullSecrets": [{"name": name} for name in pull],
        "nodeSelector": dict(settings.node_selector),
        "tolerations": list(settings.tolerations),
        "initContainers": list(settings.init_containers),
        "containers": [_container(settings, job, mounts)],
        "volumes": volumes,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "labels": dict(settings.labels),
            "annotations": dict(settings.annotations),
            "ownerReferences": [_owned_by(job, owner)],
        },
        "spec": {name: value for name, value in spec.items() if value not in (None, [], {})},
    }


def _container(settings: PodSettings, job: Job, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    context: dict[str, Any] = {
        "runAsUser": settings.user_id,
        "runAsGroup": settings.group_id,
        "runAsNonRoot": settings.run_as_non_root or None,
        **settings.security_context,
    }
    context = {name: value for name, value in context.items() if value is not None}
    requests = {"cpu": f"{settings.init_cpu:g}", "memory": settings.init_mem, **settings.extra_requests}
    limits = {"cpu": f"{settings.max_cpu:g}", "memory": settings.max_mem, **settings.extra_limits}
    found: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.image,
        "command": ["bash", "-c", _for_kubernetes(pod_script(settings, job))],
        "env": [{"name": name, "value": _for_kubernetes(value)} for name, value in settings.environment.items()],
        "resources": {"requests": requests, "limits": limits},
        "securityContext": context,
        "volumeMounts": mounts,
    }
    return {name: value for name, value in found.items() if value not in ([], {})}


def _volumes(settings: PodSettings, job: Job) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the volumes of a pod, and where its container mounts them."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if job.invitation:
        volumes.append({"name": _VOLUME, "secret": {"secretName": owner_name(job.name)}})
        mounts.append({"name": _VOLUME, "mountPath": _MOUNTED, "readOnly": True})
    for number, claim in enumerate(settings.persistent_volumes):
        name = object_name("claim", f"{number}")
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim["claim"]}})
        mounts.append({"name": name, "mountPath": claim["path"]})
    for volume in settings.volumes:
        # A volume may be mounted at several paths.
        if volume["name"] not in [known["name"] for known in volumes]:
            volumes.append({key: value for key, value in volume.items() if key not in _MOUNT_KEYS})
        mounts.append({key: volume[key] for key in ("name", *_MOUNT_KEYS) if key in volume})
    return volumes, mounts


def pod_script(settings: PodSettings, job: Job) -> str:
    """Return what the container runs; it holds no secret."""
    lines = [
        f"# Block {job.name}",
        # Kubernetes has one log for both, and would mix up their lines.
        "exec 2>&1",
        'export HOME="${HOME:-/tmp}"',
    ]
    if settings.walltime is not None:
        ends = f"$(($(date +%s) + {settings.walltime:.0f}))"
        lines.append(f"export PARSLAB_WALLTIME={settings.walltime:g} PARSLAB_JOB_ENDS={ends}")
    if job.invitation:
        lines.append(f"exec 8< {_MOUNTED}/{INVITATION}; export PARSLAB_INVITATION=/dev/fd/8")
    lines += [
        "# The signal that ends the pod reaches this shell only, and it passes it on.",
        "set -m",
        "(",
        settings.worker_init.strip("\n"),
        settings.launcher.script(job.command, 1),
        ") &",
        "set +m",  # without it bash would write to the log that the job has ended
        "child=$!; trap 'kill -TERM -- \"-$child\" 2> /dev/null' TERM INT HUP",
        'wait "$child"; status=$?',
        'while kill -0 "$child" 2> /dev/null; do wait "$child"; status=$?; done',
        'exit "$status"',
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _for_kubernetes(text: str) -> str:
    """Return a text from which Kubernetes makes the given one: it replaces ``$(NAME)`` by a variable, and ``$$``.

    Examples
    --------
    >>> _for_kubernetes("echo $$ $(HOME) $(date +%s)")
    'echo $$$ $$(HOME) $(date +%s)'
    """
    return re.sub(r"\$(?=\$|\([A-Za-z0-9_.-]+\))", "$$", text)


def _merged(ours: Any, theirs: Any) -> Any:
    """Return data in which ``theirs`` replaces ``ours``; None removes a key, and named things are merged by name."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [*ours, *(key for key in theirs if key not in ours)]
        merged = {key: _merged(ours.get(key), theirs[key]) if key in theirs else ours[key] for key in keys}
        return {key: _copied(value) for key, value in merged.items() if value is not None}
    if _named(ours) and _named(theirs):
        known = {item["name"]: item for item in ours}
        new = {item["name"]: _merged(known.get(item["name"]), item) for item in theirs}
        return [new.get(name, _copied(item)) for name, item in known.items()] + [
            item for name, item in new.items() if name not in known
        ]
    return _copied(theirs)


def _named(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, dict) and "name" in item for item in value)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, (list, tuple)) else value
