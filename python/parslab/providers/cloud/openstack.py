"""Blocks that are servers of OpenStack, through openstacksdk.

OpenStack keeps a server that has shut itself down, in the state SHUTOFF.  The core deletes it when it sees that.
"""

from __future__ import annotations

import base64
import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.description import Text, Texts
from parslab.errors import ConfigurationError
from parslab.providers.cloud.base import CloudProvider
from parslab.providers.cloud.failures import CloudError, FailureKind, all_the_same, failure
from parslab.providers.cloud.instances import Instance, InstanceRequest
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["OpenStackClient", "OpenStackProvider"]

_LOGIN = "set the OS_* variables (source the openrc file of your project), or name a cloud of clouds.yaml (cloud=...)"

_QUOTA = re.compile(r"(?i)quota|limit exceeded")
_CAPACITY = re.compile(r"(?i)no valid host|not enough hosts")


class OpenStackProvider(CloudProvider):
    """Blocks are servers of an OpenStack cloud.

    Credentials come from where the OpenStack command line finds them: the ``OS_*`` variables, or ``clouds.yaml``.

    Parameters
    ----------
    image
        The image, by its name or id.
    flavor
        The flavor, by its name or id.
    networks
        The networks, by their names or ids; none where the project has only one.
    key_name
        The key pair for logins by ssh; None: nobody can log in.
    security_groups
        The names of security groups.
    availability_zone
        The zone; None means any.
    cloud
        The name of a cloud in ``clouds.yaml``; None means the ``OS_*`` variables.
    region
        The region; None means the one of that cloud.

    Examples
    --------
    >>> OpenStackProvider(image="debian-12", flavor="m1.small", max_blocks=8, walltime="08:00:00")
    OpenStackProvider(max_blocks=8, walltime=28800.0, image='debian-12', flavor='m1.small')
    """

    positional: ClassVar[tuple[str, ...]] = ("image", "flavor")
    module: ClassVar[str] = "openstack"
    package: ClassVar[str] = "openstacksdk"
    extra: ClassVar[str] = "openstack"

    image = Text(None)
    flavor = Text(None)
    networks = Texts(())
    key_name = Text(None)
    security_groups = Texts(())
    availability_zone = Text(None)
    cloud = Text(None)
    region = Text(None)

    def check(self) -> None:
        super().check()
        if self.spot:
            raise ConfigurationError(
                "OpenStackProvider: OpenStack has no spot instances; some sites have a flavor for them instead."
            )

    def require(self) -> None:
        super().require()
        if not self.image or not self.flavor:
            raise ConfigurationError(
                "OpenStackProvider: image and flavor must name what a server is made of; worker_init may install "
                "Python and parslab on it."
            )

    def client(self) -> OpenStackClient:
        return OpenStackClient(self)


