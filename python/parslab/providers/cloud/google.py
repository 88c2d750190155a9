"""Blocks that are instances of Google Compute Engine.

The official library logs in; the requests are plain JSON over its connections, because the whole client for Compute
Engine has a hundred megabytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from parslab.description import PathText, PlainData, Text, Whole, YesNo
from parslab.errors import ConfigurationError
from parslab.providers.cloud.base import CloudProvider
from parslab.providers.cloud.failures import CloudError, FailureKind, all_the_same, failure
from parslab.providers.cloud.instances import Instance, InstanceRequest
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ComputeEngineClient", "GoogleCloudProvider", "label"]

_API = "https://compute.googleapis.com"
_OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"
"""The variable by which the ``gcloud`` command finds another address of the service, too."""
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOGIN = "run `gcloud auth application-default login`, or name the file of a service account (key_file=...)"
_LONGEST = 63
_SPARE = 300.0
"""Seconds after the lease in which Google ends an instance that has not ended itself."""
_LOOK = 0.5

_KINDS = (
    (r"(?i)quotaExceeded|QUOTA_EXCEEDED|\bquota\b", FailureKind.quota),
    (r"(?i)RESOURCE_POOL_EXHAUSTED|resourcesExhausted|does not have enough resources", FailureKind.capacity),
    (r"(?i)rateLimitExceeded|backendError", FailureKind.busy),
)
"""Reasons and words of refusals; the first pattern that matches counts, and then the status."""


class GoogleCloudProvider(CloudProvider):
    """Blocks are instances of Google Compute Engine.

    Credentials come from where Google's libraries find them: ``gcloud auth application-default login``, the variable
    ``GOOGLE_APPLICATION_CREDENTIALS``, or the instance on which the notebook runs.  No resource is made but the
    instances: the network is the default one of the project, or ``network`` and ``subnetwork``.

    Google ends an instance that has outlived its lease, whatever becomes of the run.

    Parameters
    ----------
    project_id
        The project; None means the one of the credentials.
    key_file
        The file of a service account.
    region
        The region; an instance is made in its first zone that has room.
    os_project, os_family
        The project and the family of the image, such as ``"debian-cloud"`` and ``"debian-12"``.
    instance_type
        The machine type.
    zone
        The zone; None means any of the region.
    image
        An image instead of a family: its name in your project, or ``"projects/PROJECT/global/images/NAME"``.
    disk_size
        Gigabytes of the disk; None means the size of the image.
    network, subnetwork
        The network of the instances; with a subnetwork the network may be left out.
    external_ip
        Whether instances get an address of the internet, which they need to reach a notebook there.
    service_account
        The service account whose rights the tasks get; None means none.
    template
        More fields of an instance, as Compute Engine describes it, such as ``{"guestAccelerators": [...]}``.
    google_version
        Ignored: there is one version.

    Examples
    --------
    >>> GoogleCloudProvider("my-project", instance_type="c3-standard-4", spot=True, max_blocks=10)
    GoogleCloudProvider(max_blocks=10, spot=True, project_id='my-project', instance_type='c3-standard-4')
    """

    positional: ClassVar[tuple[str, ...]] = (
        "project_id",
        "key_file",
        "region",
        "os_project",
        "os_family",
        "google_version",
        "instance_type",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "launcher",
        "parallelism",
    )
    ignored: ClassVar[dict[str, str]] = {"google_version": "there is one version"}
    expected: ClassVar[dict[str, Any]] = {"google_version": "v1"}
    module: ClassVar[str] = "google.auth"
    package: ClassVar[str] = "google-auth"
    extra: ClassVar[str] = "google"

    project_id = Text(None)
    key_file = PathText(None)
    region = Text("us-central1")
    os_project = Text("debian-cloud")
    os_family = Text("debian-12")
    instance_type = Text("n1-standard-1")
    zone = Text(None)
    image = Text(None)
    disk_size = Whole(None, low=10)
    network = Text(None)
    subnetwork = Text(None)
    external_ip = YesNo(True)
    service_account = Text(None)
    template = PlainData({})

    def check(self) -> None:
        super().check()
        if self.zone and not re.fullmatch(r"[a-z]+-[a-z]+\d+-[a-z]", self.zone):
            raise ConfigurationError(
                f"GoogleCloudProvider: zone must be a zone such as 'us-central1-b', not {self.zone!r}; a region "
                "goes to region."
            )

    def client(self) -> ComputeEngineClient:
        return ComputeEngineClient(self)


class ComputeEngineClient:
    """The requests of Compute Engine.

    The id of an instance is ``ZONE/NAME``, and the name follows from that of the block's job.  So a request whose
    answer was lost makes no second set.

    Parameters
    ----------
    provider
        The provider.
    """

    cloud = "Google Cloud"
    listed_within = 10.0

    def __init__(self, provider: GoogleCloudProvider) -> None:
        self._provider = provider
        # Several threads ask at the same time, and the first of them logs in.
        self._making = threading.Lock()
        self._made: tuple[Any, str] | None = None
        self._zones: list[str] = []

    # ----- what the core asks for

    def create(self, request: InstanceRequest) -> list[str]:
        failed: CloudError | None = None
        for zone in self._zones_to_try():
            made: list[str] = []
            try:
                for name in _names(request):
                    self._create(zone, name, request)
                    made.append(f"{zone}/{name}")
            except CloudError as error:
                # All or none: a part of a block would cost money, and nobody would use it.
                with contextlib.suppress(CloudError):
                    self.terminate(made)
                if not isinstance(error, _Refusal) or not error.elsewhere:
                    raise
                failed = error
            else:
                return made
        assert failed is not None
        raise failed

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        wanted = set(ids)
        return [found for found in map(_instance, self._listed("labels.parslab:*")) if found.id in wanted]

    def find(self, name: str) -> list[str]:
        return [_id(one) for one in self._listed(f"labels.parslab={label(name)}")]

    def terminate(self, ids: Sequence[str]) -> list[str]:
        all_the_same(ids, lambda one: self._asked("DELETE", self._path(one), missing=True))
        return []

    def output(self, instance: str) -> str:
        found = self._asked("GET", f"{self._path(instance)}/serialPort", {"port": "1"}, missing=True)
        return str(found.get("contents", ""))

    def price(self) -> float | None:
        return None  # Google's list of prices has no entry for a machine type, only for its parts

    def close(self) -> None:
        with self._making:
            made, self._made = self._made, None
        if made is not None:
            made[0].close()

    # ----- creation

    def _zones_to_try(self) -> list[str]:
        provider = self._provider
        if provider.zone:
            return [provider.zone]
        if not self._zones:
            found = self._asked("GET", f"regions/{quote(provider.region)}")
            self._zones = [str(url).rpartition("/")[2] for url in found.get("zones", ())]
        return self._zones

    def _create(self, zone: str, name: str, request: InstanceRequest) -> None:
        body = creation(self._provider, zone, name, request)
        # Google makes nothing twice for one identifier, also if the answer to the first request was lost.
        number = hashlib.sha256(f"{request.name} {zone}/{name}".encode()).hexdigest()
        key = "-".join((number[:8], number[8:12], f"4{number[12:15]}", f"a{number[15:18]}", number[18:30]))
        try:
            operation = self._asked("POST", f"zones/{quote(zone)}/instances", {"requestId": key}, body)
        except _Refusal as error:
            # The answer to an earlier request for this instance was lost, unless it is somebody else's.
            if error.status != 409 or f"{zone}/{name}" not in self.find(request.name):
                raise
            return
        until = time.monotonic() + float(self._provider.cmd_timeout)
        while operation.get("status") != "DONE" and time.monotonic() < until:
            time.sleep(_LOOK)
            operation = self._asked("GET", f"zones/{quote(zone)}/operations/{operation['name']}")
        wrong = operation.get("error", {}).get("errors") or []
        if wrong:
            raise _explained(int(operation.get("httpErrorStatusCode") or 400), wrong[0])

    # ----- requests

    def _listed(self, which: str) -> Iterator[dict[str, Any]]:
        query = {"filter": which, "returnPartialSuccess": "true"}
        while True:
            page = self._asked("GET", "aggregated/instances", query)
            for zone in page.get("items", {}).values():
                yield from zone.get("instances", ())
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def _path(self, instance: str) -> str:
        zone, _, name = instance.partition("/")
        return f"zones/{quote(zone)}/instances/{quote(name)}"

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        missing: bool = False,
    ) -> dict[str, Any]:
        """Make a request, and return the answer; with ``missing``, an object that is not there gives an empty one."""
        from google.auth.exceptions import GoogleAuthError, TransportError
        from requests.exceptions import RequestException

        try:
            session, project = self._session()
            url = f"{_address()}/compute/v1/projects/{quote(project)}/{path}"
            timeout = float(self._provider.cmd_timeout)
            answer = session.request(method, url, params=query, json=body, timeout=timeout)
        except (TransportError, RequestException) as error:
            raise failure(self.cloud, FailureKind.busy, _words(error), _LOGIN) from None
        except GoogleAuthError as error:
            raise failure(self.cloud, FailureKind.credentials, _words(error), _LOGIN) from None
        if missing and answer.status_code == 404:
            return {}
        try:
            found = answer.json() if answer.content else {}
        except ValueError:
            found = {"error": {"message": answer.text}}
        if answer.status_code >= 300:
            raise _explained(answer.status_code, found.get("error", {}))
        return dict(found)

    def _session(self) -> tuple[Any, str]:
        """Return the connections, which log in when it is needed, and the project."""
        import google.auth
        from google.auth.transport.requests import AuthorizedSession
        from google.oauth2.service_account import Credentials

        with self._making:
            if self._made is None:
                provider, scopes = self._provider, [_SCOPE]
                if provider.key_file:
                    credentials = _from_file(Credentials, provider.key_file, scopes)
                    project = credentials.project_id
                else:
                    credentials, project = google.auth.default(scopes=scopes)
                project = provider.project_id or project
                if not project:
                    words = "the credentials name no project, so project_id must"
                    raise failure(self.cloud, FailureKind.wrong, words)
                self._made = AuthorizedSession(credentials), str(project)
            return self._made


def _from_file(kind: Any, path: str, scopes: Sequence[str]) -> Any:
    try:
        return kind.from_service_account_file(os.path.expanduser(path), scopes=scopes)
    except OSError as error:
        raise failure("Google Cloud", FailureKind.credentials, f"{error.strerror}: {path}", _LOGIN) from None
    except ValueError:  # its words may quote the file
        words = f"{path} is no file of a service account"
        raise failure("Google Cloud", FailureKind.credentials, words, _LOGIN) from None


def _address() -> str:
    return (os.environ.get(_OVERRIDE) or _API).rstrip("/").removesuffix("/compute/v1")


def _words(error: Exception) -> str:
    return f"{error.args[0] if error.args else error}" or type(error).__name__


class _Refusal(CloudError):
    """What the service has refused: the status of its answer, and whether another zone may have room."""

    def __init__(self, error: CloudError, status: int, elsewhere: bool) -> None:
        super().__init__(str(error), error.transient)
        self.status, self.elsewhere = status, elsewhere


def _explained(status: int, error: Mapping[str, Any]) -> _Refusal:
    """Return what an error of the service means."""
    words = str(error.get("message") or error.get("code") or f"HTTP status {status}")
    reasons = [str(one.get("reason", "")) for one in error.get("errors", ())]
    text = " ".join([words, str(error.get("code", "")), *reasons])
    kind = next((kind for pattern, kind in _KINDS if re.search(pattern, text)), None)
    if kind is None:
        kinds = {401: FailureKind.credentials, 403: FailureKind.permission, 429: FailureKind.busy}
        kind = kinds.get(status, FailureKind.busy if status >= 500 else FailureKind.wrong)
    return _Refusal(failure("Google Cloud", kind, words, _LOGIN), status, kind is FailureKind.capacity)


# ----- names and descriptions


def label(text: str) -> str:
    """Return the text as Google takes it for a label or a name: lower-case letters, digits and ``-``.

    Examples
    --------
    >>> label("000-1a2b3c")
    '000-1a2b3c'
    >>> label("parslab.000-1a2b3c.My label.0")
    'parslab-000-1a2b3c-my-label-0-81dc5c7d'
    """
    plain = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
    if plain == text and len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[: _LONGEST - 9].strip('-')}-{digest}".strip("-")


def _names(request: InstanceRequest) -> list[str]:
    """Return the names of the instances of a block; they begin with a letter, as the name of a job does."""
    if request.count == 1:
        return [label(request.name)]
    return [label(f"{request.name}.n{number}") for number in range(request.count)]


def creation(provider: GoogleCloudProvider, zone: str, name: str, request: InstanceRequest) -> dict[str, Any]:
    """Return the description of an instance that is to be made."""
    image = f"projects/{provider.os_project}/global/images/family/{provider.os_family}"
    if provider.image:
        image = provider.image if "/" in provider.image else f"global/images/{provider.image}"
    disk: dict[str, Any] = {"sourceImage": image}
    if provider.disk_size:
        disk["diskSizeGb"] = f"{provider.disk_size}"
    network: dict[str, Any] = {}
    if provider.network or not provider.subnetwork:
        chosen = provider.network or "default"
        network["network"] = chosen if "/" in chosen else f"global/networks/{chosen}"
    if provider.subnetwork:
        region = zone.rpartition("-")[0]
        chosen = provider.subnetwork
        network["subnetwork"] = chosen if "/" in chosen else f"regions/{region}/subnetworks/{chosen}"
    if provider.external_ip:
        network["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]
    scheduling: dict[str, Any] = {
        # Google counts from the creation, and the start script from the boot.
        "maxRunDuration": {"seconds": f"{request.lease + _SPARE:.0f}"},
        "instanceTerminationAction": "DELETE",
        "automaticRestart": False,
        "provisioningModel": "SPOT" if provider.spot else "STANDARD",
    }
    body: dict[str, Any] = {
        "name": name,
        "machineType": f"zones/{zone}/machineTypes/{provider.instance_type}",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": disk}],
        "networkInterfaces": [network],
        "labels": {label(key): label(text) for key, text in request.tags.items()},
        "metadata": {"items": [{"key": "startup-script", "value": request.start_script}]},
        "scheduling": scheduling,
    }
    if provider.service_account:
        body["serviceAccounts"] = [{"email": provider.service_account, "scopes": [_SCOPE]}]
    return {**body, **provider.template}


_QUEUED = ("PROVISIONING", "STAGING", "PENDING")


def _id(found: Mapping[str, Any]) -> str:
    return f"{str(found['zone']).rpartition('/')[2]}/{found['name']}"


def _instance(found: Mapping[str, Any]) -> Instance:
    status = str(found.get("status", ""))
    host = next((str(one.get("networkIP", "")) for one in found.get("networkInterfaces", ())), "")
    if status == "TERMINATED":
        return Instance(_id(found), BlockState.finished, "the instance has shut itself down", host, True)
    # One that is suspended or repaired comes back.
    return Instance(_id(found), BlockState.queued if status in _QUEUED else BlockState.running, "", host)
