"""Lets pods connect to a run that they cannot reach: by a small pod of the run, to which this host connects [shell].

The way leads through the API server, which this host reaches anyway: a program runs in the relay's pod, as with
``kubectl exec``, and accepts connections of managers there.  It is the agent of channels, so a connection that was lost
goes on where it was.  The keys of the run end at its two ends; the relay and the API server see CurveZMQ only.

The secret that owns the pods of the run owns the relay, too.  Without the agent, the pod ends after some minutes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

from parslab.providers.base import SubmitError
from parslab.providers.channel.connection import Connection
from parslab.providers.channel.login import LoginOrder
from parslab.providers.kube.exec_pipe import exec_command
from parslab.providers.kube.failures import KubernetesError
from parslab.providers.kube.pod_states import pod_state
from parslab.providers.kube.pods import relay_manifest, relay_name
from parslab.providers.place import PlaceUnreachable
from parslab.providers.remote_invitation import is_loopback_address, run_is_over, run_target
from parslab.providers.ssh.command import REMOTE_SHELL
from parslab.records.states import ENDED, BlockState
from parslab.wire import invitations

if TYPE_CHECKING:
    from parslab.providers.base import Job
    from parslab.providers.kube.cluster import ClusterNamespace
    from parslab.providers.kube.pods import PodSettings

__all__ = ["ExecOrder", "PodRelay"]

log = logging.getLogger(__name__)

_PORTS = (20000, 10000)
"""The first port of relays, and how many.  The port of a run is always the same, so managers find an agent that takes
the place of another one; that of another run differs, because pods may share the network of their node."""
_LOOK = 0.3
"""Seconds between two looks at a relay that does not run yet."""
_MARGIN = 30.0
"""Seconds for which an agent waits longer than managers do."""


@dataclass(frozen=True)
class ExecOrder(LoginOrder):
    """How the agent is started in a pod.

    Attributes
    ----------
    namespace, kubeconfig, context
        Where the pod is, as in :class:`~parslab.providers.kube.cluster.ClusterNamespace`; ``host`` is its name.
    """

    namespace: str = "default"
    kubeconfig: str | None = None
    context: str | None = None

    def command(self) -> list[str]:
        return exec_command(
            self.namespace,
            self.host,
            ["bash", "-c", REMOTE_SHELL.removeprefix("exec bash -c ").strip("'")],
            kubeconfig=self.kubeconfig,
            context=self.context,
            timeout=self.timeout,
        )

    def not_started(self, error: OSError) -> str:
        return f"The connection to pod {self.host} cannot be started ({error.strerror})."

    def refused(self, words: str) -> str:
        last = words.strip().splitlines()[-1] if words.strip() else "no reason is known"
        return f"Pod {self.host} relays nothing: {last}"

    def silent(self) -> str:
        return f"Pod {self.host} did not answer within {self.timeout:g} s."

    def python_failed(self, words: str) -> str:
        return (
            f"Pod {self.host} could not run {self.python} ({words}): the image needs Python, or worker_init must bring "
            "it there."
        )


class PodRelay:
    """The relay of one executor.

    Parameters
    ----------
    provider
        The provider.
    cluster
        The requests of its cluster.
    timeout
        Seconds that a request may take, and for which a block waits for the relay.
    """

    def __init__(self, provider: PodSettings, cluster: ClusterNamespace, timeout: float) -> None:
        self._provider, self._cluster, self._timeout = provider, cluster, timeout
        # Threads of one controller submit at the same time, and the first of them starts the relay.
        self._lock = threading.Lock()
        self._uid = ""
        self._pod = ""
        self._connection: Connection | None = None
        self._invitations: set[str] = set()
        self._closed = False

    def addresses(self, job: Job, owner: str) -> list[str]:
        """Start the relay if need be, and return where managers connect to it.

        Parameters
        ----------
        job
            The block for which it is needed.
        owner
            The uid of the secret that owns the run's pods.

        Raises
        ------
        KubernetesError
            Kubernetes refuses the pod.
        SubmitError
            It does not run, or not yet, or its agent does not answer.
        """
        with self._lock:
            connection = self._connected(job, owner, self._run(job, owner))
        try:
            reply = connection.agent(self._timeout)
        except PlaceUnreachable as error:
            raise SubmitError(f"{error}", error.passes) from error
        if reply["trouble"]:
            raise SubmitError(f"Pod {self._pod} cannot relay the connections of managers: {reply['trouble']}.")
        return [address for address in reply["addresses"] if not is_loopback_address(address)]

    def resume(self, job: Job, owner: str) -> None:
        """Connect to the relay that an earlier process of the run has started, because managers use it.

        Raises
        ------
        KubernetesError
            There is none, or Kubernetes does not answer.
        """
        found = self._cluster.get(f"pods/{relay_name(job.name, owner)}")
        with self._lock:
            if not self._closed:
                self._connected(job, owner, found["metadata"]["uid"])

    def drop(self) -> None:
        """End the relay, because no pod needs it any more."""
        with self._lock:
            pod, self._pod = self._pod, ""
            self._disconnect(True)
        if pod:
            with contextlib.suppress(KubernetesError):  # then Kubernetes deletes it, because its owner is gone
                self._cluster.delete(f"pods/{pod}")

    def close(self) -> None:
        """Close the connection; the relay stays for the next process of the run, unless that is over."""
        with self._lock:
            self._closed = True
            over = run_is_over(self._invitations)
            if not over:
                self._disconnect(False)
        if over:
            self.drop()

    # ----- parts; the caller has the lock

    def _run(self, job: Job, owner: str) -> str:
        """Wait until the pod of the relay runs; return its uid."""
        until = time.monotonic() + self._timeout
        manifest = relay_manifest(self._provider, job, owner)
        name = manifest["metadata"]["name"]
        while True:
            pod = self._found(name)
            found = None if pod is None else pod_state(pod)
            if pod is None:
                self._create(manifest)
            elif found is not None and found.status.state is BlockState.running and not _is_leaving(pod):
                return str(pod["metadata"]["uid"])
            elif found is not None and found.status.state in ENDED:
                log.warning("relay %s has ended (%s); another one takes its place", name, found.status.reason)
                self._cluster.delete(f"pods/{name}", 0)
            if time.monotonic() > until:
                why = "" if found is None else found.status.reason
                stuck = found is not None and (found.stuck or found.status.state in ENDED)
                yet = "" if stuck else " yet"
                raise SubmitError(f"The relay of the pods, {name}, does not run{yet} ({why}).", not stuck)
            time.sleep(_LOOK)

    def _create(self, manifest: dict[str, Any]) -> None:
        try:
            self._cluster.create("pods", manifest)
        except KubernetesError as error:
            if error.status != 409:  # an earlier process of the run has made it
                raise

    def _found(self, name: str) -> dict[str, Any] | None:
        try:
            return self._cluster.get(f"pods/{name}")
        except KubernetesError as error:
            if error.status != 404:
                raise
            return None

    def _connected(self, job: Job, owner: str, uid: str) -> Connection:
        """Return the connection to the relay with this uid; it is kept from now on."""
        if self._connection is None or self._uid != uid:
            # Not through the old connection: it may take half a minute to notice that its pod is gone.
            self._disconnect(False)
            self._uid, self._pod = uid, relay_name(job.name, owner)
            self._connection = Connection(self._order(owner), {"relay": True, "address": "", "port": _port(owner)})
            self._connection.on_new_agent = lambda reply: self._stay()
        self._invitations.add(job.invitation)
        with contextlib.suppress(OSError, ValueError, invitations.RunOver):
            self._connection.target = run_target(invitations.read(job.invitation)["addresses"])
        self._connection.keep()
        return self._connection

    def _order(self, owner: str) -> ExecOrder:
        provider = self._provider
        return ExecOrder(
            host=self._pod,
            options=(),
            python="python3",
            init=f"command -v python3 > /dev/null || {{\n{provider.worker_init or ':'}\n}}",
            timeout=self._timeout,
            token=owner,
            namespace=self._cluster.namespace,
            kubeconfig=self._cluster.kubeconfig,
            context=self._cluster.context,
        )

    def _stay(self) -> None:
        """Tell a new agent how long managers wait for a run whose process is gone."""
        for path in list(self._invitations):
            with contextlib.suppress(OSError, ValueError, KeyError, invitations.RunOver):
                content = invitations.read(path)
                seconds = content["manager"]["heartbeat_threshold"] + content["reconnect_for"] + _MARGIN
                if self._connection is not None:
                    self._connection.post("stay", seconds=seconds)

    def _disconnect(self, end_agent: bool) -> None:
        if self._connection is not None:
            self._connection.close(end_agent)
            self._connection = None


def _port(owner: str) -> int:
    first, count = _PORTS
    return first + crc32(owner.encode()) % count


def _is_leaving(pod: dict[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))
