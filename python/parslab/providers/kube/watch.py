"""Follows the objects of one kind in a cluster: a list first, then each change as Kubernetes reports it [shell].

One thread follows.  Kubernetes ends a watch after a time, and the thread begins another one where it ended.  Where that
is too long ago, or the connection broke, it asks for the list again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from parslab.providers.kube.failures import KubernetesError

if TYPE_CHECKING:
    from parslab.providers.kube.cluster import ClusterNamespace, OpenAnswer

__all__ = ["Watch", "Watcher"]

_LENGTH = 50
"""Seconds after which Kubernetes shall end a watch, so that a connection that was cut is noticed soon."""
_SILENCE = _LENGTH + 15.0
_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the list is asked for again after a failure; the last one repeats."""


class Watcher(Protocol):
    """Whoever a watch reports to, in the thread of the watch."""

    def listing(self) -> None:
        """Note that a list is about to be asked for; what is made from now on may not be in it."""

    def listed(self, objects: list[dict[str, Any]]) -> None:
        """Handle all objects that there are."""

    def changed(self, kind: str, found: dict[str, Any]) -> None:
        """Handle an object that was added, modified or deleted; ``kind`` is Kubernetes' word in capitals."""


class Watch:
    """Follows objects.

    Parameters
    ----------
    cluster
        The cluster.
    path
        The kind of the objects.
    query
        Which of them.
    watcher
        Gets what is found.

    Attributes
    ----------
    trouble
        Why nothing is known now; None while all is well.
    """

    def __init__(self, cluster: ClusterNamespace, path: str, query: dict[str, str], watcher: Watcher) -> None:
        self.trouble: KubernetesError | None = None
        self._cluster, self._path, self._query, self._watcher = cluster, path, query, watcher
        self._listed = threading.Event()
        self._closed = threading.Event()
        self._stream: OpenAnswer | None = None
        self._thread = threading.Thread(target=self._follow, name=f"parslab-{path}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until the first list was asked for; return whether there is one."""
        self._listed.wait(seconds)
        return self._listed.is_set() and self.trouble is None

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            stream.stop()
        self._thread.join(5.0)

    def _follow(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                version = self._list()
                failures = 0
                while version and not self._closed.is_set():
                    version = self._watch(version)
            except KubernetesError as error:
                if not self._closed.is_set():
                    self.trouble = error
            except (ValueError, KeyError, TypeError) as error:  # an answer that is no answer of Kubernetes
                self.trouble = KubernetesError(f"Kubernetes sent what cannot be read ({error}).", transient=True)
            self._listed.set()
            self._closed.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])
            failures += 1

    def _list(self) -> str:
        """Ask for all objects; return the version of the list."""
        self._watcher.listing()
        found = self._cluster.get(self._path, **self._query)
        self._watcher.listed(found.get("items") or [])
        self.trouble = None
        self._listed.set()
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        """Report changes since a version; return the last version, or nothing where the list is needed again."""
        stream = self._cluster.stream(
            self._path,
            _SILENCE,
            **self._query,
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=version,
            timeoutSeconds=f"{_LENGTH}",
        )
        self._stream = stream
        if self._closed.is_set():
            stream.stop()
        for event in stream.lines():
            if event["type"] == "ERROR":
                return ""
            version = str(event["object"]["metadata"]["resourceVersion"])
            if event["type"] != "BOOKMARK":
                self._watcher.changed(event["type"], event["object"])
        return version
