"""Runs on pods of a stand-in for a cluster, which run as processes of this host and share nothing with it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgspec
import psutil
import pytest

import parslab
from parslab import File, KubernetesProvider, python_app
from parslab.providers.kube.cluster import ClusterNamespace
from parslab.scaling.block_journal import unfinished_jobs
from tests.clouds.machines import MARK
from tests.kubernetes import api_server
from tests.process.panel import notices, picture
from tests.process.restarted_run import RestartedRun
from tests.process.sandbox import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel
    from tests.clouds.stand_in import StandIn
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE = 90.0
ROUNDS = 5
"""Scale-ins of one test."""
pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="pods are processes of Linux"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[StandIn]:
    with api_server.serving() as server:
        yield server


def objects(kind: str) -> list[str]:
    """The names of the objects in the cluster."""
    with contextlib.closing(ClusterNamespace("default", None, None, 30.0)) as asking:
        return [found["metadata"]["name"] for found in asking.get(kind)["items"]]


def nothing_left() -> bool:
    return not objects("pods") and not objects("secrets")


def config(sandbox: Sandbox, **options: Any) -> parslab.Config:
    provider = KubernetesProvider(**{"image": "mine:1", "init_blocks": 1, "route": "direct", **options})
    executor = parslab.HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=1)
    return parslab.Config(executors=[executor], run_dir=sandbox.runs, strategy_period=0.2)


@contextlib.contextmanager
def pod_run(sandbox: Sandbox, **options: Any) -> Iterator[DataFlowKernel]:
    """A run on pods, of which none may be left."""
    dfk = parslab.load(config(sandbox, **options))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()
    until(nothing_left, PATIENCE, "the pods and the secret are gone")


def pod() -> str:
    """The pod that runs the task."""
    return os.environ[MARK]


def wait_on(started: str, gate: str) -> str:
    """Say which pod runs the task, and wait for a file."""
    import time

    name = os.environ[MARK]
    with open(os.path.join(started, name), "w"):
        while not os.path.exists(gate):
            time.sleep(0.02)
    return name


def test_files_move_to_the_pods_and_no_secret_is_shown(cluster: StandIn, sandbox: Sandbox, tmp_path: Path) -> None:
    @python_app
    def double(inputs: Any = (), outputs: Any = ()) -> int:
        with open(inputs[0]) as source, open(outputs[0], "w") as target:
            return target.write(source.read() * 2)

    (tmp_path / "given").write_text("word ")
    with pod_run(sandbox, worker_init="echo the first words") as dfk:
        task = double(inputs=[File(tmp_path / "given")], outputs=[File(tmp_path / "made")])
        assert task.result(PATIENCE) == 10
        assert (tmp_path / "made").read_text() == "word word "
        run = Path(dfk.run_dir)
        secrets = [api_server.TOKEN, json.loads((run / "manager-htex.json").read_text())["secret_key"]]
        shown = f"{dfk!r} {dfk.config!r} {msgspec.json.encode(picture(dfk)).decode()}"
        assert [secret for secret in secrets if secret in shown] == []
    files = [path for path in run.rglob("*") if path.is_file() and path.name != "manager-htex.json"]
    assert [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)] == []
    # The log and the events of the pod are there, although the pod is not.
    kept = {path.name: path.read_text() for path in run.rglob("htex-0.*")}
    assert kept["htex-0.stdout"].startswith("the first words\n")
    assert "Started container parslab" in kept["htex-0.events"]


def test_no_pod_is_deleted_while_a_task_runs(cluster: StandIn, sandbox: Sandbox, tmp_path: Path) -> None:
    """Each round scales in to one pod while two work; none of the tasks is run a second time."""
    started, gate = tmp_path / "started", tmp_path / "gate"
    started.mkdir()
    with pod_run(sandbox, init_blocks=2, max_blocks=2) as dfk:
        work = python_app(wait_on)
        for number in range(ROUNDS):
            if number:
                dfk.scale("htex", 2)
            futures = [work(str(started), str(gate)) for _ in range(2)]
            until(lambda: len(list(started.iterdir())) == 2, PATIENCE, "two pods work")
            dfk.scale("htex", 1)
            until(lambda: "draining" in [row.state for row in picture(dfk).blocks], PATIENCE, "one pod is let go")
            assert set(objects("pods")) >= {path.name for path in started.iterdir()}
            gate.touch()
            assert {future.result(PATIENCE) for future in futures} == {path.name for path in started.iterdir()}
            assert all(len(future.history()) == 1 for future in futures)
            gate.unlink()
            for path in started.iterdir():
                path.unlink()


def test_the_next_dataflowkernel_takes_the_pod_over(cluster: StandIn, sandbox: Sandbox) -> None:
    run = RestartedRun(config(sandbox))
    try:
        where = python_app(pod, data_flow_kernel=run.dfk)().result(PATIENCE)
        run.kill()
        run.revive()
        assert python_app(pod, data_flow_kernel=run.dfk)().result(PATIENCE) == where
        assert unfinished_jobs(Path(run.run_dir)) == {"htex": {"0": where}}
    finally:
        run.end()
    until(nothing_left, PATIENCE, "the pod and the secret are gone")


def test_no_pod_is_left_of_a_run_that_was_killed(cluster: StandIn, sandbox: Sandbox) -> None:
    run = RestartedRun(config(sandbox))
    try:
        where = python_app(pod, data_flow_kernel=run.dfk)().result(PATIENCE)
        assert objects("pods") == [where]
        run.kill()
        run.bury()
        until(nothing_left, PATIENCE, "the pod and the secret are gone")
    finally:
        run.end()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"namespace": "other"}, 'could not start: Kubernetes refuses the options (namespaces "other" not found)'),
        ({"image": "fate/evicted"}, "could not start: Evicted: The node was low on resource: memory"),
        ({"worker_init": "echo no such module >&2; exit 3"}, "could not start: exit status 3: its output: no such"),
    ],
)
def test_a_block_that_cannot_start_is_one_sentence(
    cluster: StandIn, sandbox: Sandbox, options: dict[str, Any], says: str
) -> None:
    with pod_run(sandbox, **options) as dfk:
        until(lambda: any(says in text for text in notices(dfk)), PATIENCE, says)


# ----- relays


def relays() -> list[str]:
    return [name for name in objects("pods") if "relay" in name]


def pipes() -> list[psutil.Process]:
    """The processes that connect this host to a relay."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("kube.exec_pipe" in word for word in process.cmdline()):
                found.append(process)
    return found


