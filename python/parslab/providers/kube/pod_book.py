"""Keeps what a cluster reports of the pods of a run's executor: the last state of each, and its events [core]."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from parslab.providers.kube.pod_states import PodEvent, PodState, event_of, pod_state, state_of_deleted
from parslab.records.states import ENDED

__all__ = ["EventBook", "PodBook"]

_EVENTS = 200
"""Events that are kept of a pod, the newest."""


@dataclass(eq=False)
class _Pod:
    found: dict[str, Any]
    gone: bool = False


class EventBook:
    """The events of pods; only of those whose names are known, because others use the namespace, too."""

    def __init__(self) -> None:
        self._wanted: dict[str, dict[str, PodEvent]] = {}

    def want(self, names: list[str]) -> None:
        """Keep the events of these pods from now on."""
        for name in names:
            self._wanted.setdefault(name, {})

    def forget(self, names: list[str]) -> None:
        """Keep them no longer."""
        for name in names:
            self._wanted.pop(name, None)

    def of(self, name: str) -> list[PodEvent]:
        """Return the events of a pod, in the order of their last time."""
        return sorted(self._wanted.get(name, {}).values(), key=lambda event: event.time)

    def listing(self) -> None:
        """Note that a list is about to be asked for."""

    def listed(self, objects: list[dict[str, Any]]) -> None:
        """Handle all events that there are."""
        for found in objects:
            self.changed("ADDED", found)

    def changed(self, kind: str, found: dict[str, Any]) -> None:
        """Handle a new event, or one that has happened again."""
        kept = self._wanted.get(found.get("involvedObject", {}).get("name", ""))
        if kept is not None and kind != "DELETED":
            # The newest takes the last place; one that has happened again has the same uid.
            key = found["metadata"]["uid"]
            kept.pop(key, None)
            kept[key] = event_of(found)
            while len(kept) > _EVENTS:
                kept.pop(next(iter(kept)))


class PodBook:
    """The pods, by name; the thread of the watch writes, and other threads read.

    Parameters
    ----------
    events
        Their events.
    """

    def __init__(self, events: EventBook) -> None:
        self._events = events
        self._pods: dict[str, _Pod] = {}
        self._asked_for: set[str] = set()
        self._forgotten: set[str] = set()
        # The threads that read see a list whole.
        self._lock = threading.Lock()

    def state(self, name: str) -> PodState | None:
        """Return the state of a pod, also of one that is gone; None if nothing was ever seen of it."""
        with self._lock:
            pod = self._pods.get(name)
            if pod is None:
                return None
            found, gone = pod.found, pod.gone
        events = self._events.of(name)
        return PodState(state_of_deleted(found, events)) if gone else pod_state(found, events)

    def is_gone(self, name: str) -> bool:
        """Return whether a pod was seen and is gone."""
        with self._lock:
            pod = self._pods.get(name)
            return pod is not None and pod.gone

    def has_log(self, name: str) -> bool:
        """Return whether the container of a pod has begun."""
        state = self.state(name)
        return state is not None and (state.status.state.value == "running" or state.status.state in ENDED)

    def present(self) -> list[str]:
        """Return the names of the pods that there are."""
        with self._lock:
            return [name for name, pod in self._pods.items() if not pod.gone]

    def add(self, found: dict[str, Any]) -> None:
        """Handle a pod that was just made; the watch may have reported more of it already."""
        with self._lock:
            known = self._pods.get(found["metadata"]["name"])
            if known is None or known.found["metadata"].get("uid") != found["metadata"].get("uid"):
                self._pods[found["metadata"]["name"]] = _Pod(found)

    def forget(self, names: list[str]) -> None:
        """Forget pods whose blocks have ended."""
        with self._lock:
            self._forgotten.update(names)
            for name in names:
                self._pods.pop(name, None)

    def listing(self) -> None:
        """Note that a list is about to be asked for: a pod that is made from now on may not be in it."""
        with self._lock:
            self._asked_for = set(self._pods)

    def listed(self, objects: list[dict[str, Any]]) -> None:
        """Handle all pods that there are."""
        with self._lock:
            found = {pod["metadata"]["name"]: pod for pod in objects}
            for name in self._asked_for - found.keys():
                if name in self._pods:
                    self._pods[name].gone = True
            self._pods.update({name: _Pod(pod) for name, pod in found.items() if name not in self._forgotten})

    def changed(self, kind: str, found: dict[str, Any]) -> None:
        """Handle a change of a pod."""
        with self._lock:
            name = found["metadata"]["name"]
            if name not in self._forgotten:
                self._pods[name] = _Pod(found, kind == "DELETED")
