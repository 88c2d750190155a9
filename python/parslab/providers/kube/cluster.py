"""Makes the requests of the Kubernetes API that parslab needs, with the credentials of the official client [shell].

The client finds the cluster and logs in: configuration files with all their ways to log in, and the service account of
a pod.  What goes over its connections is plain JSON here, because its classes for 600 kinds of objects cost time.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from parslab.providers.kube.failures import KubernetesError, refusal, unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ClusterNamespace", "OpenAnswer"]

_CONNECTIONS = 16
"""Connections that are kept; a stream of a pod's log takes one more."""


class ClusterNamespace:
    """One namespace of a cluster.

    Parameters
    ----------
    namespace
        The namespace.
    kubeconfig, context
        The configuration file and the context in it; None means those that kubectl would take, or, in a pod, its
        service account.
    timeout
        Seconds within which the API server must answer.
    """

    def __init__(self, namespace: str, kubeconfig: str | None, context: str | None, timeout: float) -> None:
        self.namespace, self.kubeconfig, self.context = namespace, kubeconfig, context
        self._timeout = timeout
        # Several threads ask at the same time, and the first of them reads the configuration.
        self._making = threading.Lock()
        self._made: tuple[Any, Any] | None = None

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return an object, or a list of objects, of the namespace; ``path`` is such as ``pods/NAME``."""
        return self._asked("GET", path, query)

    def create(self, kind: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Make an object, and return it as Kubernetes keeps it."""
        return self._asked("POST", kind, {}, manifest)

    def change(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Change some fields of an object."""
        return self._asked("PATCH", path, {}, patch)

    def delete(self, path: str, grace: int | None = None) -> bool:
        """Delete an object; return False if there is none.

        Parameters
        ----------
        path
            The kind and the name.
        grace
            Seconds that a pod has to end; 0 where its node cannot end it, None for its own setting.
        """
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        try:
            self._asked("DELETE", path, {}, body)
        except KubernetesError as error:
            if error.status != 404:
                raise
            return False
        return True

    def text(self, path: str, **query: str) -> bytes:
        """Return what is not JSON, such as the log of a pod."""
        return self._answer("GET", path, query, None)

    def stream(self, path: str, silence: float, **query: str) -> OpenAnswer:
        """Return what comes until the other side ends it, or is silent for ``silence`` seconds."""
        response = self._send("GET", path, query, None, (self._timeout, silence), preload_content=False)
        if response.status != 200:
            with contextlib.closing(response):
                raise refusal(response.status, response.data, self.namespace)
        return OpenAnswer(response)

    def websocket(self, path: str, query: Sequence[tuple[str, str]]) -> Any:
        """Return a websocket of the official client's library, such as ``exec`` of a pod needs.

        Raises
        ------
        KubernetesError
            The API server does not answer, or refuses.
        """
        from kubernetes.stream.ws_client import create_websocket
        from websocket import WebSocketBadStatusException, WebSocketException, setdefaulttimeout

        configuration, _ = self._connections()
        headers = {"sec-websocket-protocol": "v4.channel.k8s.io"}
        with self._making:
            for setting in configuration.auth_settings().values():
                headers[setting["key"]] = setting["value"]
        url = f"{configuration.host}/api/v1/namespaces/{quote(self.namespace, safe='')}/{path}?{urlencode(query)}"
        setdefaulttimeout(self._timeout)
        try:
            made = create_websocket(configuration, f"ws{url.removeprefix('http')}", headers)
        except WebSocketBadStatusException as error:
            raise refusal(error.status_code, bytes(error.resp_body or b""), self.namespace) from None
        except (WebSocketException, OSError) as error:
            raise unreachable(f"{error}" or type(error).__name__) from None
        made.settimeout(None)
        return made

    def close(self) -> None:
        """Close the connections."""
        with self._making:
            made, self._made = self._made, None
        if made is not None:
            made[1].clear()

    # ----- requests

    def _asked(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._answer(method, path, query, body))
        return found

    def _answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None) -> bytes:
        response = self._send(method, path, query, body, (self._timeout, self._timeout))
        if response.status >= 300:
            raise refusal(response.status, response.data, self.namespace)
        return bytes(response.data)

    def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: dict[str, Any] | None,
        limits: tuple[float, float],
        **options: Any,
    ) -> Any:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        configuration, pool = self._connections()
        headers = {"Accept": "application/json", "User-Agent": "parslab"}
        with self._making:  # it may ask a program for a new token
            for setting in configuration.auth_settings().values():
                headers[setting["key"]] = setting["value"]
        if body is not None:
            kind = "merge-patch+json" if method == "PATCH" else "json"
            headers["Content-Type"] = f"application/{kind}"
        try:
            return pool.request(
                method,
                f"{configuration.host}/api/v1/namespaces/{quote(self.namespace, safe='')}/{path}",
                fields=query or None,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=Timeout(connect=limits[0], read=limits[1]),
                retries=False,
                **options,
            )
        except (HTTPError, OSError) as error:
            raise unreachable(f"{error}" or type(error).__name__) from None

    def _connections(self) -> tuple[Any, Any]:
        """Return the configuration of the official client, and its connections."""
        with self._making:
            if self._made is None:
                self._made = self._configured()
            return self._made

    def _configured(self) -> tuple[Any, Any]:
        from kubernetes import client, config

        configuration = client.Configuration()
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.retries = False
        try:
            if self.in_the_cluster():
                config.load_incluster_config(client_configuration=configuration)
            else:
                # The client reads the variable when it is imported, and it may be another one now.
                named = self.kubeconfig or os.environ.get("KUBECONFIG") or None
                config.load_kube_config(named, self.context, client_configuration=configuration)
        except config.ConfigException as error:
            raise KubernetesError(
                f"KubernetesProvider finds no cluster ({error}): name a file by kubeconfig=..., as kubectl takes it, "
                "and load again."
            ) from None
        except Exception as error:  # of the disk, or of the package that reads YAML, whose words may quote the file
            words = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise KubernetesError(
                f"KubernetesProvider cannot read the file that names the cluster ({words}): correct it, and load again."
            ) from None
        api = client.ApiClient(configuration)
        return configuration, api.rest_client.pool_manager

    def in_the_cluster(self) -> bool:
        """Return whether this process runs in a pod, and nobody names another cluster."""
        named = self.kubeconfig or self.context or os.environ.get("KUBECONFIG")
        usual = os.path.expanduser("~/.kube/config")
        return not named and not os.path.exists(usual) and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


class OpenAnswer:
    """What the API server sends until somebody ends it.

    Parameters
    ----------
    response
        The answer of the server, of which only the headers are read.
    """

    def __init__(self, response: Any) -> None:
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        """Yield bytes as they come.

        Raises
        ------
        KubernetesError
            The connection broke.
        """
        from urllib3.exceptions import HTTPError

        try:
            # Each chunk at once, however small it is.
            yield from self._response.stream(amt=None, decode_content=True)
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            # The last two come from a connection that another thread shuts down.
            raise unreachable(f"{error}" or type(error).__name__) from None
        finally:
            self._response.close()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of a watch, one a line; raises KubernetesError as ``chunks`` does."""
        rest = b""
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line.strip():
                    yield json.loads(line)

    def close(self) -> None:
        """Close it unread."""
        self._response.close()

    def stop(self) -> None:
        """End it, from any thread."""
        with contextlib.suppress(Exception):  # it has ended already
            self._response.shutdown()