def test_tasks_go_through_a_relay(cluster: StandIn, sandbox: Sandbox) -> None:
    """The run listens on the loopback interface only, and its connection to the relay is lost once."""
    with pod_run(sandbox, route="relay") as dfk:
        where = python_app(pod)().result(PATIENCE)
        relay = relays()
        assert len(relay) == 1
        before = pipes()
        assert len(before) == 1
        before[0].kill()
        assert [task.result(PATIENCE) for task in [python_app(pod)() for _ in range(50)]] == [where] * 50
        until(lambda: pipes() and pipes() != before, PATIENCE, "another connection")
        assert relays() == relay
        assert [block.state for block in picture(dfk).blocks] == ["running"]


def test_a_relay_that_was_deleted_is_made_again(cluster: StandIn, sandbox: Sandbox) -> None:
    with pod_run(sandbox, route="relay") as dfk:
        first = python_app(pod)().result(PATIENCE)
        for name in (*relays(), first):
            (cluster.folder / f"{name}.taken").touch()
        until(lambda: first not in objects("pods"), PATIENCE, "the pod is gone")
        for taken in cluster.folder.glob("*.taken"):
            taken.unlink()
        assert python_app(pod, retries=1)().result(PATIENCE)
        assert len(relays()) == 1
        assert dfk.state.ended is None


def test_the_next_process_of_a_run_finds_its_relay(cluster: StandIn, sandbox: Sandbox) -> None:
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
    until(nothing_left, PATIENCE, "the pods and the secret are gone")


def test_without_the_right_to_connect_to_pods(cluster: StandIn, sandbox: Sandbox) -> None:
    """Pods that can reach this host do so; where they must not, the notice says what the role lacks."""
    (cluster.folder / "no-exec").touch()
    try:
        with pod_run(sandbox, route="auto"):
            assert python_app(pod)().result(PATIENCE)
        with pod_run(sandbox, route="relay") as dfk:
            words = until(lambda: [text for text in notices(dfk) if "pods/exec" in text], PATIENCE, "the notice")
            assert "relays nothing: Kubernetes does not allow this in namespace default" in words[0]
    finally:
        (cluster.folder / "no-exec").unlink()


CONFIG = """
import parslab
from parslab import KubernetesProvider
provider = KubernetesProvider("mine:1")
executor = parslab.HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=1)
config = parslab.Config(executors=[executor], run_dir={runs!r})
"""


@pytest.mark.parametrize(
    ("refused", "says"),
    [(False, "[ ok ] pods reach this host: through a relay"), (True, "[ no ] pods reach this host through a relay: ")],
)
def test_the_doctor_tries_both_ways(
    cluster: StandIn, sandbox: Sandbox, tmp_path: Path, refused: bool, says: str
) -> None:
    (tmp_path / "pods.py").write_text(CONFIG.format(runs=str(sandbox.runs)))
    refusal = cluster.folder / "no-exec"
    if refused:
        refusal.touch()
    try:
        command = [sys.executable, "-m", "parslab.cli", "doctor", str(tmp_path / "pods.py")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    finally:
        refusal.unlink(missing_ok=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[ ok ] pods reach this host: directly" in done.stdout
    assert says in done.stdout
    assert ("pods/exec" in done.stdout) == refused
    until(nothing_left, PATIENCE, "the pods and the secret are gone")
