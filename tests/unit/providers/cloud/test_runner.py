"""The runner of blocks of instances, on a cloud that is a dictionary."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from parslab.errors import OptionalModuleMissing
from parslab.executors import HighThroughputExecutor
from parslab.providers.base import FindsJobs, Job, SubmitError
from parslab.providers.cloud.aws import AWSProvider
from parslab.providers.cloud.failures import CloudError, FailureKind, failure
from parslab.providers.cloud.instances import Instance
from parslab.providers.cloud.openstack import OpenStackProvider
from parslab.providers.cloud.runner import OUTPUT_WITHIN, InstanceRunner
from parslab.records.states import BlockState
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from parslab.providers.cloud.base import CloudProvider
    from parslab.providers.cloud.instances import InstanceRequest

RUNNING = BlockState.running
PATIENCE = 60.0


class FakeCloud:
    """Keeps what it is asked for."""

    cloud = "Fake"
    listed_within = PATIENCE

    def __init__(self) -> None:
        self.listed: dict[str, Instance] = {}
        self.requests: list[InstanceRequest] = []
        self.terminated: list[str] = []
        self.consoles: dict[str, str] = {}
        self.error: CloudError | None = None
        self.prices_asked = 0
        self.closed = False

    def create(self, request: InstanceRequest) -> list[str]:
        if self.error is not None:
            raise self.error
        self.requests.append(request)
        ids = [f"i-{len(self.requests)}{number}" for number in range(request.count)]
        self.listed |= {name: Instance(name, RUNNING, host=f"10.0.0.{name[2:]}") for name in ids}
        return ids

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        return [self.listed[name] for name in ids if name in self.listed]

    def find(self, name: str) -> list[str]:
        return list(self.listed) if any(request.name == name for request in self.requests) else []

    def terminate(self, ids: Sequence[str]) -> list[str]:
        self.terminated += [name for name in ids if name in self.listed]
        return [name for name in ids if name not in self.listed]

    def output(self, instance: str) -> str:
        return self.consoles.get(instance, "")

    def price(self) -> float | None:
        self.prices_asked += 1
        raise failure("Fake", FailureKind.permission, "no")

    def close(self) -> None:
        self.closed = True


class Setting:
    """A runner, its cloud and its clock."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.cloud, self.now, self.slept = FakeCloud(), 0.0, 0.0
        provider = AWSProvider(image_id="ami-1", **options)
        self.runner = InstanceRunner(provider, self.cloud, lambda: self.now, self.sleep)
        self.job = a_job(folder)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def state(self, number: str) -> tuple[BlockState, str] | None:
        status = self.runner.status([number]).get(number)
        return None if status is None else (status.state, status.reason)


