"""KubernetesProvider on a real cluster of one node: the suite, ten ways in which pods fail, and whole runs.

Building the cluster may take minutes, so these tests run only where ``PARSLAB_KUBERNETES`` is set.  The pods have the
programs of this host by its folders, and the Python of the tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

import parslab
from parslab import python_app
from parslab.providers.base import JobStatus, SubmitError
from parslab.providers.kube.cluster import ClusterNamespace
from parslab.providers.kube.provider import KubernetesProvider
from parslab.providers.kube.runner import events_file
from parslab.records.states import ENDED, BlockState
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite
from tests.process.panel import picture
from tests.process.restarted_run import RestartedRun
from tests.process.sandbox import Sandbox, until
from tests.schedulers.conftest import brought_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel
    from parslab.providers.base import Provider

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE = 180.0
EXPLAINED = 30.0
"""Seconds within which a pod that does not start must be explained; the tests give a busy host more."""
HERE = str(Path(__file__).parents[2])
SHARED = ("/usr", "/lib", "/lib64", "/etc", HERE, sys.prefix, sys.base_prefix)
IMAGE = "localhost/testbed-busybox:1"
HERE_ONLY = {"spec": {"containers": [{"name": "parslab", "imagePullPolicy": "IfNotPresent"}]}}

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get("PARSLAB_KUBERNETES"), reason="PARSLAB_KUBERNETES is not set"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with brought_up("k8s") as scheduler, pytest.MonkeyPatch.context() as patch:
        for name, text in scheduler.variables.items():
            patch.setenv(name, text)
        yield


@pytest.fixture(autouse=True)
def nothing_is_left(cluster: None) -> Iterator[None]:
    yield
    until(lambda: not ours("pods") and not ours("secrets"), 60, "no pod and no secret is left")


def asking() -> contextlib.closing[ClusterNamespace]:
    return contextlib.closing(ClusterNamespace("default", None, None, 30.0))


def ours(kind: str) -> list[str]:
    """The names of the objects in the cluster that parslab has made."""
    with asking() as cluster:
        found = cluster.get(kind, labelSelector="app.kubernetes.io/managed-by=parslab")["items"]
    return [one["metadata"]["name"] for one in found]


def folders() -> list[dict[str, Any]]:
    """This host's folders as volumes of a pod."""
    paths = [path for path in dict.fromkeys(SHARED) if not any(path.startswith(f"{other}/") for other in SHARED)]
    return [
        {"name": f"host-{number}", "hostPath": {"path": path}, "mountPath": path, "readOnly": True}
        for number, path in enumerate(paths)
    ]


def pods(**options: Any) -> KubernetesProvider:
    usual: dict[str, Any] = {"image": IMAGE, "init_cpu": 0.05, "max_cpu": 2, "init_mem": "64Mi", "max_mem": "512Mi"}
    return KubernetesProvider(**{**usual, "volumes": folders(), "template": HERE_ONLY, **options})


class TestRealKubernetes(ProviderSuite):
    one_output = True
    limit = 120.0

    def provider(self, **options: Any) -> KubernetesProvider:
        return pods(**options)

    def refused(self) -> tuple[Provider, str]:
        return pods(namespace="other"), 'Kubernetes refuses the options .namespaces "other" not found.'


def container(**more: Any) -> dict[str, Any]:
    """A template that changes parslab's container."""
    return {"spec": {"containers": [{"name": "parslab", "imagePullPolicy": "IfNotPresent", **more}]}}