class OpenStackClient:
    """The requests of OpenStack.

    Parameters
    ----------
    provider
        The provider.
    """

    cloud = "OpenStack"
    listed_within = 5.0  # it lists a server from its creation on

    def __init__(self, provider: OpenStackProvider) -> None:
        self._provider = provider
        # Several threads ask at the same time, and the first of them makes the connection.
        self._making = threading.Lock()
        self._made: Any = None
        self._parts: dict[str, Any] = {}

    def create(self, request: InstanceRequest) -> list[str]:
        made: list[str] = []
        try:
            for number in range(request.count):
                # The names of servers need not be unique, but people tell servers apart by them.
                name = request.name if request.count == 1 else f"{request.name}-{number}"
                server = self._asked(lambda: self._compute().create_server(**self._creation(request, name)))  # noqa: B023
                made.append(server.id)
        except CloudError:
            # All or none: a part of a block would cost money, and nobody would use it.
            with contextlib.suppress(CloudError):
                self.terminate(made)
            raise
        return made

    def _creation(self, request: InstanceRequest, name: str) -> dict[str, Any]:
        provider, parts = self._provider, self._resolved()
        options = {
            "name": name,
            **parts,
            "user_data": base64.b64encode(request.start_script.encode()).decode(),
            "metadata": dict(request.tags),
            "key_name": provider.key_name,
            "security_groups": [{"name": group} for group in provider.security_groups],
            "availability_zone": provider.availability_zone,
        }
        return {option: value for option, value in options.items() if value}

    def _resolved(self) -> dict[str, Any]:
        """Return the ids of the image, the flavor and the networks; OpenStack is asked for them once."""
        if not self._parts:
            provider, connection = self._provider, self._connection()
            networks = [
                {"uuid": connection.network.find_network(name, ignore_missing=False).id} for name in provider.networks
            ]
            self._parts = {
                "image_id": connection.image.find_image(provider.image, ignore_missing=False).id,
                "flavor_id": connection.compute.find_flavor(provider.flavor, ignore_missing=False).id,
                # Servers of API 2.37 and later must say where their network comes from.
                "networks": networks or "auto",
            }
        return self._parts

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        wanted = set(ids)
        return [_instance(server) for server in self._servers("parslab") if server.id in wanted]

    def find(self, name: str) -> list[str]:
        return [server.id for server in self._servers(name) if (server.metadata or {}).get("parslab") == name]

    def _servers(self, name: str) -> list[Any]:
        # The name is a regular expression there.
        return self._asked(lambda: list(self._compute().servers(details=True, name=f"^{re.escape(name)}")))

    def terminate(self, ids: Sequence[str]) -> list[str]:
        all_the_same(ids, lambda one: self._asked(lambda: self._compute().delete_server(one, ignore_missing=True)))
        return []

    def output(self, instance: str) -> str:
        found = self._asked(lambda: self._compute().get_server_console_output(instance))
        return str((found or {}).get("output") or "")

    def price(self) -> float | None:
        return None

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
            # That keeps the connections open.
            self._made.session.session.close()

    def _compute(self) -> Any:
        return self._connection().compute

    def _connection(self) -> Any:
        import openstack

        with self._making:
            if self._made is None:
                provider = self._provider
                options = {"cloud": provider.cloud, "region_name": provider.region}
                self._made = openstack.connect(
                    **{name: value for name, value in options.items() if value},
                    api_timeout=float(provider.cmd_timeout),
                    app_name="parslab",
                    load_yaml_config=provider.cloud is not None,
                )
            return self._made

    def _asked(self, ask: Callable[[], T]) -> T:
        """Make a request; raises CloudError with a sentence for the user."""
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import SDKException

        try:
            return ask()
        except (SDKException, ClientException) as error:
            raise _explained(error) from None


def _explained(error: Exception) -> CloudError:
    """Return what an exception of openstacksdk or keystoneauth means."""
    status = getattr(error, "http_status", None) or getattr(error, "status_code", None)
    words = str(getattr(error, "details", None) or getattr(error, "message", None) or error)
    names = {cls.__name__ for cls in type(error).__mro__}
    return failure("OpenStack", _kind(status, words, names), words, _LOGIN)


def _kind(status: int | None, words: str, names: set[str]) -> FailureKind:
    if status in (403, 413) and _QUOTA.search(words):
        return FailureKind.quota
    if _CAPACITY.search(words):
        return FailureKind.capacity
    if status == 401 or names & {
        "ConfigException",
        "MissingRequiredOptions",
        "AuthorizationFailure",
        "AuthPluginException",
    }:
        return FailureKind.credentials
    if status == 403:
        return FailureKind.permission
    if status is not None and (status == 429 or status >= 500):
        return FailureKind.busy
    if names & {
        "ConnectionError",
        "ConnectFailure",
        "ConnectTimeout",
        "DiscoveryFailure",
        "RetriableConnectionFailure",
    }:
        return FailureKind.busy
    return FailureKind.wrong


_ENDED = {
    "SHUTOFF": (BlockState.finished, "the server has shut itself down"),
    "DELETED": (BlockState.scaled_in, "a request has deleted the server"),
    "SOFT_DELETED": (BlockState.scaled_in, "a request has deleted the server"),
}


def _instance(server: Any) -> Instance:
    status = str(server.status)
    addresses = [one["addr"] for many in (server.addresses or {}).values() for one in many]
    host = addresses[0] if addresses else ""
    if status in _ENDED:
        state, reason = _ENDED[status]
        return Instance(server.id, state, reason, host, status == "SHUTOFF")
    if status == "ERROR":
        fault = (server.fault or {}).get("message", "")
        return Instance(server.id, BlockState.failed, fault or "OpenStack could not make the server", host)
    # A server that is paused, resized or migrated comes back.
    return Instance(server.id, BlockState.queued if status == "BUILD" else BlockState.running, "", host)
