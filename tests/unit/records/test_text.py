"""Strings that are no text are escaped where they are encoded or printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.records.text import encodable, printable

any_text = st.text(st.characters(categories=None) | st.characters(categories=["Cs", "Cc"]))


@given(any_text)
def test_whatever_is_given_can_be_encoded(text: str) -> None:
    made = encodable(text)
    assert made.encode().decode() == made
    assert encodable(made) == made
    assert (made == text) == (not any("\ud800" <= character <= "\udfff" for character in text))


@given(any_text)
def test_nothing_that_is_printed_moves_the_cursor(text: str) -> None:
    made = printable(text)
    made.encode()
    assert all(character >= " " or character in "\t\n" for character in made)
    assert not any("\x7f" <= character <= "\x9f" for character in made)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("é 猫", "é 猫"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb", "a\\rb"),
        ("\x9b2J", "\\x9b2J"),
        ("caf\udce9", "caf\\udce9"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
    ],
)
def test_what_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown
