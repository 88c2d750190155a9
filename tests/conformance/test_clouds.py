"""The providers for clouds in the family's suite, on instances that boot as processes of this host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from parslab.providers.base import SubmitError
from parslab.providers.cloud.aws import AWSProvider
from parslab.providers.cloud.google import GoogleCloudProvider
from parslab.providers.cloud.openstack import OpenStackProvider
from parslab.records.states import BlockState
from parslab.testing.conformance.jobs import a_job
from parslab.testing.conformance.providers import ProviderSuite
from tests.clouds import ec2, google_server, openstack_server
from tests.process.sandbox import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab.providers.base import Provider
    from tests.clouds.stand_in import StandIn

pytestmark = [
    pytest.mark.timeout(180),
    # openstacksdk 4 warns of what it does itself, whoever uses it.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:openstack"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack"),
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


class CloudSuite(ProviderSuite):
    """The suite, and that no machine is left."""

    one_output = True
    limit = 90.0

    @pytest.fixture
    def cloud(self) -> StandIn:
        """The stand-in of the cloud."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, cloud: StandIn) -> Iterator[None]:
        yield
        until(lambda: not cloud.machines(), 60, "all machines are off")

    def test_a_block_of_several_instances(self, folder: Path, cloud: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        """It runs as long as one of them, and all end with it."""
        # A machine that is taken away writes no exit status to its console, so there is nothing to wait for.
        monkeypatch.setattr("parslab.providers.cloud.runner.OUTPUT_WITHIN", 0.5)
        with self.running(folder, nodes_per_block=2) as runner:
            number = runner.submit(a_job(folder, "1", "sleep 300"))
            self.until(runner, number, BlockState.running)
            machines = until(lambda: len(found := cloud.machines()) == 2 and found, 60, "two machines")
            cloud.take_back(machines[0])
            until(lambda: len(cloud.machines()) == 1, 60, "one machine is off")
            assert runner.status([number])[number].state is BlockState.running
            cloud.take_back(machines[1])
            assert self.until(runner, number).state is not BlockState.scaled_in


class TestAWS(CloudSuite):
    @pytest.fixture
    def cloud(self, amazon: StandIn) -> StandIn:
        return amazon

    def provider(self, **options: Any) -> AWSProvider:
        return AWSProvider(**{"image_id": "ami-12345678", "poll_interval": 0.1, **options})

    def refused(self) -> tuple[Provider, str]:
        return self.provider(subnet_id="subnet-0"), "EC2 refuses the options .InvalidSubnetID.NotFound: .* load again"


class TestOpenStack(CloudSuite):
    @pytest.fixture
    def cloud(self, openstack: StandIn) -> StandIn:
        return openstack

    def provider(self, **options: Any) -> OpenStackProvider:
        return OpenStackProvider(**{"image": "debian", "flavor": "tiny", "poll_interval": 0.1, **options})

    def refused(self) -> tuple[Provider, str]:
        return self.provider(image="no-image"), "OpenStack refuses the options .No Image found for no-image"

    @pytest.mark.parametrize(
        ("code", "message", "says"),
        [
            ("403", "Quota exceeded for cores", "The quota of this OpenStack account is used up .Quota exceeded for"),
            ("403", "Policy doesn't allow it", "The credentials for OpenStack do not allow this .Policy doesn't"),
            ("500", "No valid host was found", "OpenStack has no machine of this kind free now"),
        ],
    )
    def test_refusals(self, folder: Path, cloud: StandIn, code: str, message: str, says: str) -> None:
        """The first instance of the block, which was made before the refusal, is deleted."""
        runner = self.provider(nodes_per_block=2).runner(folder)
        cloud.refuse_once(after=1, code=code, message=message)
        with pytest.raises(SubmitError, match=says):
            runner.submit(a_job(folder))
        runner.close()

    def test_a_wrong_password(self, folder: Path, cloud: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OS_PASSWORD", "hidden-word")
        runner = self.provider().runner(folder)
        with pytest.raises(SubmitError) as caught:
            runner.submit(a_job(folder))
        runner.close()
        assert f"{caught.value}".startswith("OpenStack does not accept the credentials (The request needs a login")
        assert "hidden-word" not in f"{caught.value}"


class TestGoogleCloud(CloudSuite):
    @pytest.fixture
    def cloud(self, google: StandIn) -> StandIn:
        return google

    def provider(self, **options: Any) -> GoogleCloudProvider:
        return GoogleCloudProvider(**{"poll_interval": 0.1, **options})

    def refused(self) -> tuple[Provider, str]:
        return self.provider(
            image="no-image"
        ), "Google Cloud refuses the options .The resource 'global/images/no-image'"

    @pytest.mark.parametrize(
        ("facts", "says"),
        [
            (
                {"code": "403", "reason": "quotaExceeded", "message": "Quota 'CPUS' exceeded.  Limit: 8.0"},
                "The quota of this Google Cloud account is used up .Quota 'CPUS' exceeded. Limit: 8.0.: lower",
            ),
            (
                {"late": "1", "reason": "QUOTA_EXCEEDED", "message": "Limit 'SSD' exceeded"},
                "The quota of this Google Cloud account is used up .Limit 'SSD' exceeded",
            ),
            (
                {"code": "403", "reason": "forbidden", "message": "Required permission for 'projects/p'"},
                "The credentials for Google Cloud do not allow this .Required permission",
            ),
            ({"code": "503", "reason": "backendError", "message": "Backend Error"}, "Google Cloud does not answer now"),
        ],
    )
    def test_refusals(self, folder: Path, cloud: StandIn, facts: dict[str, str], says: str) -> None:
        """The first instance of the block, which was made before the refusal, is deleted."""
        runner = self.provider(nodes_per_block=2).runner(folder)
        cloud.refuse_once(after=1, **facts)
        with pytest.raises(SubmitError, match=says):
            runner.submit(a_job(folder))
        runner.close()

    def test_a_zone_without_room(self, folder: Path, cloud: StandIn) -> None:
        """The next zone of the region takes the block."""
        with self.running(folder) as runner:
            words = "The zone 'us-central1-a' does not have enough resources available"
            cloud.refuse_once(late="1", reason="ZONE_RESOURCE_POOL_EXHAUSTED", message=words)
            number = runner.submit(a_job(folder, command="sleep 300"))
            assert number.startswith("us-central1-b/parslab-")
            self.until(runner, number, BlockState.running)

    def test_a_key_that_is_not_accepted(self, folder: Path, cloud: StandIn) -> None:
        stranger = cloud.folder / "stranger"
        stranger.touch()
        try:
            runner = self.provider().runner(folder)
            with pytest.raises(SubmitError) as caught:
                runner.submit(a_job(folder))
            runner.close()
        finally:
            stranger.unlink()
        assert f"{caught.value}".startswith("Google Cloud does not accept the credentials (invalid_grant")
        assert "PRIVATE KEY" not in f"{caught.value}"

    def test_a_key_file_that_is_none(self, folder: Path) -> None:
        wrong = folder / "key.json"
        wrong.write_text('{"private_key": "hidden-word"}')
        for path, words in ((wrong, "is no file of a service account"), (folder / "none", "No such file")):
            runner = self.provider(key_file=str(path)).runner(folder)
            with pytest.raises(SubmitError, match=words) as caught:
                runner.submit(a_job(folder))
            runner.close()
            assert "hidden-word" not in f"{caught.value}"
