"""The provider of pods in the family's suite, on a stand-in for a cluster; and how it explains what does not start."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.providers.base import JobStatus, SubmitError
from parslab.providers.kube.provider import KubernetesProvider
from parslab.providers.kube.runner import PodRunner, events_file
from parslab.records.states import ENDED, BlockState
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite
from tests.kubernetes import api_server
from tests.process.sandbox import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Provider
    from tests.clouds.stand_in import StandIn

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="pods are processes of Linux"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[StandIn]:
    with api_server.serving() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_is_left(cluster: StandIn) -> Iterator[None]:
    yield
    until(lambda: not objects("pods") and not objects("secrets"), 60, "no pod and no secret is left")
    until(lambda: not cluster.machines(), 60, "no container runs")


def objects(kind: str) -> list[str]:
    """The names of the objects in the cluster."""
    with contextlib.closing(client()) as asking:
        return [found["metadata"]["name"] for found in asking.get(kind)["items"]]


def client() -> Any:
    from parslab.providers.kube.cluster import ClusterNamespace

    return ClusterNamespace("default", None, None, 30.0)


def pods(image: str = "mine:1", **options: Any) -> KubernetesProvider:
    return KubernetesProvider(image, **options)


class TestKubernetes(ProviderSuite):
    one_output = True
    limit = 60.0

    def provider(self, **options: Any) -> KubernetesProvider:
        return pods(**options)

    def refused(self) -> tuple[Provider, str]:
        return pods(namespace="other"), 'Kubernetes refuses the options .namespaces "other" not found.: correct them'

    def test_a_block_of_several_pods(self, folder: Path, cluster: StandIn) -> None:
        """It runs as long as one of them, and each has a log of its own."""
        with self.running(folder, nodes_per_block=2) as runner:
            job = a_job(folder, command="echo begun; sleep 300")
            number = runner.submit(job)
            first, second = number.split(",")
            self.until(runner, number, BlockState.running)
            until(lambda: len(cluster.machines()) == 2, 60, "two containers")
            (cluster.folder / f"{first}.taken").touch()
            until(lambda: objects("pods") == [second], 60, "one pod is gone")
            assert runner.status([number])[number].state is BlockState.running
            until(lambda: read(f"{job.stdout}.1") == "begun\n", 60, "the log of the second")
            (cluster.folder / f"{second}.taken").touch()
            assert self.until(runner, number).state is BlockState.scaled_in
            assert read(job.stdout) == read(f"{job.stdout}.1") == "begun\n"

    def test_changes_that_the_server_has_forgotten(self, folder: Path, cluster: StandIn) -> None:
        """The watch begins with a list again."""
        with self.running(folder) as runner:
            number = runner.submit(a_job(folder, command="sleep 300"))
            self.until(runner, number, BlockState.running)
            (cluster.folder / "forget").touch()
            until(lambda: not (cluster.folder / "forget").exists(), 60, "the server has forgotten")
            (cluster.folder / f"{number}.taken").touch()
            assert self.until(runner, number).reason == "somebody deleted its pod"

    def test_a_server_that_does_not_answer(self, folder: Path, cluster: StandIn) -> None:
        """A status call says so; nothing is taken for gone, and all is known again when the server is back."""
        with self.running(folder) as runner:
            number = runner.submit(a_job(folder, command="sleep 300"))
            self.until(runner, number, BlockState.running)
            down = cluster.folder / "down"
            down.touch()
            (cluster.folder / "forget").touch()
            try:
                assert isinstance(runner, PodRunner)
                until(lambda: runner._watches[0].trouble is not None, 60, "the watch has noticed")
                raised = PodRunner.status
                with pytest.raises(OSError, match=r"Kubernetes cannot do this now .the server is currently unable"):
                    raised(runner, [number])
            finally:
                down.unlink()
            assert self.until(runner, number, BlockState.running)


def read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def outcome(provider: KubernetesProvider, folder: Path, *states: BlockState) -> JobStatus:
    """Submit a job and return its status when it is in one of these states, or has ended."""
    runner = provider.runner(folder)
    job = a_job(folder, command="sleep 300")
    try:
        number = runner.submit(job)
        found = until(
            lambda: (status := runner.status([number])[number]).state in (states or ENDED) and status.reason and status,
            60,
            "the end of the block",
        )
        runner.cancel([number])
        assert isinstance(found, JobStatus)
        return found
    finally:
        runner.close()


@pytest.mark.parametrize(
    ("fate", "state", "says"),
    [
        ("image", "failed", "ErrImagePull: rpc error: code = NotFound desc = .*: not found: correct image, or name"),
        (
            "back-off",
            "failed",
            "ImagePullBackOff: (Failed to pull image .*|Back-off pulling image): correct image, or name",
        ),
        ("config", "failed", 'CreateContainerConfigError: configmap "settings" not found: correct what is named there'),
        ("mount", "failed", 'FailedMount: MountVolume.SetUp failed for volume .*secret "keys" not found: correct what'),
        ("crash-loop", "failed", "CrashLoopBackOff: back-off 10s restarting .* .exit status 3.: see its log"),
        ("oom", "failed", r"OOMKilled \(exit status 137 \(SIGKILL\)\): raise max_mem, or .*, and load again"),
        (
            "no-bash",
            "failed",
            r"StartError: exec: .bash.: executable .* \(exit status 128.*\): the image needs bash and",
        ),
        ("evicted", "failed", "Evicted: The node was low on resource: memory: ask for as much memory"),
        ("init", "failed", "init container fetch failed: exit status 7: see its log with kubectl"),
        ("lost", "failed", "NodeNotReady: Node is not ready|NodeLost: its node does not answer"),
        ("preempted", "failed", "PreemptionByScheduler: preempting to accommodate a higher priority pod"),
        ("deadline", "finished", "it reached its walltime .DeadlineExceeded: Pod was active on the node longer"),
    ],
)
def test_pods_that_do_not_start(
    fate: str, state: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block says why, in the words of Kubernetes; its events are kept."""
    monkeypatch.setattr("parslab.providers.kube.runner.STUCK_AFTER", 0.5)
    status = outcome(pods(f"fate/{fate}"), tmp_path)
    assert status.state.value == state
    assert re.match(says, status.reason), status.reason
    if fate == "mount":
        assert "Warning FailedMount: MountVolume.SetUp failed" in read(events_file(a_job(tmp_path)))


