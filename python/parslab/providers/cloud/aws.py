"""Blocks that are instances of Amazon EC2, through botocore, the library below boto3.

EC2 itself makes the end of an instance sure: its shutdown behaviour is "terminate", so an instance that shuts itself
down at the end of its lease is deleted with its disk.  A repeated request for a block makes no second set of instances,
because it has the same client token.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.description import Number, PathText, Text, Texts
from parslab.errors import ConfigurationError
from parslab.providers.cloud.base import CloudProvider
from parslab.providers.cloud.failures import CloudError, FailureKind, failure
from parslab.providers.cloud.instances import Instance, InstanceRequest
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence, Set
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["AWSProvider", "EC2Client"]

_REGION = "us-east-2"
"""The region of Parsl's provider, where neither the option nor the user's configuration names one."""

_FILTERED = 200
"""The largest number of values that a filter takes."""

_SCRIPT_LIMIT = 16_384
"""The largest size of user data in bytes."""

_TAG = "parslab"
"""The tag with the name of the block."""

_LOGIN = (
    "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile of a login that has not expired (profile=...), or "
    "key_file"
)

_KINDS = (
    (r"^RequestLimitExceeded|^Throttl|Unavailable$|^Internal|^PendingVerification|^5\d\d$", FailureKind.busy),
    (r"LimitExceeded$|^MaxSpotInstanceCountExceeded|^RequestResourceCountExceeded", FailureKind.quota),
    (r"^Insufficient|^SpotMaxPriceTooLow", FailureKind.capacity),
    (
        r"^AuthFailure|^InvalidClientTokenId|^SignatureDoesNotMatch|^UnrecognizedClient|Expired|^InvalidAccessKeyId"
        r"|^MissingAuthenticationToken|^IncompleteSignature|^InvalidSecurity|^Blocked",
        FailureKind.credentials,
    ),
    (r"^UnauthorizedOperation|^AccessDenied|^OptInRequired", FailureKind.permission),
)
"""Error codes of EC2; the first pattern that matches counts, and any other code is a wrong option."""

_BUSY = frozenset(
    {
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ConnectionClosedError",
        "HTTPClientError",
        "ConnectionError",
        "ProxyConnectionError",
        "SSLError",
        "ResponseStreamingError",
    }
)
"""Exceptions of botocore for a cloud that does not answer."""

_WRONG = frozenset({"NoRegionError", "InvalidRegionError", "ParamValidationError", "UnknownServiceError"})
"""Exceptions of botocore for wrong options; it raises its other ones for missing or unusable credentials."""


class AWSProvider(CloudProvider):
    """Blocks are instances of Amazon EC2.

    Credentials come from where boto3 finds them: the environment, ``~/.aws``, or the role of the instance on which the
    notebook runs.  No resource is made but the instances: the network is the default one of the region, or the one of
    ``subnet_id`` and ``security_group_ids``.

    Parameters
    ----------
    image_id
        The machine image (AMI), such as ``"ami-0abc1234"``.
    key_name
        The key pair for logins by ssh; None: nobody can log in.
    instance_type
        The type of the instances.
    region
        The region; None means the one of the profile or the environment, and else ``us-east-2``.
    spot_max_bid
        The most that a spot instance may cost per hour, in US dollars; 0 means the price on demand.  Another number
        implies ``spot=True``.
    key_file
        A JSON file with ``AWSAccessKeyId`` and ``AWSSecretKey``.
    profile
        The profile of ``~/.aws/config``.
    iam_instance_profile_arn
        The instance profile, whose role the instances get.
    subnet_id, security_group_ids
        The network of the instances.
    state_file
        Ignored: the block journal of the run knows the instances.

    Examples
    --------
    >>> AWSProvider(image_id="ami-0abc1234", instance_type="c7i.large", spot=True, max_blocks=10, walltime="04:00:00")
    AWSProvider(max_blocks=10, walltime=14400.0, spot=True, image_id='ami-0abc1234', instance_type='c7i.large')
    """

    positional: ClassVar[tuple[str, ...]] = (
        "image_id",
        "key_name",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "nodes_per_block",
        "parallelism",
        "worker_init",
        "instance_type",
        "region",
        "spot_max_bid",
        "key_file",
        "profile",
        "iam_instance_profile_arn",
        "state_file",
        "walltime",
        "linger",
        "launcher",
    )
    ignored: ClassVar[dict[str, str]] = {"state_file": "the block journal of the run knows the instances"}
    module: ClassVar[str] = "botocore"
    package: ClassVar[str] = "botocore"
    extra: ClassVar[str] = "aws"

    image_id = Text(None)
    key_name = Text(None)
    instance_type = Text("t2.small")
    region = Text(None)
    spot_max_bid = Number(0.0, low=0)
    key_file = PathText(None)
    profile = Text(None)
    iam_instance_profile_arn = Text("", empty=True)
    subnet_id = Text(None)
    security_group_ids = Texts(())

    def complete(self, given: Set[str]) -> None:
        super().complete(given)
        if self.spot_max_bid:
            self.spot = True

    def require(self) -> None:
        super().require()
        if not self.image_id:
            raise ConfigurationError(
                "AWSProvider: image_id must name a machine image (AMI) of the region; worker_init may install Python "
                "and parslab on it."
            )

    def client(self) -> EC2Client:
        return EC2Client(self)


class EC2Client:
    """The requests of EC2.

    Parameters
    ----------
    provider
        The provider.
    """

    cloud = "EC2"
    listed_within = 60.0

    def __init__(self, provider: AWSProvider) -> None:
        self._provider = provider
        # Several threads ask at the same time, and the first of them makes the connection.
        self._making = threading.Lock()
        self._made: Any = None

    # ----- requests

    def create(self, request: InstanceRequest) -> list[str]:
        script = request.start_script
        if len(script.encode()) > _SCRIPT_LIMIT:
            raise CloudError(
                f"The start script of {request.name} has {len(script.encode())} bytes, and EC2 takes {_SCRIPT_LIMIT}: "
                "let worker_init download a part of itself, and load again."
            )
        made = self._asked(lambda: self._ec2().run_instances(**self._creation(request)))
        return [instance["InstanceId"] for instance in made["Instances"]]

    def _creation(self, request: InstanceRequest) -> dict[str, Any]:
        provider = self._provider
        tags = [{"Key": name, "Value": text} for name, text in request.tags.items()]
        options: dict[str, Any] = {
            "ImageId": provider.image_id,
            "InstanceType": provider.instance_type,
            "MinCount": request.count,
            "MaxCount": request.count,
            "UserData": request.start_script,
            "ClientToken": hashlib.sha256(request.name.encode()).hexdigest(),
            "InstanceInitiatedShutdownBehavior": "terminate",
            # A program on the instance that can be made to fetch any URL cannot read the start script this way.
            "MetadataOptions": {"HttpTokens": "required"},
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        }
        if provider.spot:
            spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            if provider.spot_max_bid:
                spot["MaxPrice"] = f"{provider.spot_max_bid:g}"
            options["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
        wanted: dict[str, Any] = {
            "KeyName": provider.key_name,
            "SubnetId": provider.subnet_id,
            "SecurityGroupIds": list(provider.security_group_ids),
            "IamInstanceProfile": provider.iam_instance_profile_arn and {"Arn": provider.iam_instance_profile_arn},
        }
        return {**options, **{name: value for name, value in wanted.items() if value}}

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        found = []
        for start in range(0, len(ids), _FILTERED):
            # As a filter, because an id that EC2 does not know yet would make the whole request fail.
            some = {"Name": "instance-id", "Values": list(ids[start : start + _FILTERED])}
            found += [_instance(one) for one in self._listed(some)]
        return found

    def find(self, name: str) -> list[str]:
        return [one["InstanceId"] for one in self._listed({"Name": f"tag:{_TAG}", "Values": [name]})]

    def _listed(self, which: dict[str, Any]) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            more = {"NextToken": token} if token else {}
            page = self._asked(lambda: self._ec2().describe_instances(Filters=[which], **more))  # noqa: B023
            for reservation in page["Reservations"]:
                yield from reservation["Instances"]
            token = page.get("NextToken", "")
            if not token:
                return

    def terminate(self, ids: Sequence[str]) -> list[str]:
        left, unlisted = list(ids), []
        while left:
            try:
                self._asked(lambda: self._ec2().terminate_instances(InstanceIds=left))  # noqa: B023
                break
            except CloudError as error:
                # EC2 ends none of the instances if it does not know one of them, and names those.
                unknown = _unknown(error)
                some = [one for one in left if one in unknown]
                if not some:
                    raise
                unlisted += some
                left = [one for one in left if one not in unknown]
        return unlisted

    def output(self, instance: str) -> str:
        found = self._asked(lambda: self._ec2().get_console_output(InstanceId=instance))
        # botocore decodes it, except where a server sends it in another way.
        return str(found.get("Output", ""))

    def price(self) -> float | None:
        return self._asked(self._spot_price if self._provider.spot else self._price_on_demand)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    # ----- prices

    def _spot_price(self) -> float | None:
        found = self._ec2().describe_spot_price_history(
            InstanceTypes=[self._provider.instance_type],
            ProductDescriptions=["Linux/UNIX"],
            StartTime=datetime.datetime.now(datetime.timezone.utc),
            MaxResults=50,
        )
        # The zone is the choice of EC2, so the highest of their prices is the one that nobody exceeds.
        return max((float(one["SpotPrice"]) for one in found["SpotPriceHistory"]), default=None)

    def _price_on_demand(self) -> float | None:
        region = self._ec2().meta.region_name
        wanted = {
            "instanceType": self._provider.instance_type,
            "regionCode": region,
            "operatingSystem": "Linux",
            "preInstalledSw": "NA",
            "tenancy": "Shared",
            "capacitystatus": "Used",
        }
        # The service for prices has this region, whatever the region of the instances.
        pricing = self._connection("pricing", region="us-east-1", attempts=1)
        try:
            found = pricing.get_products(
                ServiceCode="AmazonEC2",
                Filters=[{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()],
                MaxResults=10,
            )
        finally:
            pricing.close()
        return next((price for one in found["PriceList"] if (price := _dollars(one)) is not None), None)

    # ----- connection

    def _ec2(self) -> Any:
        with self._making:
            if self._made is None:
                self._made = self._connection("ec2", region=self._provider.region, attempts=3)
            return self._made

    def _connection(self, service: str, region: str | None, attempts: int) -> Any:
        import botocore.config
        import botocore.session

        provider = self._provider
        session = botocore.session.Session(profile=provider.profile)
        keys = _keys(provider.key_file) if provider.key_file else {}
        limit = float(provider.cmd_timeout)
        config = botocore.config.Config(
            connect_timeout=limit,
            read_timeout=limit,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            user_agent_extra="parslab",
        )
        region = region or session.get_config_variable("region") or _REGION
        return session.create_client(service, region_name=region, config=config, **keys)

    def _asked(self, ask: Callable[[], T]) -> T:
        """Make a request; raises CloudError with a sentence for the user."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return ask()
        except ClientError as error:
            raise _refusal(error.response.get("Error", {})) from None
        except BotoCoreError as error:
            raise _explained(type(error), f"{error}") from None


