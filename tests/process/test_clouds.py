"""Runs on instances of clouds, which boot as processes of this host and share nothing with it but the network."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import AWSProvider, File, python_app
from parslab.scaling.block_journal import unfinished_jobs
from tests.clouds import ec2
from tests.clouds.machines import MARK
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
pytestmark = [
    pytest.mark.timeout(300),  # ten machines boot on this one
    pytest.mark.skipif(sys.platform != "linux", reason="instances are machines with Linux"),
]


@pytest.fixture(scope="module")
def amazon() -> Iterator[StandIn]:
    with ec2.serving() as server:
        yield server


def config(sandbox: Sandbox, retries: int = 0, **options: Any) -> parslab.Config:
    provider = AWSProvider(**{"image_id": "ami-12345678", "poll_interval": 0.5, "init_blocks": 1, **options})
    executor = parslab.HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=1)
    return parslab.Config(executors=[executor], run_dir=sandbox.runs, retries=retries, strategy_period=0.2)


@contextlib.contextmanager
def cloud_run(amazon: StandIn, sandbox: Sandbox, **options: Any) -> Iterator[DataFlowKernel]:
    """A run on instances, of which none may be left."""
    dfk = parslab.load(config(sandbox, **options))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()
    assert ec2.running() == []
    until(lambda: not amazon.machines(), PATIENCE, "all machines are off")


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

    with cloud_run(amazon, sandbox, retries=3, init_blocks=10, spot=True) as dfk:
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
        assert {states[name] for name in lost} <= {"finished", "failed"}
        assert len(ec2.instances(f"parslab.{dfk.run}.htex.")) >= 13


def test_files_move_to_the_instances_and_no_secret_is_written(
    amazon: StandIn, sandbox: Sandbox, tmp_path: Path
) -> None:
    @python_app
    def double(inputs: Any = (), outputs: Any = ()) -> int:
        with open(inputs[0]) as source, open(outputs[0], "w") as target:
            return target.write(source.read() * 2)

    (tmp_path / "given").write_text("word ")
    with cloud_run(amazon, sandbox) as dfk:
        task = double(inputs=[File(tmp_path / "given")], outputs=[File(tmp_path / "made")])
        assert task.result(PATIENCE) == 10
        assert (tmp_path / "made").read_text() == "word word "
        folder = Path(dfk.run_dir)
        key = json.loads((folder / "manager-htex.json").read_text())["secret_key"]
    for path in folder.rglob("*"):
        if path.is_file():
            assert ec2.SECRET.encode() not in path.read_bytes(), path
            assert key.encode() not in path.read_bytes() or path.parent == folder, path
    assert "AKIA" not in "".join(path.read_text() for path in folder.glob("*.log"))


def test_the_next_dataflowkernel_takes_the_instance_over(amazon: StandIn, sandbox: Sandbox) -> None:
    run = RestartedRun(config(sandbox))
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
    run = RestartedRun(config(sandbox))
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
    with cloud_run(amazon, sandbox, **options) as dfk:
        until(lambda: any(says in text for text in notices(dfk)), PATIENCE, says)
