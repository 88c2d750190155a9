"""What is asked of Google Compute Engine, and what its answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from parslab import GoogleCloudProvider
from parslab.errors import ConfigurationError
from parslab.providers.cloud.google import creation, label
from parslab.providers.cloud.instances import InstanceRequest

TAGS = {"Name": "parslab.000-1a2b3c.My label.0", "parslab": "parslab.000-1a2b3c.My label.0", "parslab-block": "0"}
REQUEST = InstanceRequest(name=TAGS["Name"], count=1, start_script="#!/bin/bash\n", tags=TAGS, lease=3600.0)


def made(**options: Any) -> dict[str, Any]:
    return creation(GoogleCloudProvider(**options), "us-central1-a", "name", REQUEST)


def test_an_instance_ends_with_its_lease_whatever_happens_to_it() -> None:
    scheduling = made()["scheduling"]
    assert scheduling["maxRunDuration"] == {"seconds": "3900"}
    assert scheduling["instanceTerminationAction"] == "DELETE"
    assert scheduling["automaticRestart"] is False
    assert [made(spot=spot)["scheduling"]["provisioningModel"] for spot in (False, True)] == ["STANDARD", "SPOT"]
    assert made()["disks"][0]["autoDelete"] is True


def test_labels_name_the_block_in_the_letters_that_google_takes() -> None:
    found = made()["labels"]
    assert found["parslab-block"] == "0"
    assert found["parslab"] == label(REQUEST.name)
    assert found.keys() >= {"parslab", "parslab-block"}
    assert all(len(text) <= 63 and text == text.lower() for text in [*found, *found.values()])


@pytest.mark.parametrize("text", ["a" * 64, "A", "a.b", "a b", "é"])
def test_texts_that_must_change_stay_different(text: str) -> None:
    assert label(text) != label(text.lower() + "x")
    assert len(label(text)) <= 63


@pytest.mark.parametrize(
    ("options", "image"),
    [
        ({}, "projects/debian-cloud/global/images/family/debian-12"),
        ({"os_project": "p", "os_family": "f"}, "projects/p/global/images/family/f"),
        ({"image": "mine"}, "global/images/mine"),
        ({"image": "projects/p/global/images/x"}, "projects/p/global/images/x"),
    ],
)
def test_images(options: dict[str, Any], image: str) -> None:
    assert made(**options)["disks"][0]["initializeParams"]["sourceImage"] == image


def test_networks() -> None:
    assert made()["networkInterfaces"][0]["network"] == "global/networks/default"
    (inner,) = made(subnetwork="s", external_ip=False)["networkInterfaces"]
    assert inner == {"subnetwork": "regions/us-central1/subnetworks/s"}


def test_tasks_have_rights_only_where_an_account_is_named() -> None:
    assert "serviceAccounts" not in made()
    assert made(service_account="me@p")["serviceAccounts"][0]["email"] == "me@p"


def test_more_fields() -> None:
    wanted = [{"acceleratorType": "zones/z/acceleratorTypes/nvidia-l4", "acceleratorCount": 1}]
    assert list(made(template={"guestAccelerators": wanted})["guestAccelerators"]) == wanted


def test_a_region_is_no_zone() -> None:
    with pytest.raises(ConfigurationError, match="zone must be a zone such as 'us-central1-b', not 'us-central1'"):
        GoogleCloudProvider(zone="us-central1")
