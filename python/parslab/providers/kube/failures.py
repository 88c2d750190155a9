"""Explains in one sentence why the API server of a cluster refused a request [pure]."""

from __future__ import annotations

import json

from parslab.providers.cloud.failures import without_secrets

__all__ = ["KubernetesError", "refusal", "unreachable"]

_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses of an answer that may be another one later."""


class KubernetesError(OSError):
    """A cluster did not do what was asked; the text is one sentence for the user.

    Parameters
    ----------
    sentence
        The sentence.
    status
        The HTTP status of the answer; 0 if there was none.
    transient
        Whether the reason passes by itself.
    """

    def __init__(self, sentence: str, status: int = 0, transient: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.transient = status, transient


def refusal(status: int, body: bytes, namespace: str) -> KubernetesError:
    """Return the error for an answer of the API server that refuses a request."""
    words = _words(body) or f"HTTP status {status}"
    if status == 403 and "exceeded quota" in words:
        sentence = (
            f"The quota of namespace {namespace} is used up ({words}): if that stays so, lower max_blocks or ask for "
            "less with init_cpu, init_mem, max_cpu and max_mem, and load again."
        )
        return KubernetesError(sentence, status, transient=True)
    if status == 401:
        sentence = (
            f"Kubernetes does not accept the credentials ({words}): log in to the cluster again, or name another "
            "context, and load again."
        )
    elif status == 403:
        sentence = (
            f"Kubernetes does not allow this in namespace {namespace} ({words}): ask for a role that lets you create, "
            "get, list, watch and delete pods and secrets there, get pods/log, and create and get pods/exec for "
            "relays, and load again."
        )
    elif status in _BUSY or status >= 500:
        return KubernetesError(f"Kubernetes cannot do this now ({words}).", status, transient=True)
    else:
        sentence = f"Kubernetes refuses the options ({words}): correct them, and load again."
    return KubernetesError(sentence, status)


def unreachable(words: str) -> KubernetesError:
    """Return the error for an API server that does not answer."""
    sentence = f"Kubernetes does not answer ({without_secrets(words)}); see whether the cluster can be reached."
    return KubernetesError(sentence, transient=True)


def _words(body: bytes) -> str:
    """Return what an answer says, without anything that may be secret."""
    try:
        found = json.loads(body)
        text = str(found.get("message") or found.get("reason") or "")
    except (ValueError, AttributeError):
        text = body.decode(errors="replace")
    return without_secrets(text)