MISSING_KEY = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "no-such", "key": "x"}}}
MISSING_FOLDER = {"name": "keys", "secret": {"secretName": "no-such"}, "mountPath": "/keys"}
BROKEN_INIT = {"name": "fetch", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", "exit 7"]}
FAILURES: dict[str, tuple[dict[str, Any], str, str]] = {
    "an image that is nowhere": (
        {"image": "127.0.0.1:9/none:1"},
        "failed",
        r"(ErrImagePull|ImagePullBackOff): .*none:1",
    ),
    "an image that may not be pulled": (
        {"image": "localhost/none:1", "template": container(imagePullPolicy="Never")},
        "failed",
        "ErrImageNeverPull: .*is not present with pull policy of Never",
    ),
    "an image with a wrong name": ({"image": "Wrong Name"}, "failed", "InvalidImageName: .*invalid reference format"),
    "no node is large enough": (
        {"init_cpu": 99, "max_cpu": 99},
        "queued",
        "(Unschedulable|Failed.*): .*Insufficient cpu",
    ),
    "too little memory": (
        {"max_mem": "24Mi", "init_mem": "24Mi"},
        "failed",
        "OOMKilled .exit status 137.*raise max_mem",
    ),
    "a secret in a variable is missing": (
        {"template": container(env=[MISSING_KEY])},
        "failed",
        'CreateContainerConfigError: secret "no-such" not found',
    ),
    "a secret in a volume is missing": (
        {"volumes": [*folders(), MISSING_FOLDER]},
        "failed",
        'FailedMount: MountVolume.SetUp failed .*secret "no-such" not found',
    ),
    "an init container fails": (
        {"init_containers": [BROKEN_INIT]},
        "failed",
        "init container fetch failed: exit status 7",
    ),
    "no bash": (
        {"volumes": []},
        "failed",
        '(StartError|ContainerCannotRun|RunContainerError): .*"bash": executable file',
    ),
    "a mistake in worker_init": ({"worker_init": "exit 3"}, "failed", "exit status 3"),
    "it would start again": (
        {"worker_init": "exit 3", "template": {"spec": {"restartPolicy": "OnFailure"}}},
        "failed",
        "exit status 3",
    ),
    "its time is over": (
        {"template": {"spec": {"activeDeadlineSeconds": 3}}},
        "finished",
        "it reached its walltime .DeadlineExceeded",
    ),
}


@pytest.mark.parametrize("which", FAILURES)
def test_how_a_pod_fails(which: str, tmp_path: Path, record_property: Any) -> None:
    options, state, says = FAILURES[which]
    job = a_job(tmp_path, command="tail /dev/zero" if which == "too little memory" else "sleep 300")
    with contextlib.closing(pods(**{"template": HERE_ONLY, **options}).runner(tmp_path)) as runner:
        began = time.monotonic()
        number = runner.submit(job)
        states = ENDED if state != "queued" else {BlockState.queued}

        def explained() -> JobStatus | None:
            status = runner.status([number])[number]
            return status if status.state in states and re.search(says, status.reason) else None

        found = until(explained, EXPLAINED * 2, says)
        record_property("seconds", round(time.monotonic() - began, 1))
        print(f"EXPLAINED {which}: {time.monotonic() - began:.1f} s: {found.reason}")
        assert found.state.value == state
        runner.cancel([number])
    assert Path(events_file(job)).read_text()


def test_a_quota(tmp_path: Path) -> None:
    with asking() as cluster, contextlib.closing(pods().runner(tmp_path)) as runner:
        spec = {"hard": {"pods": "0"}}
        cluster.create("resourcequotas", {"metadata": {"name": "none"}, "spec": spec})
        try:
            # The quota counts as soon as the controller has seen it.
            until(lambda: cluster.get("resourcequotas/none").get("status", {}).get("used"), 60, "the quota counts")
            with pytest.raises(
                SubmitError, match=r"The quota of namespace default is used up .*exceeded quota"
            ) as caught:
                runner.submit(a_job(tmp_path))
            assert caught.value.transient
        finally:
            cluster.delete("resourcequotas/none")


# ----- runs


def config(sandbox: Sandbox, **options: Any) -> parslab.Config:
    executor = parslab.HighThroughputExecutor(
        label="htex", provider=pods(**{"init_blocks": 1, **options}), max_workers_per_node=1, python=sys.executable
    )
    return parslab.Config(executors=[executor], run_dir=sandbox.runs, strategy_period=0.5)


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    tmp_path_factory.getbasetemp()  # not in the sandbox, where temporary files go from now on
    with Sandbox().entered() as sandbox:
        yield sandbox


def pod() -> str:
    """The pod that runs the task."""
    import socket

    return socket.gethostname()


def when_started(name: str) -> float:
    """When the container of a pod has started, in seconds since the epoch."""
    import datetime

    def running() -> dict[str, Any] | None:
        with asking() as cluster:
            (found,) = cluster.get(f"pods/{name}")["status"]["containerStatuses"]
        return dict(found["state"].get("running") or {})

    text = until(running, 60, "Kubernetes says that the container runs")["startedAt"]
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_result(sandbox: Sandbox) -> None:
    dfk = parslab.load(config(sandbox))
    try:
        where = python_app(pod)().result(PATIENCE)
        print(f"RESULT {time.time() - when_started(where):.1f} s after the pod ran")
        assert [name for name in ours("pods") if "relay" not in name] == [where]
    finally:
        dfk.cleanup()
        parslab.clear()
    assert "parslab.manager" in next(Path(dfk.run_dir).rglob("htex-0.stdout")).read_text()


def busy(name: str) -> str:
    """Work for a moment."""
    time.sleep(2)
    return pod()


def scale_in(dfk: DataFlowKernel) -> None:
    """Two pods work, and one of them is let go: both finish their tasks, at the first attempt."""
    dfk.scale("htex", 2)
    until(lambda: [row.state for row in picture(dfk).blocks if row.managers].count("running") >= 2, PATIENCE, "two")
    futures = [python_app(busy)(f"{number}") for number in range(2)]
    until(lambda: sum(future.running() for future in futures) == 2, PATIENCE, "two tasks run")
    dfk.scale("htex", 1)
    assert len({future.result(PATIENCE) for future in futures}) == 2
    assert all(len(future.history()) == 1 for future in futures)


def test_no_pod_is_deleted_while_a_task_runs(sandbox: Sandbox) -> None:
    dfk = parslab.load(config(sandbox, max_blocks=2))
    try:
        python_app(pod)().result(PATIENCE)
        for _ in range(int(os.environ.get("PARSLAB_SCALE_INS", "3"))):
            scale_in(dfk)
    finally:
        dfk.cleanup()
        parslab.clear()


@pytest.mark.parametrize("revived", [True, False])
def test_a_run_that_is_killed(sandbox: Sandbox, revived: bool) -> None:
    """The next DataFlowKernel takes the pod over; without one, nothing is left."""
    run = RestartedRun(config(sandbox))
    try:
        where = python_app(pod, data_flow_kernel=run.dfk)().result(PATIENCE)
        run.kill()
        if revived:
            run.revive()
            assert python_app(pod, data_flow_kernel=run.dfk)().result(PATIENCE) == where
        else:
            run.bury()
            until(lambda: not ours("pods") and not ours("secrets"), 60, "no pod and no secret is left")
    finally:
        run.end()


# ----- pods that cannot reach this host


def relays() -> list[str]:
    return [name for name in ours("pods") if "relay" in name]


def pipes() -> list[psutil.Process]:
    """The processes that connect this host to a relay."""
    return [
        process for process in psutil.Process().children(recursive=True) if "exec_pipe" in " ".join(process.cmdline())
    ]


def length(data: bytes) -> int:
    return len(data)


def test_tasks_go_through_a_relay(sandbox: Sandbox) -> None:
    """The run listens on the loopback interface of this host only, and its connection to the relay is lost once."""
    dfk = parslab.load(config(sandbox, route="relay"))
    try:
        where = python_app(pod)().result(PATIENCE)
        (relay,) = relays()
        future = python_app(busy)("1")
        for process in pipes():
            process.kill()
        assert future.result(PATIENCE) == where
        assert python_app(length)(b"x" * 10_000_000).result(PATIENCE) == 10_000_000
        assert [task.result(PATIENCE) for task in [python_app(pod)() for _ in range(1000)]] == [where] * 1000
        assert relays() == [relay]
    finally:
        dfk.cleanup()
        parslab.clear()


def test_a_relay_that_is_lost_is_replaced(sandbox: Sandbox) -> None:
    dfk = parslab.load(config(sandbox, route="relay", max_blocks=1))
    try:
        before = python_app(pod)().result(PATIENCE)
        with asking() as cluster:
            cluster.delete(f"pods/{relays()[0]}", 0)
            cluster.delete(f"pods/{before}", 0)
        until(lambda: before not in ours("pods"), 60, "the pod of the block is gone")
        assert python_app(pod, retries=1)().result(PATIENCE)
        assert len(relays()) == 1
    finally:
        dfk.cleanup()
        parslab.clear()


def test_a_killed_run_finds_its_relay(sandbox: Sandbox) -> None:
    run = RestartedRun(config(sandbox, route="relay"))
    try:
        where = python_app(pod, data_flow_kernel=run.dfk)().result(PATIENCE)
        relay = relays()
        run.kill()
        run.revive()
        assert python_app(pod, data_flow_kernel=run.dfk)().result(PATIENCE) == where
        assert relays() == relay
    finally:
        run.end()
