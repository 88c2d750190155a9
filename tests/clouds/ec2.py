"""EC2 for tests: moto's server in a process of its own, whose instances boot as processes of this host."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.clouds.stand_in import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KEY", "SECRET", "instances", "running", "serving"]

KEY = "AKIATESTTESTTESTTEST"
SECRET = "the-secret-of-the-tests"


@contextlib.contextmanager
def serving() -> Iterator[StandIn]:
    """Serve, with the variables of the environment by which clients find the server and log in."""
    if find_spec("moto") is None or find_spec("flask_cors") is None:
        pytest.skip("moto and its server are not installed")
    with StandIn.serving(
        "tests.clouds.ec2_server",
        AWS_ENDPOINT_URL="URL",
        AWS_ACCESS_KEY_ID=KEY,
        AWS_SECRET_ACCESS_KEY=SECRET,
        AWS_CONFIG_FILE="FOLDER/none",
        AWS_SHARED_CREDENTIALS_FILE="FOLDER/none",
        AWS_EC2_METADATA_DISABLED="true",
    ) as server:
        yield server


def instances(block: str = "") -> list[dict[str, Any]]:
    """All instances, or those of blocks whose names begin with a text, as the API describes them."""
    import botocore.session

    ec2 = botocore.session.Session().create_client("ec2", region_name="us-east-2")
    try:
        pages = ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "tag:parslab", "Values": [f"{block}*"]}]
        )
        return [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
    finally:
        ec2.close()


def running(block: str = "") -> list[str]:
    """The ids of those instances that have not ended."""
    ended = ("shutting-down", "terminated")
    return [one["InstanceId"] for one in instances(block) if one["State"]["Name"] not in ended]
