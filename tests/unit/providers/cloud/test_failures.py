"""Sentences about refusals of clouds."""

from __future__ import annotations

import pytest

from parslab.providers.cloud.failures import FailureKind, failure, without_secrets
from parslab.scaling.failure_sentences import advice


@pytest.mark.parametrize("kind", FailureKind)
def test_each_kind_is_one_sentence_that_needs_no_other_advice(kind: FailureKind) -> None:
    error = failure("EC2", kind, "Code: some\nwords. ", "give a key")
    assert str(error).count(". ") == 0
    assert "(Code: some words)" in str(error)
    assert str(error).endswith(".")
    assert advice(str(error)) == ""


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("not allowed. Encoded authorization failure message: abcDEF-_123", "not allowed"),
        ("key ASIAABCDEFGHIJKLMNOP is unknown", "key (key) is unknown"),
        ("Authorization: Bearer abc.def failed", "Authorization: (secret) failed"),
        ("password='p w'", "password=(secret) w'"),
        (f"bad {'a1B2' * 20} end", "bad (...) end"),
        ("The subnet ID 'subnet-0' does not exist", "The subnet ID 'subnet-0' does not exist"),
    ],
)
def test_words_lose_what_may_be_a_secret(words: str, shown: str) -> None:
    assert without_secrets(words) == shown
