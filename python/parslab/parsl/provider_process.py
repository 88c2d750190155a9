"""The process that runs a provider of a user: ``python -m parslab.parsl.provider_process``.

``providers.user_provider`` starts it.  Each line of the input is a request, and gets a line as a reply.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from parslab.providers.execution_provider import ExecutionProvider

__all__ = ["ProviderServer", "main"]


class ProviderServer:
    """Calls the methods of a provider.

    Parameters
    ----------
    provider
        The provider.
    """

    def __init__(self, provider: ExecutionProvider) -> None:
        self._provider = provider
        self._ids: dict[str, Any] = {}
        """The ids of jobs by their texts, because a provider may use any object as an id."""

    def answer(self, request: dict[str, Any]) -> Any:
        """Carry out one request, and return its result as plain data."""
        match request["method"]:
            case "submit":
                job = self._provider.submit(request["command"], 1, request["name"])
                if not job:
                    raise RuntimeError("the provider returned no id for the job")
                self._ids[str(job)] = job
                return str(job)
            case "status":
                names = list(request["jobs"])
                found = self._provider.status([self._id(name) for name in names])
                return {
                    name: [status.state.name, status.message or _exit(status.exit_code)]
                    for name, status in zip(names, found, strict=True)
                }
            case "cancel":
                self._provider.cancel([self._id(name) for name in request["jobs"]])
                return None
        raise ValueError(f"no such request: {request['method']}")

    def _id(self, name: str) -> Any:
        # A process that has replaced another one knows only the texts of ids, and most ids are texts or numbers.
        return self._ids.get(name, int(name) if name.isdigit() else name)


def _exit(code: int | None) -> str:
    return "" if code is None else f"exit status {code}"


def main() -> None:
    """Answer requests until the input ends."""
    # What the provider prints must not come between the replies.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    first = json.loads(sys.stdin.readline())
    sys.path[:] = first["path"]
    try:
        provider = pickle.loads(base64.b64decode(first["provider"]))
        provider.script_dir = first["folder"]
        server = ProviderServer(provider)
    except Exception as error:  # whatever the user's module raises
        _reply(replies, {"error": f"{type(error).__name__}: {error}"})
        return
    _reply(replies, {})
    for line in sys.stdin:
        try:
            reply = {"result": server.answer(json.loads(line)), "period": float(provider.status_polling_interval)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        _reply(replies, reply)


def _reply(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
