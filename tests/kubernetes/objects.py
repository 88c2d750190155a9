"""What the stand-in for a cluster keeps: objects, their versions, and what has changed, for whoever watches."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from typing import Any

__all__ = ["Objects", "Refusal", "matches", "stamp"]


class Refusal(Exception):
    """An answer that refuses a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


def stamp() -> str:
    """The time as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def matches(found: dict[str, Any], query: dict[str, str]) -> bool:
    """Whether an object is selected."""
    labels = found["metadata"].get("labels", {})
    wanted = [pair.split("=", 1) for pair in query.get("labelSelector", "").split(",") if pair]
    return all(labels.get(name) == value for name, value in wanted)


class Objects:
    """All objects of one namespace; ``changes`` is notified when one has changed, and is their lock."""

    def __init__(self) -> None:
        self.changes = threading.Condition(threading.RLock())
        self.version = 100
        self.forgotten = 100
        """Changes up to this version are not known any more."""
        self._kept: dict[tuple[str, str], dict[str, Any]] = {}
        self._log: list[tuple[int, str, str, dict[str, Any]]] = []

    def all(self, kind: str) -> list[dict[str, Any]]:
        with self.changes:
            return [found for (of, _), found in self._kept.items() if of == kind]

    def get(self, kind: str, name: str) -> dict[str, Any]:
        with self.changes:
            found = self._kept.get((kind, name))
            if found is None:
                raise Refusal(404, "NotFound", f'{kind} "{name}" not found')
            return found

    def create(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        with self.changes:
            name = given["metadata"]["name"]
            if (kind, name) in self._kept:
                raise Refusal(409, "AlreadyExists", f'{kind} "{name}" already exists')
            found = copy.deepcopy(given)
            found["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(), "namespace": "default"}
            self._kept[kind, name] = found
            self.note("ADDED", kind, found)
            return found

    def note(self, change: str, kind: str, found: dict[str, Any]) -> None:
        """Tell whoever watches of a change that was made to an object."""
        with self.changes:
            self.version += 1
            found["metadata"]["resourceVersion"] = f"{self.version}"
            self._log.append((self.version, change, kind, copy.deepcopy(found)))
            self.changes.notify_all()

    def remove(self, kind: str, name: str) -> None:
        with self.changes:
            self.note("DELETED", kind, self._kept.pop((kind, name)))

    def since(self, version: int, kind: str) -> list[tuple[int, str, dict[str, Any]]]:
        with self.changes:
            return [(at, change, found) for at, change, of, found in self._log if at > version and of == kind]

    def forget_changes(self) -> None:
        """Know no earlier change any more, as a server does after some minutes."""
        with self.changes:
            self.forgotten = self.version
            self.changes.notify_all()
