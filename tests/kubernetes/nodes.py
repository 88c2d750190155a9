"""The only node of the stand-in for a cluster: its pods are processes of this host, and its images decide what happens.

An image ``fate/NAME`` has the fate of that name below; with any other image the container's script runs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

from tests.clouds.machines import Machine
from tests.kubernetes.objects import Refusal, stamp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kubernetes.objects import Objects

__all__ = ["FATES", "Node"]

PULL = 'rpc error: code = NotFound desc = failed to pull and unpack image "fate/image": not found'
_LOW = "The node was low on resource: memory."
_LATE = "Pod was active on the node longer than the specified deadline"
_INIT = {"name": "fetch", "state": {"terminated": {"exitCode": 7, "reason": "Error"}}}
_NO_BASH = {"exitCode": 128, "reason": "StartError", "message": 'exec: "bash": executable file not found in $PATH'}
FATES: dict[str, dict[str, Any]] = {
    "image": {"waits": ("ErrImagePull", PULL)},
    "back-off": {
        "event": ("Failed", f'Failed to pull image "fate/back-off": {PULL}'),
        "waits": ("ImagePullBackOff", "Back-off pulling image"),
    },
    "config": {"waits": ("CreateContainerConfigError", 'configmap "settings" not found')},
    "mount": {"event": ("FailedMount", 'MountVolume.SetUp failed for volume "keys" : secret "keys" not found')},
    "unschedulable": {"unschedulable": "0/3 nodes are available: 3 Insufficient memory."},
    "oom": {"ends": {"exitCode": 137, "reason": "OOMKilled"}},
    "no-bash": {"ends": _NO_BASH},
    "evicted": {"status": {"phase": "Failed", "reason": "Evicted", "message": _LOW}},
    "deadline": {"status": {"phase": "Failed", "reason": "DeadlineExceeded", "message": _LATE}},
    "init": {"status": {"phase": "Failed", "initContainerStatuses": [_INIT]}},
    "crash-loop": {"waits": ("CrashLoopBackOff", "back-off 10s restarting failed container"), "last": {"exitCode": 3}},
    "lost": {"lost": True},
    "preempted": {"disrupted": ("PreemptionByScheduler", "preempting to accommodate a higher priority pod")},
}
_GRACE = 3.0


class Node:
    """Runs the pods.

    Parameters
    ----------
    objects
        What the server keeps.
    folder
        The folder for files of pods.
    """

    def __init__(self, objects: Objects, folder: Path) -> None:
        self.objects, self.folder = objects, folder
        self._machines: dict[str, Machine] = {}
        self._kill_at: dict[str, float] = {}
        self._events = 0

    # ----- what requests do

    def log(self, name: str) -> Path:
        if name not in self._machines and not (self.folder / name / "console").exists():
            raise Refusal(400, "BadRequest", f'container "parslab" in pod "{name}" is waiting to start')
        return self.folder / name / "console"

    def environment(self, name: str) -> dict[str, str]:
        """What another command in the container of a pod gets; it ends with the pod."""
        if (self.folder / "no-exec").exists():
            raise Refusal(403, "Forbidden", 'pods "x" is forbidden: User "me" cannot create resource "pods/exec"')
        if name not in self._machines:
            raise Refusal(404, "NotFound", f'pods "{name}" not found')
        return self._machines[name].environment

    def is_over(self, name: str) -> bool:
        return name not in self._machines

    def delete(self, pod: dict[str, Any], grace: int) -> None:
        name = pod["metadata"]["name"]
        machine = self._machines.get(name)
        if grace and (machine is not None or "lost" in self._fate(pod)):
            if "deletionTimestamp" not in pod["metadata"]:
                pod["metadata"] |= {"deletionTimestamp": stamp()}
                self.objects.note("MODIFIED", "pods", pod)
            if machine is not None and name not in self._kill_at:
                self._kill_at[name] = time.monotonic() + min(_GRACE, grace)
                with contextlib.suppress(OSError):
                    os.kill(machine.script_process, signal.SIGTERM)
            return
        self._cut_off(name)
        self.objects.remove("pods", name)
        shutil.rmtree(self.folder / name, ignore_errors=True)  # its log goes with it

    # ----- what passes by itself

    def tend(self) -> None:
        """Carry each pod on."""
        with self.objects.changes:
            secrets = {found["metadata"]["uid"] for found in self.objects.all("secrets")}
            for pod in self.objects.all("pods"):
                name = pod["metadata"]["name"]
                owners = [one["uid"] for one in pod["metadata"].get("ownerReferences", ())]
                if owners and not secrets & set(owners) and "deletionTimestamp" not in pod["metadata"]:
                    self.delete(pod, 10)
                elif (self.folder / f"{name}.taken").exists():
                    self.delete(pod, 0)
                elif name in self._machines:
                    self._carry_on(name, pod)
                elif "status" not in pod:
                    self._begin(name, pod)

    def _fate(self, pod: dict[str, Any]) -> dict[str, Any]:
        image = pod["spec"]["containers"][0]["image"]
        return FATES[image.removeprefix("fate/")] if image.startswith("fate/") else {}

    def _begin(self, name: str, pod: dict[str, Any]) -> None:
        fate = self._fate(pod)
        if words := fate.get("unschedulable"):
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
            self._set(pod, {"phase": "Pending", "conditions": [condition]})
            self.event(name, "FailedScheduling", words)
            return
        pod["spec"]["nodeName"] = "node1"
        if event := fate.get("event"):
            self.event(name, *event)
        if "waits" in fate or "event" in fate:
            reason, message = fate.get("waits", ("ContainerCreating", ""))
            self._container(pod, "Pending", waiting={"reason": reason, "message": message}, last=fate.get("last"))
        elif ends := fate.get("ends"):
            self._container(pod, "Failed", terminated=ends)
        elif status := fate.get("status"):
            self._set(pod, status)
        else:
            self._run(name, pod)
            if "lost" in fate:
                self._cut_off(name)
                ready = {"type": "Ready", "status": "False"}
                pod["metadata"] |= {"deletionTimestamp": stamp()}
                self._set(pod, {**pod["status"], "conditions": [ready]})
                self.event(name, "NodeNotReady", "Node is not ready")
            if disrupted := fate.get("disrupted"):
                target = {"type": "DisruptionTarget", "status": "True", "reason": disrupted[0], "message": disrupted[1]}
                self._set(pod, {**pod["status"], "conditions": [target]})
                self.delete(pod, 10)

    def _run(self, name: str, pod: dict[str, Any]) -> None:
        script = pod["spec"]["containers"][0]["command"][2]
        script = re.sub(r"\$(\$|\(([A-Za-z0-9_.-]+)\))", lambda found: "$" if found[1] == "$" else found[0], script)
        for volume in pod["spec"].get("volumes", ()):
            # Each mounted file of a secret is one of this host.
            mounted = self.folder / f"secret-{name}"
            secret = self.objects.get("secrets", volume["secret"]["secretName"])
            mounted.mkdir()
            for key, text in secret.get("stringData", {}).items():
                (mounted / key).write_text(text)
            script = script.replace("/var/run/parslab-run", str(mounted))
        self._machines[name] = Machine(name, f"#!/bin/bash\n{script}", self.folder)
        (self.folder / f"{name}.on").touch()
        self._container(pod, "Running", running={"startedAt": stamp()})
        self.event(name, "Started", "Started container parslab", warning=False)

    def _carry_on(self, name: str, pod: dict[str, Any]) -> None:
        machine = self._machines[name]
        status = machine.exit_status
        if status is None:
            if time.monotonic() >= self._kill_at.get(name, float("inf")):
                with contextlib.suppress(OSError):
                    os.kill(machine.script_process, signal.SIGKILL)
            return
        self._cut_off(name)  # with the first process of a container all others end
        code = status if status >= 0 else 128 - status
        over = {"exitCode": code, "reason": "Error" if code else "Completed"}
        self._container(pod, "Failed" if code else "Succeeded", terminated=over)
        if "deletionTimestamp" in pod["metadata"]:
            self.objects.remove("pods", name)
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _cut_off(self, name: str) -> None:
        self._kill_at.pop(name, None)
        machine = self._machines.pop(name, None)
        if machine is not None:
            machine.cut_off()
            (self.folder / f"{name}.on").unlink()

    def end(self) -> None:
        for name in list(self._machines):
            self._cut_off(name)

    def _container(self, pod: dict[str, Any], phase: str, last: Any = None, **state: Any) -> None:
        found = {"name": "parslab", "state": state, "lastState": {"terminated": last} if last else {}}
        kept = {key: value for key, value in pod.get("status", {}).items() if key == "conditions"}
        self._set(pod, {**kept, "phase": phase, "containerStatuses": [found]})

    def _set(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        pod["status"] = status
        self.objects.note("MODIFIED", "pods", pod)

    def event(self, pod: str, reason: str, message: str, warning: bool = True) -> None:
        self._events += 1
        kind = "Warning" if warning else "Normal"
        about = {"kind": "Pod", "name": pod}
        found = {"metadata": {"name": f"{pod}.{self._events}"}, "involvedObject": about, "type": kind}
        self.objects.create("events", {**found, "reason": reason, "message": message, "lastTimestamp": stamp()})
