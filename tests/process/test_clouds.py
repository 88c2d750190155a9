"""Runs on instances of clouds, which boot as processes of this host and share nothing with it but the network."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgspec
import pytest

import parslab
from parslab import AWSProvider, File, GoogleCloudProvider, OpenStackProvider, python_app
from parslab.scaling.block_journal import unfinished_jobs
from tests.clouds import ec2, google_server, openstack_server
from tests.clouds.machines import MARK
from tests.process.panel import notices, picture
from tests.process.restarted_run import RestartedRun
from tests.process.sandbox import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel
    from parslab.providers.cloud.base import CloudProvider
    from tests.clouds.stand_in import StandIn
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE = 90.0
pytestmark = [
    pytest.mark.timeout(600),  # ten machines boot on this one
    pytest.mark.skipif(sys.platform != "linux", reason="instances are machines with Linux"),
]


@pytest.fixture(scope="module")
def amazon() -> Iterator[StandIn]:
    with ec2.serving() as server:
        yield server


@pytest.fixture(scope="module")
def openstack() -> Iterator[StandIn]:
    with openstack_server.serving() as server:
        yield server


@pytest.fixture(scope="module")
def google() -> Iterator[StandIn]:
    with google_server.serving() as server:
        yield server


def aws(**options: Any) -> AWSProvider:
    return AWSProvider(**{"image_id": "ami-12345678", "poll_interval": 0.5, "init_blocks": 1, **options})


def config(sandbox: Sandbox, provider: CloudProvider, retries: int = 0) -> parslab.Config:
    executor = parslab.HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=1)
    return parslab.Config(executors=[executor], run_dir=sandbox.runs, retries=retries, strategy_period=0.2)


@contextlib.contextmanager
def cloud_run(cloud: StandIn, sandbox: Sandbox, provider: CloudProvider, retries: int = 0) -> Iterator[DataFlowKernel]:
    """A run on instances, of which none may be left."""
    dfk = parslab.load(config(sandbox, provider, retries))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()
    until(lambda: not cloud.machines(), PATIENCE, "all machines are off")


@contextlib.contextmanager
def aws_run(amazon: StandIn, sandbox: Sandbox, retries: int = 0, **options: Any) -> Iterator[DataFlowKernel]:
    """A run on instances of EC2, of which none may be left."""
    with cloud_run(amazon, sandbox, aws(**options), retries) as dfk:
        yield dfk
    assert ec2.running() == []


def instance() -> str:
    """The instance that runs the task."""
    return os.environ[MARK]


def wait_on(started: str, gate: str) -> str:
    """Say which instance runs the task, and wait for a file."""
    import time

    name = os.environ[MARK]
    with open(os.path.join(started, name), "w"):
        while not os.path.exists(gate):
            time.sleep(0.02)
    return name


def test_ten_instances_of_which_three_are_lost(amazon: StandIn, sandbox: Sandbox, tmp_path: Path) -> None:
    """EC2 takes spot instances back while they work; the run completes, and no instance is left."""
    started, gate = tmp_path / "started", tmp_path / "gate"
    started.mkdir()

    def working() -> set[str]:
        return {path.name for path in started.iterdir()}

    with aws_run(amazon, sandbox, retries=3, init_blocks=0, max_blocks=10, spot=True) as dfk:
        work = python_app(wait_on)
        futures = [work(str(started), str(gate)) for _ in range(30)]
        first = until(lambda: len(found := working()) >= 10 and found, PATIENCE, "ten instances work")
        until(lambda: [row.price for row in picture(dfk).blocks] == [0.00001] * 10, PATIENCE, "prices")
        lost = sorted(first)[:3]
        for name in lost:
            amazon.take_back(name)
        until(lambda: len(working()) >= 13, PATIENCE, "three other instances work")
        gate.touch()
        done = {future.result(PATIENCE) for future in futures}
        assert done <= working() - set(lost)
        states = {row.job: row.state for row in picture(dfk).blocks}
        assert {states[name] for name in lost} <= {"finished", "failed", "scaled_in"}
        assert len(ec2.instances(f"parslab.{dfk.run}.htex.")) >= 13


def secrets_of(dfk: DataFlowKernel) -> list[str]:
    """The credentials of the clouds, and the key by which managers join the run."""
    invitation = json.loads((Path(dfk.run_dir) / "manager-htex.json").read_text())
    clouds = [
        ec2.SECRET,
        ec2.KEY,
        openstack_server.PASSWORD,
        openstack_server.TOKEN,
        google_server.TOKEN,
        "PRIVATE KEY",
    ]
    return [*clouds, invitation["secret_key"]]


def files_with(secrets: list[str], folder: Path) -> list[Path]:
    """The files of a run that contain a secret."""
    # The excepted one is for managers, and only its owner may read it.
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manager-htex.json"]
    assert len(files) > 3
    return [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


@pytest.mark.parametrize("name", ["amazon", "google", "openstack"])
def test_files_move_to_the_instances_and_no_secret_is_shown(
    name: str, amazon: StandIn, google: StandIn, openstack: StandIn, sandbox: Sandbox, tmp_path: Path
) -> None:
    cloud = {"amazon": amazon, "google": google, "openstack": openstack}[name]

    @python_app
    def double(inputs: Any = (), outputs: Any = ()) -> int:
        with open(inputs[0]) as source, open(outputs[0], "w") as target:
            return target.write(source.read() * 2)

    quick: dict[str, Any] = {"poll_interval": 0.5, "init_blocks": 1}
    providers = {
        "amazon": aws(),
        "google": GoogleCloudProvider(price_per_hour=0.25, **quick),
        "openstack": OpenStackProvider(image="debian", flavor="tiny", price_per_hour=0.25, **quick),
    }
    provider = providers[name]
    (tmp_path / "given").write_text("word ")
    with cloud_run(cloud, sandbox, provider) as dfk:
        task = double(inputs=[File(tmp_path / "given")], outputs=[File(tmp_path / "made")])
        assert task.result(PATIENCE) == 10
        assert (tmp_path / "made").read_text() == "word word "
        if provider.price_per_hour:
            until(lambda: [row.price for row in picture(dfk).blocks] == [0.25], PATIENCE, "the price")
        secrets = secrets_of(dfk)
        shown = f"{dfk!r} {dfk.config!r} {msgspec.json.encode(picture(dfk)).decode()}"
        assert [secret for secret in secrets if secret in shown] == []
    assert files_with(secrets, Path(dfk.run_dir)) == []


def test_the_next_dataflowkernel_takes_the_instance_over(amazon: StandIn, sandbox: Sandbox) -> None:
    run = RestartedRun(config(sandbox, aws()))
    try:
        where = python_app(instance, data_flow_kernel=run.dfk)().result(PATIENCE)
        run.kill()
        run.revive()
        assert python_app(instance, data_flow_kernel=run.dfk)().result(PATIENCE) == where
        assert unfinished_jobs(Path(run.run_dir)) == {"htex": {"0": where}}
    finally:
        run.end()
    assert ec2.running() == []


def test_no_instance_is_left_of_a_run_that_was_killed(amazon: StandIn, sandbox: Sandbox) -> None:
    run = RestartedRun(config(sandbox, aws()))
    try:
        where = python_app(instance, data_flow_kernel=run.dfk)().result(PATIENCE)
        assert ec2.running() == [where]
        run.kill()
        run.bury()
        until(lambda: not ec2.running() and not amazon.machines(), PATIENCE, "the end of the instance")
    finally:
        run.end()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"subnet_id": "subnet-0"},
            "could not start: EC2 refuses the options (InvalidSubnetID.NotFound: The subnet ID 'subnet-0' does not "
            "exist): correct them, and load again.",
        ),
        (
            {"worker_init": "echo the image has no such module >&2; exit 3"},
            "could not start: exit status 3: its output: the image has no such module",
        ),
    ],
)
def test_a_block_that_cannot_start_is_one_sentence(
    amazon: StandIn, sandbox: Sandbox, options: dict[str, Any], says: str
) -> None:
    with aws_run(amazon, sandbox, **options) as dfk:
        until(lambda: any(says in text for text in notices(dfk)), PATIENCE, says)
