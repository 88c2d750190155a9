"""The secret that owns the pods of a run's executor: it is there while one of them is [shell].

It has the invitation of the run.  Kubernetes deletes the pods of an owner that is gone, so nobody may delete the secret
while a pod is being made.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from parslab.providers.kube.failures import KubernetesError
from parslab.providers.kube.names import selector_of
from parslab.providers.kube.pods import owner_manifest, owner_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Job
    from parslab.providers.kube.cluster import ClusterNamespace

__all__ = ["PodOwner"]


class PodOwner:
    """The owner of the pods of one executor.

    Parameters
    ----------
    cluster
        The cluster.
    """

    def __init__(self, cluster: ClusterNamespace) -> None:
        self._cluster = cluster
        # Threads of one controller submit and cancel at the same time, and the count of submissions is theirs.
        self._lock = threading.Lock()
        self._uid = ""
        self._submitting = 0

    @contextlib.contextmanager
    def held(self, job: Job, invitation: str) -> Iterator[str]:
        """Give the uid of the secret, which is not deleted meanwhile.

        Raises
        ------
        KubernetesError
            It cannot be made.
        """
        with self._lock:
            if not self._uid:
                self._uid = self._made(job, invitation)
            self._submitting += 1
        try:
            yield self._uid
        finally:
            with self._lock:
                self._submitting -= 1

    def _made(self, job: Job, invitation: str) -> str:
        manifest = owner_manifest(job, invitation)
        try:
            found = self._cluster.create("secrets", manifest)
        except KubernetesError as error:
            if error.status != 409:
                raise
            # An earlier process of the run has made it; the invitation may be another one now.
            found = self._cluster.change(f"secrets/{owner_name(job.name)}", {"stringData": manifest["stringData"]})
        return str(found["metadata"]["uid"])

    def found(self, job: Job) -> str:
        """Return the uid of the secret that an earlier process of the run has made.

        Raises
        ------
        KubernetesError
            There is none, or Kubernetes does not answer.
        """
        with self._lock:
            return self._uid or str(self._cluster.get(f"secrets/{owner_name(job.name)}")["metadata"]["uid"])

    def tell(self, job: Job, invitation: str) -> None:
        """Give the pods that are made from now on another invitation.

        Raises
        ------
        KubernetesError
            Kubernetes did not do it.
        """
        content = owner_manifest(job, invitation)["stringData"]
        self._cluster.change(f"secrets/{owner_name(job.name)}", {"stringData": content})

    def release(self, job: str) -> bool:
        """Delete the secret, if no pod needs it any more; return whether it is deleted.

        Parameters
        ----------
        job
            The name of any job of the executor.

        Raises
        ------
        KubernetesError
            Kubernetes did not do it.
        """
        with self._lock:
            if self._submitting:
                return False
            left = self._cluster.get("pods", labelSelector=selector_of(job)).get("items") or []
            if all(pod["metadata"].get("deletionTimestamp") for pod in left):
                self._cluster.delete(f"secrets/{owner_name(job)}")
                self._uid = ""
                return True
        return False
