"""A server that answers as Globus Auth and Globus Transfer do, as their documents record it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["CLIENT", "CODE", "USER", "GlobusServer"]

CLIENT = "0f53a4a7-d0b6-4d4c-8b3c-5b6fd4cb2a8a"
CODE = "good-code"
USER = "ae341a98-d274-11e5-b888-dbae3a8ba545"
_TRANSFER = "urn:globus:auth:scope:transfer.api.globus.org:all"
_SERVERS = {"openid": "auth.globus.org", _TRANSFER: "transfer.api.globus.org"}
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class GlobusServer(ThreadingHTTPServer):
    """Both services at one address.

    Attributes
    ----------
    expires_in
        Seconds that an access token is valid.
    revoked
        Tokens that are not valid any more.
    transfers
        What was asked for.
    trouble
        The answer to each request for a transfer instead of the usual one: status and body.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.expires_in = 172_800
        self.revoked: list[str] = []
        self.granted: list[str] = []
        self.transfers: list[dict[str, Any]] = []
        self.trouble: tuple[int, dict[str, Any]] | None = None
        self.grants: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Its address, as the library takes it from the environment."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def token(self, scope: str) -> dict[str, Any]:
        """A new token for a scope."""
        number = len(self.granted)
        self.granted.append(scope)
        return {
            "access_token": f"secret-access-{number}",
            "refresh_token": f"secret-refresh-{number}",
            "scope": scope,
            "resource_server": _SERVERS[scope],
            "expires_in": self.expires_in,
            "token_type": "Bearer",
        }


class _Handler(BaseHTTPRequestHandler):
    server: GlobusServer

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/.well-known/openid-configuration":
            self._answer(
                200,
                {
                    "issuer": self.server.url.rstrip("/"),
                    "jwks_uri": f"{self.server.url}jwk.json",
                    "id_token_signing_alg_values_supported": ["RS512"],
                },
            )
        elif path == "/jwk.json":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_KEY.public_key()))
            self._answer(200, {"keys": [public | {"alg": "RS512", "use": "sig", "kid": "globus"}]})
        elif path.endswith("/consents"):
            self._answer(200, {"consents": []})
        elif path.endswith("/submission_id"):
            self._answer(200, {"DATA_TYPE": "submission_id", "value": str(uuid.uuid4())})
        elif "/task/" in path:
            self._answer(200, {"DATA_TYPE": "task", "status": "SUCCEEDED", "task_id": path.rpartition("/")[2]})
        else:
            self._answer(404, {"code": "NotFound", "message": path})

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self._body()
        if path == "/v2/oauth2/token":
            self._grant({name: values[0] for name, values in parse_qs(body.decode()).items()})
        elif path == "/v2/oauth2/token/revoke":
            self.server.revoked.append(parse_qs(body.decode())["token"][0])
            self._answer(200, {"active": False})
        elif path.endswith("/transfer"):
            self._transfer(json.loads(body))
        else:
            self._answer(404, {"code": "NotFound", "message": path})

    def _grant(self, asked: dict[str, str]) -> None:
        server = self.server
        server.grants.append(asked["grant_type"])
        if asked["grant_type"] == "refresh_token":
            refresh = asked["refresh_token"]
            if refresh in server.revoked:
                self._answer(400, {"error": "invalid_grant"})
            else:
                old = server.granted[int(refresh.rpartition("-")[2])]
                self._answer(200, server.token(old) | {"other_tokens": []})
            return
        if asked["grant_type"] == "client_credentials":
            first, *others = [server.token(scope) for scope in sorted(set(asked["scope"].split()))]
            self._answer(200, first | {"other_tokens": others})
            return
        if asked["grant_type"] == "authorization_code" and asked["code"] != CODE:
            self._answer(
                401,
                {
                    "error": "invalid_grant",
                    "errors": [
                        {
                            "code": "INVALID_GRANT",
                            "title": "Invalid Grant",
                            "detail": "Expired or invalid code",
                            "status": "401",
                        }
                    ],
                },
            )
            return
        now = int(time.time())
        claims = {"sub": USER, "aud": CLIENT, "iss": server.url.rstrip("/"), "exp": now + 600, "iat": now}
        content = server.token("openid")
        content["id_token"] = jwt.encode(claims, _KEY, algorithm="RS512", headers={"kid": "globus"})
        content["other_tokens"] = [server.token(_TRANSFER)]
        self._answer(200, content)

    def _transfer(self, wanted: dict[str, Any]) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token.startswith("secret-access-"):
            self._answer(401, {"code": "AuthenticationFailed", "message": "no token"})
        elif self.server.trouble is not None:
            self._answer(*self.server.trouble)
        else:
            self.server.transfers.append(wanted | {"token": token})
            self._answer(202, {"code": "Accepted", "task_id": "0f1a", "DATA_TYPE": "transfer_result"})
