"""The providers for clouds in the family's suite, on instances that boot as processes of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.providers.cloud.aws import AWSProvider
from parslab.testing.conformance.providers import ProviderSuite
from tests.clouds.ec2 import EC2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Provider

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def ec2() -> Iterator[EC2]:
    with EC2.serving() as server:
        yield server


class TestAWS(ProviderSuite):
    one_output = True

    @pytest.fixture(autouse=True)
    def server(self, ec2: EC2) -> Iterator[None]:
        yield
        assert ec2.running() == []

    def provider(self, **options: Any) -> AWSProvider:
        return AWSProvider(**{"image_id": "ami-12345678", "poll_interval": 0.1, **options})

    def refused(self) -> tuple[Provider, str]:
        return self.provider(
            subnet_id="subnet-0"
        ), "EC2 refuses the options .InvalidSubnetID.NotFound: .*, and load again"