class _Refused(CloudError):
    """An error with the code of EC2."""

    def __init__(self, error: CloudError, code: str, message: str) -> None:
        super().__init__(f"{error}", error.transient)
        self.code, self.message = code, message


def _refusal(error: dict[str, str]) -> _Refused:
    """Return what a refusal of EC2 means."""
    code, message = error.get("Code", "unknown error"), error.get("Message", "")
    kind = next((kind for pattern, kind in _KINDS if re.search(pattern, code)), FailureKind.wrong)
    return _Refused(failure("EC2", kind, f"{code}: {message}", _LOGIN), code, message)


def _explained(raised: type[Exception], words: str) -> CloudError:
    """Return what an exception of botocore means, which it raises before EC2 has answered."""
    names = {cls.__name__ for cls in raised.__mro__}
    kind = FailureKind.busy if names & _BUSY else FailureKind.wrong if names & _WRONG else FailureKind.credentials
    return failure("EC2", kind, words, _LOGIN)


def _unknown(error: CloudError) -> frozenset[str]:
    """Return the instances that EC2 does not know, if that is the error."""
    if isinstance(error, _Refused) and error.code.startswith("InvalidInstanceID"):
        return frozenset(re.findall(r"i-[0-9a-f]+|(?<=')[^', ]+(?=')|(?<=\")[^\", ]+(?=\")", error.message))
    return frozenset()


