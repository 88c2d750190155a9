"""Copies the log of a pod into a file while the pod runs, because the log goes with the pod [shell]."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from parslab.providers.kube.failures import KubernetesError
from parslab.providers.kube.pods import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.kube.cluster import ClusterNamespace, OpenAnswer

__all__ = ["PodLog"]

_SILENCE = 24 * 3600.0
"""Seconds for which a pod may write nothing; then the log is opened again."""
_PAUSE = 1.0
_LIMIT = 64 * 2**20
"""Bytes of a log that are kept."""


class PodLog:
    """The log of one pod.

    Parameters
    ----------
    cluster, pod
        The cluster, and the name of the pod.
    path
        The file.
    over
        Says whether the container has ended, so that nothing will be added.
    """

    def __init__(self, cluster: ClusterNamespace, pod: str, path: str, over: Callable[[], bool]) -> None:
        self._cluster, self._pod, self._path, self._over = cluster, pod, path, over
        self._closed = threading.Event()
        self._stream: OpenAnswer | None = None
        self._thread = threading.Thread(target=self._follow, name="parslab-pod-log", daemon=True)

    def start(self) -> None:
        """Begin to copy, in a thread."""
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait until the log of an ended container is copied, for so many seconds at most."""
        self._thread.join(seconds)
        self.close()

    def stop(self) -> None:
        """Write no more."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            stream.stop()

    def close(self) -> None:
        """Write no more, and wait for the thread."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def _follow(self) -> None:
        while not self._closed.is_set():
            # Asked first: what the container writes last comes before its end is known.
            over = self._over()
            try:
                self.copy(follow=not over)
            except KubernetesError as error:
                if error.status == 404 or (over and not error.transient):
                    return  # the pod is gone, or its container never ran
            except OSError:
                return  # the folder of the run is gone, or full
            else:
                if over or self._over():
                    return
            self._closed.wait(_PAUSE)

    def copy(self, follow: bool = False) -> None:
        """Write the log from its beginning; with ``follow`` until the container ends.

        Raises
        ------
        KubernetesError
            There is no log yet or any more, or the connection broke.
        OSError
            The file cannot be written.
        """
        query = {"container": CONTAINER, "limitBytes": f"{_LIMIT}", **({"follow": "true"} if follow else {})}
        stream = self._cluster.stream(f"pods/{self._pod}/log", _SILENCE, **query)
        self._stream = stream
        if self._closed.is_set():
            stream.close()
            return
        # Only now, so that a log that was copied before stays when there is none any more.
        with open(self._path, "wb", buffering=0) as file:
            for chunk in stream.chunks():
                file.write(chunk)
