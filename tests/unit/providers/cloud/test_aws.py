"""The requests and answers of EC2, with botocore's own checks of both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
)
from botocore.stub import ANY, Stubber

from parslab.errors import ConfigurationError
from parslab.providers.cloud.aws import AWSProvider, EC2Client
from parslab.providers.cloud.failures import CloudError
from parslab.providers.cloud.instances import InstanceRequest
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "never-shown-anywhere"


NO_CONFIGURATION = {
    "AWS_ACCESS_KEY_ID": "AKIAABCDEFGHIJKLMNOP",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@pytest.fixture(autouse=True, scope="module")
def login() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in NO_CONFIGURATION.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    """One connection for all tests, because botocore takes half a second to make one."""
    client = EC2Client(AWSProvider(image_id="ami-1"))
    yield client._ec2()
    client.close()


class Stubbed:
    """A client of EC2 whose answers are prepared."""

    def __init__(self, connection: Any) -> None:
        self.stub = Stubber(connection)
        self.stub.activate()
        self._connection = connection
        self.client = self.of()

    def of(self, **options: Any) -> EC2Client:
        """Return a client for other options."""
        client = EC2Client(AWSProvider(**{"image_id": "ami-1", **options}))
        client._made = self._connection
        return client

    def refuses(self, call: str, code: str, message: str = "words") -> None:
        self.stub.add_client_error(call, code, message)


@pytest.fixture
def stubbed(connection: Any) -> Iterator[Stubbed]:
    made = Stubbed(connection)
    yield made
    made.stub.assert_no_pending_responses()
    made.stub.deactivate()


def request(**options: Any) -> InstanceRequest:
    facts = {"name": "parslab.r.htex.0", "count": 1, "start_script": "#!", "tags": {"parslab": "n"}, "lease": 60.0}
    return InstanceRequest(**{**facts, **options})


def test_a_request_names_the_end_before_it_begins(stubbed: Stubbed) -> None:
    client = stubbed.of(
        spot_max_bid=0.02,
        key_name="k",
        subnet_id="subnet-1",
        security_group_ids=["sg-1"],
        iam_instance_profile_arn="arn:p",
    )
    tags = [{"Key": "parslab", "Value": "n"}]
    stubbed.stub.add_response(
        "run_instances",
        {"Instances": [{"InstanceId": "i-1"}, {"InstanceId": "i-2"}]},
        {
            "ImageId": "ami-1",
            "InstanceType": "t2.small",
            "MinCount": 2,
            "MaxCount": 2,
            "UserData": "#!",
            "ClientToken": ANY,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required"},
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": tags},
                {"ResourceType": "volume", "Tags": tags},
            ],
            "InstanceMarketOptions": {
                "MarketType": "spot",
                "SpotOptions": {
                    "SpotInstanceType": "one-time",
                    "InstanceInterruptionBehavior": "terminate",
                    "MaxPrice": "0.02",
                },
            },
            "KeyName": "k",
            "SubnetId": "subnet-1",
            "SecurityGroupIds": ["sg-1"],
            "IamInstanceProfile": {"Arn": "arn:p"},
        },
    )
    assert client.create(request(count=2)) == ["i-1", "i-2"]


def test_a_repeated_request_has_the_same_token(stubbed: Stubbed) -> None:
    tokens = [stubbed.client._creation(request(name=name))["ClientToken"] for name in ("a", "a", "b")]
    assert tokens[0] == tokens[1] != tokens[2]
    assert len(tokens[0]) == 64


def test_a_start_script_that_is_too_long(stubbed: Stubbed) -> None:
    with pytest.raises(CloudError, match="has 20002 bytes, and EC2 takes 16384: let worker_init download"):
        stubbed.client.create(request(start_script="#!" + "x" * 20_000))


@pytest.mark.parametrize(
    ("code", "says", "transient"),
    [
        ("InstanceLimitExceeded", "The quota of this EC2 account is used up", False),
        ("VcpuLimitExceeded", "The quota of this EC2 account is used up", False),
        ("MaxSpotInstanceCountExceeded", "The quota of this EC2 account is used up", False),
        ("InsufficientInstanceCapacity", "EC2 has no machine of this kind free now", True),
        ("SpotMaxPriceTooLow", "EC2 has no machine of this kind free now", True),
        ("AuthFailure", "EC2 does not accept the credentials", False),
        ("ExpiredToken", "EC2 does not accept the credentials", False),
        ("RequestExpired", "EC2 does not accept the credentials", False),
        ("UnauthorizedOperation", "The credentials for EC2 do not allow this", False),
        ("RequestLimitExceeded", "EC2 does not answer now", True),
        ("Unavailable", "EC2 does not answer now", True),
        ("InvalidAMIID.NotFound", "EC2 refuses the options", False),
        ("Unsupported", "EC2 refuses the options", False),
    ],
)
def test_refusals(stubbed: Stubbed, code: str, says: str, transient: bool) -> None:
    stubbed.refuses("run_instances", code)
    with pytest.raises(CloudError) as caught:
        stubbed.client.create(request())
    assert f"{caught.value}".startswith(f"{says} ({code}: words)")
    assert caught.value.transient is transient
    assert caught.value.__cause__ is None
    assert SECRET not in f"{caught.value!r}"


@pytest.mark.parametrize(
    ("error", "says", "transient"),
    [
        (NoCredentialsError(), "EC2 does not accept the credentials (Unable to locate credentials): give AWS_", False),
        (ProfileNotFound(profile="p"), "EC2 does not accept the credentials (The config profile (p) could", False),
        (NoRegionError(), "EC2 refuses the options (You must specify a region)", False),
        (EndpointConnectionError(endpoint_url="u"), "EC2 does not answer now (Could not connect to the", True),
        (ConnectTimeoutError(endpoint_url="u"), "EC2 does not answer now (Connect timeout on endpoint", True),
    ],
)
def test_what_botocore_raises_itself(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str, transient: bool
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(EC2Client, "_connection", fail)
    with pytest.raises(CloudError) as caught:
        EC2Client(AWSProvider(image_id="ami-1")).describe(["i-1"])
    assert f"{caught.value}".startswith(says)
    assert caught.value.transient is transient


def described(instance: str, name: str, code: str = "", message: str = "") -> dict[str, Any]:
    facts = {"InstanceId": instance, "State": {"Name": name}, "PrivateIpAddress": "10.0.0.1"}
    return {**facts, "StateReason": {"Code": code, "Message": message}} if code else facts


@pytest.mark.parametrize(
    ("name", "code", "state", "reason", "itself"),
    [
        ("pending", "", "queued", "", False),
        ("running", "", "running", "", False),
        ("shutting-down", "Client.InstanceInitiatedShutdown", "finished", "the instance has shut itself down", True),
        ("terminated", "Client.UserInitiatedShutdown", "scaled_in", "a request has terminated the instance", False),
        ("terminated", "Server.SpotInstanceTermination", "finished", "EC2 took the spot instance back", False),
        ("terminated", "Client.VolumeLimitExceeded", "failed", "too many", False),
        ("stopped", "", "failed", "the instance is stopped", False),
    ],
)
def test_states(stubbed: Stubbed, name: str, code: str, state: str, reason: str, itself: bool) -> None:
    pages = [
        {"Reservations": [{"Instances": [described("i-1", name, code, "too many")]}], "NextToken": "more"},
        {"Reservations": [{"Instances": [described("i-2", "running")]}]},
    ]
    which = [{"Name": "instance-id", "Values": ["i-1", "i-2"]}]
    stubbed.stub.add_response("describe_instances", pages[0], {"Filters": which})
    stubbed.stub.add_response("describe_instances", pages[1], {"Filters": which, "NextToken": "more"})
    first, second = stubbed.client.describe(["i-1", "i-2"])
    assert (first.state, first.reason, first.ended_itself) == (BlockState(state), reason, itself)
    assert (second.id, second.state, second.host) == ("i-2", BlockState.running, "10.0.0.1")


def test_many_instances_are_asked_for_in_parts(stubbed: Stubbed) -> None:
    ids = [f"i-{number}" for number in range(250)]
    for part in (ids[:200], ids[200:]):
        wanted = {"Filters": [{"Name": "instance-id", "Values": part}]}
        stubbed.stub.add_response("describe_instances", {"Reservations": []}, wanted)
    assert stubbed.client.describe(ids) == []


def test_an_instance_that_ec2_does_not_know_does_not_save_the_others(stubbed: Stubbed) -> None:
    message = "The instance IDs 'i-0a, i-0b' do not exist"
    stubbed.refuses("terminate_instances", "InvalidInstanceID.NotFound", message)
    stubbed.stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-0c"]})
    assert stubbed.client.terminate(["i-0a", "i-0c", "i-0b"]) == ["i-0a", "i-0b"]
    stubbed.refuses("terminate_instances", "UnauthorizedOperation")
    with pytest.raises(CloudError, match="do not allow"):
        stubbed.client.terminate(["i-0c"])


def test_the_price_of_a_spot_instance_is_the_highest_of_the_zones(stubbed: Stubbed) -> None:
    client = stubbed.of(spot=True)
    prices = {"SpotPriceHistory": [{"SpotPrice": "0.01"}, {"SpotPrice": "0.03"}]}
    stubbed.stub.add_response("describe_spot_price_history", prices)
    stubbed.stub.add_response("describe_spot_price_history", {"SpotPriceHistory": []})
    assert client.price() == 0.03
    assert client.price() is None


def test_the_price_on_demand_is_that_of_the_list(stubbed: Stubbed, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stubbed.of(instance_type="c7i.large")
    pricing = client._connection("pricing", region="us-east-1", attempts=1)
    terms = {"OnDemand": {"a": {"priceDimensions": {"b": {"pricePerUnit": {"USD": "0.0892500000"}}}}}}
    stub = Stubber(pricing)
    for products in ([json.dumps({"terms": {}}), json.dumps({"terms": terms})], []):
        stub.add_response("get_products", {"FormatVersion": "1", "PriceList": products})
    monkeypatch.setattr(client, "_connection", lambda *_, **__: pricing)
    with stub:
        assert client.price() == 0.08925
        assert client.price() is None


def test_the_keys_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"AWSAccessKeyId": "AKIAFILE", "AWSSecretKey": SECRET}))
    provider = AWSProvider(image_id="ami-1", key_file=str(path), region="eu-west-1")
    client = EC2Client(provider)
    credentials = client._ec2()._request_signer._credentials
    assert (credentials.access_key, credentials.secret_key) == ("AKIAFILE", SECRET)
    assert client._ec2().meta.region_name == "eu-west-1"
    assert SECRET not in repr(provider)
    client.close()
    path.write_text(f'{{"AWSAccessKeyId": "{SECRET}"')
    with pytest.raises(CloudError) as caught:
        EC2Client(provider).describe(["i-1"])
    assert f"from {path} (JSONDecodeError): correct the file" in f"{caught.value}"
    assert SECRET not in f"{caught.value}"


def test_what_the_options_imply() -> None:
    assert AWSProvider(spot_max_bid=0.1).spot
    assert not AWSProvider().spot
    assert AWSProvider().walltime == 3600.0
    assert AWSProvider("ami-1", "key", 0, 0, 7).max_blocks == 7
    with pytest.raises(ConfigurationError, match="AWSProvider: image_id must name a machine image"):
        AWSProvider().require()
