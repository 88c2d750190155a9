"""The requests of Google Compute Engine that a provider makes, and the login of a service account."""

from __future__ import annotations

import contextlib
import json
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.clouds.stand_in import Cloud, StandIn, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TOKEN", "serving"]

TOKEN = "ya29.the-token-of-the-tests"
ZONES = ("us-central1-a", "us-central1-b")


@contextlib.contextmanager
def serving() -> Iterator[StandIn]:
    """Serve, with the variables of the environment by which clients find the server and log in."""
    if find_spec("google.auth") is None:
        pytest.skip("google-auth is not installed")
    with StandIn.serving(
        "tests.clouds.google_server",
        CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE="URL",
        GOOGLE_APPLICATION_CREDENTIALS="FOLDER/account.json",
    ) as server:
        (server.folder / "account.json").write_text(json.dumps(account(server.url)))
        yield server


def account(url: str) -> dict[str, str]:
    """The file of a service account, with a key that only this test knows."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k",
        "private_key": text,
        "client_email": "me@p.example",
        "client_id": "1",
        "token_uri": f"{url}/token",
    }


class ComputeEngine(Cloud):
    """A project with one region of two zones."""

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: Any, base: str
    ) -> tuple[int, Any, dict[str, str]]:
        if path == "/token":
            if (self.folder / "stranger").exists():
                return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, {}
            return 200, {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}, {}
        rest = path.removeprefix("/compute/v1/projects/p/")
        if rest == "aggregated/instances":
            return 200, {"items": {f"zones/{zone}": self._zone(zone, query["filter"][0]) for zone in ZONES}}, {}
        if rest.startswith("regions/"):
            return 200, {"zones": [f"{base}/compute/v1/projects/p/zones/{zone}" for zone in ZONES]}, {}
        _, zone, _, *names = rest.split("/")
        if method == "POST":
            return self._create(zone, body)
        name = f"{zone}.{names[0]}"
        if name not in self.instances:
            return _refused(404, "notFound", f"The resource '{rest}' was not found")
        if names[1:] == ["serialPort"]:
            return 200, {"contents": self.console(name)}, {}
        if method == "DELETE":
            self.delete(name)
        return 200, {"name": "operation-1", "status": "DONE"}, {}

    def _create(self, zone: str, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        refusal = self.refusal()
        if refusal is not None:
            if refusal.get("late"):  # the request is accepted, and its operation fails
                wrong = {"code": refusal["reason"], "message": refusal["message"]}
                return 200, {"name": "operation-1", "status": "DONE", "error": {"errors": [wrong]}}, {}
            return _refused(int(refusal["code"]), refusal["reason"], refusal["message"])
        image = body["disks"][0]["initializeParams"]["sourceImage"]
        if "no-image" in image:
            return _refused(404, "notFound", f"The resource '{image}' was not found")
        name = f"{zone}.{body['name']}"
        if name in self.instances:
            return _refused(409, "alreadyExists", f"The resource '{name}' already exists")
        script = body["metadata"]["items"][0]["value"]
        self.boot(name, {key: value for key, value in body.items() if key != "metadata"}, script)
        return 200, {"name": "operation-1", "status": "DONE"}, {}

    def _zone(self, zone: str, which: str) -> dict[str, Any]:
        wanted = re.fullmatch(r"labels\.parslab(?:=(.*)|:\*)", which)
        assert wanted is not None
        found = [
            {
                "name": facts["name"],
                "zone": f"https://compute.example/zones/{zone}",
                "labels": facts["labels"],
                "status": "RUNNING" if self.is_on(name) else "TERMINATED",
                "networkInterfaces": [{"networkIP": "127.0.0.1"}],
            }
            for name, facts in self.instances.items()
            if name.startswith(f"{zone}.") and wanted[1] in (None, facts["labels"]["parslab"])
        ]
        return {"instances": found} if found else {"warning": {"code": "NO_RESULTS_ON_PAGE"}}


def _refused(code: int, reason: str, message: str) -> tuple[int, Any, dict[str, str]]:
    error = {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}
    return code, {"error": error}, {}


if __name__ == "__main__":
    serve(ComputeEngine)