def _keys(path: str) -> dict[str, str]:
    """Return the keys of a file as botocore takes them."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return {
            "aws_access_key_id": str(found["AWSAccessKeyId"]),
            "aws_secret_access_key": str(found["AWSSecretKey"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        # The text of the error may quote a part of the file.
        raise CloudError(
            f"AWSProvider cannot read AWSAccessKeyId and AWSSecretKey from {path} ({type(error).__name__}): correct "
            "the file, or give the credentials in another way, and load again."
        ) from None


_ENDS = {
    "Client.InstanceInitiatedShutdown": (BlockState.finished, "the instance has shut itself down"),
    "Client.UserInitiatedShutdown": (BlockState.scaled_in, "a request has terminated the instance"),
    "Server.SpotInstanceTermination": (BlockState.finished, "EC2 took the spot instance back"),
    "Server.SpotInstanceShutdown": (BlockState.finished, "EC2 took the spot instance back"),
}
"""What the reasons of EC2 mean; with any other one the instance has failed."""


def _instance(found: dict[str, Any]) -> Instance:
    name = found["State"]["Name"]
    host = found.get("PrivateIpAddress", "") or found.get("PublicIpAddress", "")
    if name in ("pending", "running"):
        state = BlockState.queued if name == "pending" else BlockState.running
        return Instance(found["InstanceId"], state, "", host)
    reason = found.get("StateReason", {})
    code = reason.get("Code", "")
    words = reason.get("Message", "") or found.get("StateTransitionReason", "") or f"the instance is {name}"
    state, words = _ENDS.get(code, (BlockState.failed, words))
    return Instance(found["InstanceId"], state, words, host, code == "Client.InstanceInitiatedShutdown")


def _dollars(product: str) -> float | None:
    """Return the price per hour of an entry of the price list; None if it has none."""
    for term in json.loads(product).get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            price = float(dimension.get("pricePerUnit", {}).get("USD", 0.0))
            if price:
                return price
    return None
