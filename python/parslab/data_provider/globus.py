"""Moves files between Globus collections: ``globus://COLLECTION/path``.

The process of the notebook asks Globus for each transfer and waits for its end; the bytes go between the collections.
Globus itself retries and checks what it has written.  globus-sdk is in the extra ``globus``.
"""

from __future__ import annotations

import os
import posixpath
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.data_provider.globus_login import GlobusAuth, globus_sdk
from parslab.data_provider.staging import INTERNAL, TransferStaging
from parslab.data_provider.transfers import RULES, TransferFailed, store_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from parslab.data_provider.files import File

__all__ = ["GlobusStaging"]

_LONGEST = 24 * 3600.0
"""Seconds after which Globus gives a transfer up."""
_WAIT = 60
"""Seconds of one question about the end of a transfer."""


class GlobusStaging(TransferStaging):
    """Files of Globus collections, brought to the collection of the executor and back (Parsl: same name).

    Parameters
    ----------
    endpoint_uuid
        The collection through which Globus reaches the executor's disk.
    endpoint_path
        A folder as the collection names it.
    local_path
        The same folder as tasks name it; None: the paths are equal.
    client
        A function that returns a ``globus_sdk.TransferClient``; None: the client of ``auth``.
    auth
        The login; None: ``GlobusAuth()``, the application of ``GLOBUS_CLIENT_ID``.
    """

    schemes_in: ClassVar[frozenset[str]] = frozenset({"globus"})
    schemes_out: ClassVar[frozenset[str]] = schemes_in
    runs_on: ClassVar[str] = INTERNAL

    def __init__(
        self,
        endpoint_uuid: str,
        endpoint_path: str | None = None,
        local_path: str | None = None,
        *,
        client: Callable[[], Any] | None = None,
        auth: GlobusAuth | None = None,
    ) -> None:
        self.endpoint_uuid = endpoint_uuid
        self.endpoint_path = endpoint_path
        self.local_path = local_path
        self.client = client
        self.auth = auth

    def __repr__(self) -> str:
        return f"GlobusStaging({self.endpoint_uuid!r})"

    def fetch(self, file: File) -> None:
        path = os.path.abspath(file.filepath)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        source, target = (file.netloc, file.path), (self.endpoint_uuid, self._at_endpoint(path))
        store_from(file.url, path, lambda: self._transfer(source, target), RULES, action="fetched to")

    def store(self, file: File) -> None:
        path = os.path.abspath(file.filepath)
        source, target = (self.endpoint_uuid, self._at_endpoint(path)), (file.netloc, file.path)
        store_from(file.url, path, lambda: self._transfer(source, target), RULES)

    def _at_endpoint(self, path: str) -> str:
        """Return the path by which the collection names a local file."""
        if self.endpoint_path is None or self.local_path is None:
            return path
        inside = os.path.relpath(path, os.path.abspath(self.local_path))
        if inside.startswith(".."):
            raise TransferFailed(f"the folder {self.local_path} of the collection does not contain it", False)
        return posixpath.join(self.endpoint_path, *inside.split(os.sep))

    def _transfer(self, source: tuple[str, str], target: tuple[str, str]) -> None:
        """Ask for a transfer and wait for its end."""
        sdk = globus_sdk()
        try:
            with self._client() as client:
                wanted = sdk.TransferData(
                    source_endpoint=source[0],
                    destination_endpoint=target[0],
                    label="parslab",
                    verify_checksum=True,
                    deadline=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + _LONGEST)),
                )
                wanted.add_item(source[1], target[1])
                task = client.submit_transfer(wanted)["task_id"]
                self._await_end(client, task)
        except sdk.NetworkError as error:
            raise TransferFailed(f"Globus cannot be reached ({type(error).__name__})", True) from None
        except sdk.GlobusAPIError as error:
            if error.info.consent_required:
                reason = (
                    f"Globus needs your consent for files of {source[0]} and {target[0]}: give GlobusStaging(auth=) "
                    f"a parslab.GlobusAuth(collections={[source[0], target[0]]}), and call its login() in a cell"
                )
                raise TransferFailed(reason, False) from None
            transient = error.http_status in (429, 500, 502, 503, 504)
            reason = f"Globus answers {error.http_status} {error.code}: {error.message}"
            raise TransferFailed(reason, transient) from None

    def _client(self) -> AbstractContextManager[Any]:
        if self.client is not None:
            return nullcontext(self.client())
        return (self.auth or GlobusAuth()).transfer_client()

    @staticmethod
    def _await_end(client: Any, task: str) -> None:
        deadline = time.monotonic() + _LONGEST + _WAIT
        while not client.task_wait(task, timeout=_WAIT, polling_interval=5):
            state = client.get_task(task)
            # A fault that needs the user, such as an expired login, would otherwise last until the deadline.
            if state["status"] == "INACTIVE" or time.monotonic() > deadline:
                client.cancel_task(task)
                raise TransferFailed(f"Globus task {task} does not continue: {_why(state)}", False)
        state = client.get_task(task)
        if state["status"] != "SUCCEEDED":
            raise TransferFailed(f"Globus task {task} has failed: {_why(state)}", False)


def _why(state: Any) -> str:
    return str(state.get("nice_status_short_description") or state.get("nice_status") or state.get("status"))
