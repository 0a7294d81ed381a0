"""SafeText: nothing that a terminal obeys gets through."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.terminal.safetext import MAX_MARKS, SafeStream, SafeText, safe, safe_line

FORBIDDEN_FORMATS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def is_obeyed(character: str) -> bool:
    category = unicodedata.category(character)
    return category in ("Cc", "Zl", "Zp", "Cs") or character in FORBIDDEN_FORMATS


@given(st.text(st.characters()))
def test_nothing_obeyed_survives(text):
    assert not any(is_obeyed(character) for character in safe(text) if character not in "\n\t")
    assert not any(is_obeyed(character) for character in safe_line(text))


@given(st.lists(st.text(st.characters())))
def test_pieces_join_to_the_whole(pieces):
    stream = SafeStream()
    assert "".join(map(stream.feed, pieces)) == safe("".join(pieces))


@given(st.text(st.characters()))
def test_safe_text_stays_safe(text):
    once = safe(text)
    assert isinstance(once, SafeText)
    assert safe(once) is once
    assert SafeStream().feed(once) == once


def test_every_control_character_is_visible():
    shown = [safe_line(chr(code)) for code in (*range(0x20), *range(0x7F, 0xA0))]
    assert all(text and text.isprintable() for text in shown)
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[31mb", "a␛[31mb"),
        ("\x9b2J", "⟨U+009B⟩2J"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("\u2028", "⟨U+2028⟩"),
        ("\ufeff\u200b", "⟨U+FEFF⟩⟨U+200B⟩"),
        ("\ud800\ufffe", "\ufffd\ufffd"),
        ("a\r\nb\tc", "a␍\nb\tc"),
        ("नमस्ते שלום مرحبا 你好", "नमस्ते שלום مرحبا 你好"),
        ("👩\u200d👩\u200d👧 ❤\ufe0f", "👩\u200d👩\u200d👧 ❤\ufe0f"),
        ("\U000e0041", "⟨U+E0041⟩"),
    ],
)
def test_examples(text, expected):
    assert safe(text) == expected


def test_marks_are_capped_over_pieces():
    stream = SafeStream()
    text = "".join(stream.feed(piece) for piece in "a" + "\u0301" * 50 + "b\u0301")
    assert text == "a" + "\u0301" * MAX_MARKS + "b\u0301"


def test_lines_become_visible_on_one_line():
    assert safe_line("a\nb\tc") == "a␊b␉c"
