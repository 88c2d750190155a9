"""EC2 for tests: moto's server in a process of its own, whose instances boot as processes of this host."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EC2"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class EC2:
    """A running server.

    Attributes
    ----------
    url
        Its address.
    folder
        The folder with the files of its machines.
    """

    url: str
    folder: Path

    @classmethod
    @contextlib.contextmanager
    def serving(cls) -> Iterator[EC2]:
        """Serve, with the variables of the environment by which clients find the server and log in."""
        if find_spec("moto") is None:
            pytest.skip("moto is not installed")
        folder = Path(tempfile.mkdtemp(prefix="plc-", dir="/tmp"))
        environment = {
            "AWS_ENDPOINT_URL": "",
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-tests",
            "AWS_CONFIG_FILE": str(folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }
        with (
            open(folder / "log", "wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", "tests.clouds.ec2_server", folder],
                cwd=ROOT,
                env={**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as server,
        ):
            assert server.stdin is not None
            assert server.stdout is not None
            try:
                url = server.stdout.readline().strip()
                assert url, (folder / "log").read_text()
                with pytest.MonkeyPatch.context() as patch:
                    for name, value in {**environment, "AWS_ENDPOINT_URL": url}.items():
                        patch.setenv(name, value)
                    yield cls(url, folder)
            finally:
                server.stdin.close()
                server.wait()
        shutil.rmtree(folder)

    def machines(self) -> list[str]:
        """The instances that are on."""
        return sorted(path.stem for path in self.folder.glob("*.on"))

    def take_back(self, instance: str) -> None:
        """End a spot instance, as EC2 does when it needs the machine."""
        (self.folder / f"{instance}.taken").touch()

    def instances(self, block: str = "") -> list[dict[str, Any]]:
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

    def running(self, block: str = "") -> list[str]:
        """The ids of those instances that have not ended."""
        ended = ("shutting-down", "terminated")
        return [one["InstanceId"] for one in self.instances(block) if one["State"]["Name"] not in ended]
