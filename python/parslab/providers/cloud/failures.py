"""Explains in one sentence why a cloud refused a request [pure].

Each client finds the kind of a failure in the words of its cloud.  The sentences for all clouds are here.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CloudError", "FailureKind", "all_the_same", "failure", "without_secrets"]


class FailureKind(Enum):
    """The kinds of failures that users handle in different ways."""

    quota = "quota"
    """The account may have no more instances of this kind."""
    capacity = "capacity"
    """The cloud has no free machine of this kind now."""
    credentials = "credentials"
    """There are no credentials, or the cloud does not accept them."""
    permission = "permission"
    """The credentials are right, but they do not allow the request."""
    busy = "busy"
    """The cloud does not answer now."""
    wrong = "wrong"
    """An option names something that does not exist, or that does not fit."""


_TRANSIENT = frozenset({FailureKind.capacity, FailureKind.busy})
"""Kinds that pass by themselves, so the block is requested again."""

_SENTENCES = {
    FailureKind.quota: (
        "The quota of this {cloud} account is used up ({words}): lower max_blocks or take smaller instances, ask for a "
        "higher quota in the console of the cloud, and load again."
    ),
    FailureKind.capacity: (
        "{cloud} has no machine of this kind free now ({words}): if that stays so, choose another kind or zone, and "
        "load again."
    ),
    FailureKind.credentials: "{cloud} does not accept the credentials ({words}): {login}, and load again.",
    FailureKind.permission: (
        "The credentials for {cloud} do not allow this ({words}): ask the owner of the account for that permission, "
        "and load again."
    ),
    FailureKind.busy: "{cloud} does not answer now ({words}); see whether it can be reached from this host.",
    FailureKind.wrong: "{cloud} refuses the options ({words}): correct them, and load again.",
}

_SECRETS = (
    # What AWS adds to a refusal: an encoded text of a thousand characters.
    (re.compile(r"\s*Encoded authorization failure message: \S+"), ""),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), "(key)"),
    (
        re.compile(r"(?i)\b(authorization|signature|password|secret|token|credential)(\s*[=:]\s*)(?:Bearer\s+)?\S+"),
        r"\1\2(secret)",
    ),
    # Keys and tokens of any cloud are long texts without a space.
    (re.compile(r"[A-Za-z0-9+/=_-]{60,}"), "(...)"),
)


class CloudError(OSError):
    """A cloud did not do what was asked; the text is one sentence for the user.

    Parameters
    ----------
    sentence
        The sentence.
    transient
        Whether the reason passes by itself.
    """

    def __init__(self, sentence: str, transient: bool = False) -> None:
        super().__init__(sentence)
        self.transient = transient


def without_secrets(words: str) -> str:
    """Return words of a cloud on one line, without anything that may be a key, a password or a token.

    Examples
    --------
    >>> without_secrets("refused, token=abc123\\nfor AKIAABCDEFGHIJKLMNOP")
    'refused, token=(secret) for (key)'
    """
    text = " ".join(words.split())
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text[:500].rstrip(" .")


def failure(cloud: str, kind: FailureKind, words: str, login: str = "") -> CloudError:
    """Return the error for a failure.

    Parameters
    ----------
    cloud
        The name of the cloud, for the sentence.
    kind
        What has failed.
    words
        The words of the cloud.
    login
        How users of this cloud give their credentials.
    """
    sentence = _SENTENCES[kind].format(cloud=cloud, words=without_secrets(words), login=login)
    return CloudError(sentence, kind in _TRANSIENT)


def all_the_same(ids: Iterable[str], act: Callable[[str], object]) -> None:
    """Do something with each instance, also with those that come after a failure, and raise the last failure.

    Raises
    ------
    CloudError
        It failed for one of them.
    """
    failed: CloudError | None = None
    for one in ids:
        try:
            act(one)
        except CloudError as error:
            failed = error
    if failed is not None:
        raise failed
