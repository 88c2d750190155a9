"""The provider of blocks that are pods of Kubernetes."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.description import (
    Choice,
    Duration,
    Number,
    PathText,
    PlainData,
    PlainRows,
    Text,
    Texts,
    Variables,
    Whole,
    YesNo,
)
from parslab.errors import ConfigurationError, OptionalModuleMissing
from parslab.providers.base import Job, Provider

if TYPE_CHECKING:
    from collections.abc import Mapping, Set
    from pathlib import Path

    from parslab.providers.kube.runner import PodRunner

__all__ = ["KubernetesProvider"]

_MODULE = "kubernetes"


class KubernetesProvider(Provider):
    """Blocks are pods of a Kubernetes cluster.

    The cluster is that of the user's ``kubeconfig``, or the one in which this process runs, with the pod's service
    account.  The image needs bash, Python and the notebook's version of parslab, which ``worker_init`` may install.
    Pods share no disk with the notebook's host, so the executor moves the Files of apps.

    Kubernetes reports each change of a pod, and parslab shows why a pod does not start in Kubernetes' own words.  Logs
    and events of pods are kept beside the files of their blocks.  Ended pods are deleted.

    For the options that are not described here see :class:`~parslab.providers.Provider`.

    Parameters
    ----------
    image
        The image of the pods.
    namespace
        The namespace, which must exist.
    nodes_per_block
        Pods of each block.
    max_cpu, max_mem
        The limits of a pod: cores, and memory as Kubernetes writes it (``"500Mi"``, ``"4Gi"``).
    init_cpu, init_mem
        What a pod requests; a node must have as much free.
    extra_requests, extra_limits
        More resources, such as ``{"nvidia.com/gpu": "1"}``.
    pod_name
        The beginning of the names of pods; None means ``parslab``.
    user_id, group_id
        The user and group that the container runs as.
    run_as_non_root
        Whether Kubernetes refuses to run the container as root.
    secret
        The secret with the login for the image's registry; ``image_pull_secrets`` takes several.
    persistent_volumes
        Pairs of a persistent volume claim and the path where it is mounted.
    volumes
        More volumes, as Kubernetes describes them, each with ``mountPath`` and, if wanted, ``readOnly`` and
        ``subPath``: ``{"name": "data", "nfs": {...}, "mountPath": "/data"}``.
    service_account_name
        The service account of the pods; without it they get no credentials of the cluster.
    annotations, labels
        More annotations and labels of the pods.
    environment
        Environment variables of the container.
    security_context
        The security context of the container, as Kubernetes describes it.
    node_selector, tolerations
        Which nodes take the pods.
    init_containers
        Containers that run before, as Kubernetes describes them.
    template
        A pod, as Kubernetes describes it, whose fields replace those that parslab makes.  Dictionaries are merged, and
        lists of things with names by their names; parslab's container has the name ``parslab``.
    walltime
        The time after which Kubernetes ends a pod, whatever becomes of the run; None means no limit.
    route
        How managers reach this host: ``"direct"``; ``"relay"``, by a small pod of the run to which this host connects
        through the API server, so that pods need no way to this host; or ``"auto"``, directly if that works.  A relay
        needs a role with ``get`` and ``create`` of ``pods/exec``.  In the cluster itself ``"auto"`` is ``"direct"``.
    notebook_address
        The address at which pods reach this host, where that is none of its own; ports stay the same.
    kubeconfig, context
        The configuration file and the context in it; None means those that kubectl would take.

    Examples
    --------
    >>> KubernetesProvider("ghcr.io/me/science:1", namespace="team", max_cpu=4, max_mem="8Gi", max_blocks=10)
    KubernetesProvider(max_blocks=10, image='ghcr.io/me/science:1', namespace='team', max_cpu=4.0, max_mem='8Gi')
    """

    positional: ClassVar[tuple[str, ...]] = (
        "image",
        "namespace",
        "nodes_per_block",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "max_cpu",
        "max_mem",
        "init_cpu",
        "init_mem",
        "extra_requests",
        "extra_limits",
        "parallelism",
        "worker_init",
        "pod_name",
        "user_id",
        "group_id",
        "run_as_non_root",
        "secret",
        "persistent_volumes",
        "service_account_name",
        "annotations",
    )
    none_means_default: ClassVar[frozenset[str]] = frozenset(
        {"extra_requests", "extra_limits", "annotations", "persistent_volumes"}
    )
    remote: ClassVar[bool] = True

    image = Text(None)
    namespace = Text("default")
    max_cpu = Number(2.0, above=0)
    max_mem = Text("500Mi")
    init_cpu = Number(1.0, low=0)
    init_mem = Text("250Mi")
    extra_requests = Variables({})
    extra_limits = Variables({})
    pod_name = Text(None)
    user_id = Whole(None, low=0)
    group_id = Whole(None, low=0)
    run_as_non_root = YesNo(False)
    secret = Text(None)
    image_pull_secrets = Texts(())
    persistent_volumes = PlainRows(())
    volumes = PlainRows(())
    service_account_name = Text(None)
    annotations = Variables({})
    labels = Variables({})
    environment = Variables({})
    security_context = PlainData({})
    node_selector = Variables({})
    tolerations = PlainRows(())
    init_containers = PlainRows(())
    template = PlainData({})
    walltime = Duration(None, low=60.0)
    route = Choice("auto", ("auto", "direct", "relay"))
    notebook_address = Text(None)
    kubeconfig = PathText(None)
    context = Text(None)

    @property
    def tunnelled(self) -> bool:
        """Whether all managers reach this host through a connection that this host opens."""
        return bool(self.route == "relay")

    def translated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        found = super().translated(options)
        for name in ("user_id", "group_id"):
            # Parsl's programs give numbers as texts.
            if isinstance(found.get(name), str) and found[name].isdecimal():
                found[name] = int(found[name])
        claims = found.get("persistent_volumes")
        if isinstance(claims, (list, tuple)):
            found["persistent_volumes"] = tuple(map(_claim, claims))
        return found

    def complete(self, given: Set[str]) -> None:
        super().complete(given)
        if "init_cpu" in given and "max_cpu" not in given:
            self.max_cpu = max(self.max_cpu, self.init_cpu)
        elif "max_cpu" in given and "init_cpu" not in given:
            self.init_cpu = min(self.max_cpu, self.init_cpu)

    def check(self) -> None:
        super().check()
        if self.pod_name is not None and not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", self.pod_name):
            raise ConfigurationError(
                f"KubernetesProvider: pod_name begins the names of pods, so {self.pod_name!r} must be at most 40 "
                "lower-case letters, digits and '-', the first a letter."
            )
        for volume in self.volumes:
            if not {"name", "mountPath"} <= volume.keys():
                raise ConfigurationError(
                    f"KubernetesProvider: each of volumes needs name and mountPath, and {volume!r} does not have both."
                )
        for claim in self.persistent_volumes:
            if claim.keys() != {"claim", "path"}:
                raise ConfigurationError(
                    "KubernetesProvider: persistent_volumes takes pairs of a claim and a path, such as "
                    f'("data", "/data"), not {claim!r}.'
                )

    def require(self) -> None:
        if find_spec(_MODULE) is None:
            raise OptionalModuleMissing("kubernetes, which KubernetesProvider needs,", "kubernetes")
        if not self.image:
            raise ConfigurationError(
                "KubernetesProvider: image must name a container image with bash, Python and parslab; worker_init may "
                "install parslab."
            )

    def script(self, job: Job) -> str:
        # Here, because the user's process rarely needs what writes it.
        from parslab.providers.kube.manifest_text import manifest_text
        from parslab.providers.kube.pods import owner_manifest, pod_manifests

        shown = owner_manifest(job, '{"for": "the pods only"}' if job.invitation else "")
        return manifest_text([shown, *pod_manifests(self, job, "(known when it runs)")])

    def runner(self, folder: Path) -> PodRunner:
        # The user's process needs only the description, so it does not load what makes requests.
        from parslab.providers.kube.cluster import ClusterNamespace
        from parslab.providers.kube.runner import PodRunner

        self.require()
        return PodRunner(self, ClusterNamespace(self.namespace, self.kubeconfig, self.context, float(self.cmd_timeout)))


def _claim(given: Any) -> Any:
    """Return a volume claim in the form in which it is kept; something else stays as it is, for ``check``."""
    if isinstance(given, (list, tuple)) and len(given) == 2 and all(isinstance(part, str) for part in given):
        return {"claim": given[0], "path": given[1]}
    return given