def test_a_pod_that_no_node_can_take(tmp_path: Path) -> None:
    """It waits, and says why."""
    status = outcome(pods("fate/unschedulable"), tmp_path, BlockState.queued)
    # The condition of the pod and the event say the same, and either may be seen first.
    assert re.fullmatch(
        "(Unschedulable|FailedScheduling): 0/3 nodes are available: 3 Insufficient memory: if that stays so, ask for "
        "less with init_cpu and init_mem, and load again",
        status.reason,
    )


@pytest.mark.parametrize(
    ("code", "message", "says", "transient"),
    [
        ("403", 'pods "a" is forbidden: exceeded quota: small', "The quota of namespace default is used up", True),
        ("403", 'pods is forbidden: User "me" cannot create', "Kubernetes does not allow this in namespace", False),
        ("422", 'Pod "a" is invalid: spec.containers', "Kubernetes refuses the options .Pod .a. is invalid", False),
        ("500", "etcdserver: request timed out", "Kubernetes cannot do this now", True),
    ],
)
def test_refusals(tmp_path: Path, cluster: StandIn, code: str, message: str, says: str, transient: bool) -> None:
    """The first pod of the block, which was made before the refusal, is deleted."""
    cluster.refuse_once(after=1, code=code, message=message)
    with contextlib.closing(pods(nodes_per_block=2).runner(tmp_path)) as runner:
        with pytest.raises(SubmitError, match=says) as caught:
            runner.submit(a_job(tmp_path))
        assert caught.value.transient is transient


def test_wrong_credentials(tmp_path: Path, cluster: StandIn) -> None:
    """The token is in no sentence."""
    api_server.write_kubeconfig(tmp_path / "config", cluster.url, "wrong-token")
    runner = pods(kubeconfig=tmp_path / "config").runner(tmp_path)
    with pytest.raises(SubmitError) as caught:
        runner.submit(a_job(tmp_path))
    runner.close()
    assert f"{caught.value}".startswith("Kubernetes does not accept the credentials (Unauthorized): log in to the")
    assert "wrong-token" not in f"{caught.value}"


@pytest.mark.parametrize("text", ["", "clusters: [", "apiVersion: v1"])
def test_a_configuration_that_names_no_cluster(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    runner = pods(kubeconfig=tmp_path / "config").runner(tmp_path)
    with pytest.raises(SubmitError, match="KubernetesProvider"):
        runner.submit(a_job(tmp_path))
    runner.close()