@pytest.fixture
def at(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_the_number_of_a_block_is_its_instances(tmp_path: Path) -> None:
    at = Setting(tmp_path, nodes_per_block=2, tags={"team": "red"}, price_per_hour=0.5)
    number = at.runner.submit(at.job)
    assert number == "i-10,i-11"
    assert at.runner.find(at.job.name) == number
    assert at.runner.find("other") is None
    (status,) = at.runner.status([number]).values()
    assert (status.state, status.hosts, status.price) == (RUNNING, "10.0.0.10,10.0.0.11", 1.0)
    (request,) = at.cloud.requests
    _, run, label, block = at.job.name.split(".")
    assert request.tags == {
        "team": "red",
        "Name": at.job.name,
        "parslab": at.job.name,
        "parslab-run": run,
        "parslab-executor": label,
        "parslab-block": block,
    }
    assert isinstance(at.runner, FindsJobs)


def test_labels_with_dots_are_read_from_the_name(at: Setting) -> None:
    at.runner.submit(Job("parslab.r1.my.label.12", "x", *[at.job.script, at.job.stdout, at.job.stderr]))
    assert at.cloud.requests[0].tags["parslab-executor"] == "my.label"
    assert at.cloud.requests[0].tags["parslab-block"] == "12"


def test_a_block_runs_while_one_instance_runs(tmp_path: Path) -> None:
    at = Setting(tmp_path, nodes_per_block=2)
    number = at.runner.submit(at.job)
    at.cloud.listed["i-10"] = Instance("i-10", BlockState.failed, "broken")
    assert at.state(number) == (RUNNING, "")
    at.cloud.listed["i-11"] = Instance("i-11", BlockState.finished, "taken back")
    assert at.state(number) == (BlockState.failed, "broken")
    # The end is final, and also what the cloud might keep of the instances is deleted.
    assert set(at.cloud.terminated) == {"i-10", "i-11"}
    at.cloud.listed.clear()
    assert at.state(number) == (BlockState.failed, "broken")


def test_an_instance_that_shut_itself_down_has_the_status_of_its_console(at: Setting) -> None:
    number = at.runner.submit(at.job)
    at.cloud.listed["i-10"] = Instance("i-10", BlockState.finished, "down", ended_itself=True)
    assert at.state(number) is None or at.state(number) == (RUNNING, "")  # the console is late
    at.cloud.consoles["i-10"] = f"boot\nparslab: begin of {at.job.name}\nno module\nparslab: exit status 2\n"
    assert at.state(number) == (BlockState.failed, "exit status 2")
    with open(at.job.stdout) as file:
        assert file.read() == "no module\n"


def test_a_console_that_never_comes(at: Setting) -> None:
    number = at.runner.submit(at.job)
    assert at.state(number) == (RUNNING, "")
    at.cloud.listed["i-10"] = Instance("i-10", BlockState.finished, "down", ended_itself=True)
    assert at.state(number) == (RUNNING, "")
    at.now = OUTPUT_WITHIN
    assert at.state(number) == (BlockState.finished, "down")


def test_instances_that_the_cloud_never_lists(at: Setting) -> None:
    number = at.runner.submit(at.job)
    at.cloud.listed.clear()
    assert at.state(number) is None
    at.now = PATIENCE - 1
    assert at.state(number) is None
    at.now = PATIENCE
    assert at.state(number) == (BlockState.missing, "Fake does not list i-10 any more")


def test_a_new_instance_that_is_not_listed_yet_is_not_forgotten(at: Setting) -> None:
    """It would run until the end of its lease, and cost money."""
    number = at.runner.submit(at.job)
    kept, at.cloud.listed = at.cloud.listed, {}
    with pytest.raises(OSError, match="Fake does not list i-10 yet"):
        at.runner.cancel([number])
    assert at.slept == 3.0
    at.cloud.listed = kept
    at.runner.cancel([number])
    assert at.cloud.terminated == ["i-10"]


def test_an_old_instance_that_is_not_listed_has_ended(at: Setting) -> None:
    number = at.runner.submit(at.job)
    at.cloud.listed.clear()
    at.now = PATIENCE
    at.runner.cancel([number, "i-of-another-process"])
    assert at.state(number) == (BlockState.scaled_in, "ended")


def test_a_cancelled_block_is_scaled_in_whatever_the_cloud_calls_it(at: Setting) -> None:
    number = at.runner.submit(at.job)
    at.runner.cancel([number])
    at.cloud.listed["i-10"] = Instance("i-10", BlockState.failed, "words")
    assert at.state(number) == (BlockState.scaled_in, "words")
    at.runner.cancel([number])
    at.runner.close()
    assert at.cloud.closed


@pytest.mark.parametrize(("kind", "transient"), [("capacity", True), ("busy", True), ("quota", False)])
def test_refusals_that_pass_are_tried_again(at: Setting, kind: str, transient: bool) -> None:
    at.cloud.error = failure("Fake", FailureKind(kind), "words")
    with pytest.raises(SubmitError, match="words") as caught:
        at.runner.submit(at.job)
    assert caught.value.transient is transient


def test_a_price_that_the_account_may_not_read_is_asked_for_once(at: Setting) -> None:
    number = at.runner.submit(at.job)
    for _ in range(3):
        assert at.runner.status([number])[number].price is None
    assert at.cloud.prices_asked == 1


def test_instances_get_the_invitation_without_what_is_of_this_host(tmp_path: Path) -> None:
    at = Setting(tmp_path, notebook_address="notebook.example.org")
    path = tmp_path / "manager-htex.json"
    path.write_text(
        json.dumps({"secret_key": "k3y", "socket": "/run/x", "addresses": ["tcp://10.0.0.1:5", "tcp://[::1]:5"]})
    )
    path.chmod(0o600)
    job = Job(at.job.name, "x", at.job.script, at.job.stdout, at.job.stderr, "python3", str(path))
    at.runner.submit(job)
    script = at.cloud.requests[0].start_script
    assert '"secret_key": "k3y", "socket": "", "addresses": ["tcp://notebook.example.org:5"]' in script
    with open(at.job.script) as file:
        assert "k3y" not in file.read()


def test_a_run_folder_that_is_gone(at: Setting, tmp_path: Path) -> None:
    with pytest.raises(SubmitError, match="somebody has deleted it"):
        at.runner.submit(a_job(tmp_path / "none"))


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        (
            AWSProvider(image_id="ami-1"),
            "botocore, which AWSProvider needs, is not installed: pip install 'parslab[aws]'",
        ),
        (
            OpenStackProvider(image="debian", flavor="tiny"),
            "openstacksdk, which OpenStackProvider needs, is not installed: pip install 'parslab[openstack]'",
        ),
    ],
)
def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, provider: CloudProvider, says: str) -> None:
    monkeypatch.setattr(type(provider), "module", "no_such_package.inside")
    executor = HighThroughputExecutor(provider=provider)
    with pytest.raises(OptionalModuleMissing) as caught:
        executor.settings()
    assert str(caught.value) == says
