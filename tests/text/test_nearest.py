"""The known character that is most like an unseen one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.text.nearest import nearest

ASCII = string.printable


@pytest.mark.parametrize(
    ("character", "expected"),
    [("é", "e"), ("É", "E"), ("“", '"'), ("—", "-"), ("ß", "s"), ("€", "E"), ("Ａ", "A"),
     ("ø", "o"), ("…", "."), ("\u00a0", " "), ("５", "5"), ("²", "2"), ("\u2028", "\n"), ("¿", "?"),
     ("Б", "B")],
)  # fmt: skip
def test_the_nearest_ascii_character(character, expected):
    assert nearest(character, ASCII) == expected


@pytest.mark.parametrize(
    ("character", "known", "expected"),
    [
        (",", "ab .C", "."),
        ("'", "a;b", ";"),
        ("?", "Q!", "!"),
        ("#", "n.:", "."),
        ("(", "p-C", "-"),
    ],
)
def test_marks_are_replaced_by_marks(character, known, expected):
    assert nearest(character, known) == expected


def test_relations_include_the_other_case_and_can_be_combined():
    assert nearest("Q", "pqr") == "q"
    assert nearest("É", "aeiou") == "e"
    assert nearest("a", "a") == "a"


@given(st.characters(), st.text(min_size=1))
def test_the_nearest_character_is_always_known(character, known):
    assert nearest(character, known) in known
