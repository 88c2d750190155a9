"""Patterns of errors: what varies from task to task is replaced, what tells faults apart stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.monitoring.failures.patterns import OTHER, pattern_of


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("ValueError: row 17 has 3 fields", "ValueError", "row N has N fields"),
        ("ValueError: x is -3.5e-7 at step=12", "ValueError", "x is N at step=N"),
        ("KeyError: 'alpha'", "KeyError", "'…'"),
        ("KeyError: 'it\\'s'", "KeyError", "'…'"),
        ('E: no key "a b" in {\\"x\\": 1}', "E", 'no key "…" in {\\"x\\": N}'),
        ("TypeError: can't multiply sequence by 'float'", "TypeError", "can't multiply sequence by '…'"),
        ("OSError: [Errno 2] No such file: /scratch/u1/a.csv", "OSError", "[Errno N] No such file: /…"),
        ("OSError: cannot read ../in/a.csv and data/b.csv", "OSError", "cannot read /… and /…"),
        ("OSError: C:\\Users\\a: denied", "OSError", "/…: denied"),
        ("HTTPError: 404 for https://a.org/b?c=1", "HTTPError", "N for /…"),
        ("E: <Model object at 0x7f12ab>", "E", "<Model object at …>"),
        ("E: job 550e8400-e29b-41d4-a716-446655440000", "E", "job …"),
        ("E: commit 1f0c9ab34d is lost", "E", "commit … is lost"),
        ("E: 10.0.0.17:8080 refused", "E", "… refused"),
        ("E: node17.cluster is down", "E", "nodeN.cluster is down"),
        ("E: shapes (3, 4) and [1, 2, 3]", "E", "shapes (N, …) and [N, …]"),
        ("UFuncTypeError: cannot cast float64 to int32", "UFuncTypeError", "cannot cast float64 to int32"),
        ("UnicodeDecodeError: 'utf-8' codec or utf-8", "UnicodeDecodeError", "'…' codec or utf-8"),
        ("E: read/write and/or km/s", "E", "read/write and/or km/s"),
        ("numpy.linalg.LinAlgError: Singular matrix", "numpy.linalg.LinAlgError", "Singular matrix"),
        ("AssertionError", "AssertionError", ""),
        ("a sentence without a class: 7", "", "a sentence without a class: N"),
        ("", "", ""),
    ],
)
def test_what_varies_is_replaced(error: str, kind: str, message: str) -> None:
    assert pattern_of(error)[1:] == (kind, message)


def test_classes_and_words_tell_faults_apart() -> None:
    errors = ["ValueError: bad row 1", "TypeError: bad row 1", "ValueError: bad line 1", "bad row 1"]
    assert len({pattern_of(error).group for error in errors}) == 4


PARTS = ["'", '"', "\\", "/", ".", "-", "N", "…", "0x", "17", " ", ", ", "a", "é", "://", "f0f0f0f0", "C:\\"]
ERRORS = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PARTS), max_size=40).map("".join)).map("E: {}".format)
WORDS = [
    "bad",
    "row",
    "17",
    "-3.5",
    "'a b'",
    '"x"',
    "/data/a.csv",
    "0x7f12ab",
    "node17",
    "float64",
    "[1, 2]",
    "10.0.0.1:80",
]


@given(st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join))
def test_the_pattern_of_a_pattern_is_the_same(message: str) -> None:
    pattern = pattern_of(f"ValueError: {message}")
    assert pattern_of(f"ValueError: {pattern.message}") == pattern


@given(ERRORS)
def test_numbers_are_stable_and_fit_into_javascript(error: str) -> None:
    group = pattern_of(error).group
    assert OTHER < group < 2**53
    pattern_of.cache_clear()
    assert pattern_of(error).group == group


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text("abc/'\"\\ 19", max_size=20))
def test_values_do_not_matter(number: int, share: float, text: str) -> None:
    error = f"ValueError: row {number} of {text!r} is {share}"
    quote = repr(text)[0]
    assert pattern_of(error)[1:] == ("ValueError", f"row N of {quote}…{quote} is N")


def test_lone_surrogates_can_be_encoded() -> None:
    assert pattern_of("ValueError: \ud800").message.encode()
