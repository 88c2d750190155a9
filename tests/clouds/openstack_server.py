"""The requests of OpenStack that a provider makes: Keystone, Nova, and each name of Glance and Neutron."""

from __future__ import annotations

import base64
import contextlib
import uuid
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.clouds.stand_in import Cloud, StandIn, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PASSWORD", "TOKEN", "serving"]

PASSWORD = "the-password-of-the-tests"
TOKEN = "the-token-of-the-tests"
_VERSION = {"id": "v2.1", "status": "CURRENT", "version": "2.90", "min_version": "2.1"}


@contextlib.contextmanager
def serving() -> Iterator[StandIn]:
    """Serve, with the variables of the environment by which clients find the server and log in."""
    if find_spec("openstack") is None:
        pytest.skip("openstacksdk is not installed")
    with StandIn.serving(
        "tests.clouds.openstack_server",
        OS_AUTH_URL="URL/identity/v3",
        OS_USERNAME="u",
        OS_PASSWORD=PASSWORD,
        OS_PROJECT_NAME="p",
        OS_USER_DOMAIN_NAME="Default",
        OS_PROJECT_DOMAIN_NAME="Default",
        OS_REGION_NAME="R",
    ) as server:
        yield server


class OpenStack(Cloud):
    """An OpenStack that knows one user."""

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: Any, base: str
    ) -> tuple[int, Any, dict[str, str]]:
        service, _, rest = path.lstrip("/").partition("/")
        if service == "identity":
            return self._identity(method, body, base)
        if service == "glance":
            return self._named("images", rest, f"{base}/glance/v2/", "v2.9", {"status": "active"})
        if service == "neutron":
            return self._named("networks", rest, f"{base}/neutron/v2.0/", "v2.0", {"status": "ACTIVE"})
        if rest == "v2.1":
            return 200, {"version": {**_VERSION, "links": [{"rel": "self", "href": f"{base}/nova/v2.1/"}]}}, {}
        return self._nova(method, rest.removeprefix("v2.1/"), query, body)

    def _identity(self, method: str, body: Any, base: str) -> tuple[int, Any, dict[str, str]]:
        links = [{"rel": "self", "href": f"{base}/identity/v3/"}]
        version = {"id": "v3.14", "status": "stable", "links": links, "media-types": []}
        if method != "POST":
            return 200, {"version": version}, {}
        if body["auth"]["identity"]["password"]["user"]["password"] != PASSWORD:
            return 401, {"error": {"code": 401, "title": "Unauthorized", "message": "The request needs a login."}}, {}
        services = {"identity": "/identity", "compute": "/nova/v2.1", "image": "/glance", "network": "/neutron"}
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [{"interface": "public", "region": "R", "region_id": "R", "url": base + at, "id": kind}],
            }
            for kind, at in services.items()
        ]
        domain = {"id": "default", "name": "Default"}
        token = {
            "methods": ["password"],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2020-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "u", "domain": domain},
            "project": {"id": "p", "name": "p", "domain": domain},
            "roles": [],
            "catalog": catalog,
        }
        return 201, {"token": token}, {"X-Subject-Token": TOKEN}

    def _named(
        self, kind: str, rest: str, href: str, version: str, facts: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        """Answer for a service whose things all have the id of their name, but for those that begin with ``no-``."""
        if kind not in rest:
            return (
                200,
                {"versions": [{"id": version, "status": "CURRENT", "links": [{"rel": "self", "href": href}]}]},
                {},
            )
        name = rest.partition(f"{kind}/")[2]
        if not name or name.startswith("no-"):
            return (404, {"message": f"No {name}"}, {}) if name else (200, {kind: []}, {})
        found = {"id": name, "name": name, **facts}
        return 200, found if kind == "images" else {kind[:-1]: found}, {}

    def _nova(self, method: str, rest: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any, dict[str, str]]:
        kind, _, name = rest.partition("/")
        if kind == "flavors":
            return 200, {"flavor": {"id": name, "name": name, "ram": 512, "vcpus": 1, "disk": 1}}, {}
        if method == "POST" and not name:
            return self._create(body["server"])
        if name in ("", "detail"):
            return 200, {"servers": [self._shown(one) for one in self.instances]}, {}
        name, _, action = name.partition("/")
        if name not in self.instances:
            return 404, {"itemNotFound": {"code": 404, "message": f"Instance {name} could not be found."}}, {}
        if action:
            return 200, {"output": self.console(name)}, {}
        if method == "DELETE":
            self.delete(name)
            return 204, None, {}
        return 200, {"server": self._shown(name)}, {}

    def _create(self, server: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        refusal = self.refusal()
        if refusal is not None:
            code = int(refusal["code"])
            return code, {"forbidden": {"code": code, "message": refusal["message"]}}, {}
        name = str(uuid.uuid4())
        self.boot(name, server, base64.b64decode(server.pop("user_data")).decode())
        return 202, {"server": {"id": name, "links": [], "adminPass": "x"}}, {}

    def _shown(self, name: str) -> dict[str, Any]:
        network = {"net": [{"addr": "127.0.0.1", "version": 4, "OS-EXT-IPS:type": "fixed"}]}
        status = "ACTIVE" if self.is_on(name) else "SHUTOFF"
        return {**self.instances[name], "id": name, "status": status, "addresses": network}


if __name__ == "__main__":
    serve(OpenStack)
