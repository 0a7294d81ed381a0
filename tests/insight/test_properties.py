"""Properties of texts, worked out by hand, and labels from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargen.errors import CorpusError
from chargen.insight.properties import PROPERTIES, measure_properties, read_labels


def marks(name: str, text: str) -> str:
    """The values as digits under the text."""
    return "".join(f"{int(value)}" for value in PROPERTIES[name].measure(text))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("in-quotes", 'a "bc" d "e" f', "00111000011000"),
        ("in-quotes", "a “bc” «d»", "0011100110"),
        ("in-quotes", 'lone " mark\n\nand "one"', "0" * 17 + "11110"),
        ("in-quotes", '"two\nlines"', "11111111110"),
        ("in-brackets", "f(a[1]) )", "011111000"),
        ("bracket-depth", "f(a[1]) )", "011221000"),
        ("bracket-depth", "((\n\nx", "12200"),
        ("line-position", "ab\ncd", "12012"),
        ("indentation", "  a b\n\tc", "12222044"),
        ("sentence-length", "ab. cd!", "1201230"),
        ("word-length", "ab, c1 d", "12001201"),
        ("word-start", "ab, c1 d", "10001001"),
        ("upper-case", "aBÉ1", "0110"),
        ("digit", "a1٣b", "0110"),
        ("white-space", "a b\n\t", "01011"),
        ("in-string", "x = 'a b' + \"c\"", "000011110000110"),
        ("in-string", "don't 'do' it", "0000001110000"),
        ("in-string", "'a\\'b' c", "11111000"),
        ("in-string", '"""a\n"b""" c', "111111100000"),
        ("in-comment", "x # a\ny", "0011100"),
        ("in-comment", "// a\nb", "111100"),
        ("in-comment", "a /* b\nc */ d", "0011111111100"),
        ("in-comment", "http://x", "00000000"),
    ],
)
def test_properties_have_the_values_worked_out_by_hand(name, text, expected):
    assert marks(name, text) == expected


@given(st.text(alphabet="ab \n\t\"'“”«»()[]{}#/*\\.É1", max_size=60))
def test_every_text_has_every_property(text):
    labels = tuple(text)
    by_name = measure_properties(labels)
    assert list(by_name) == list(PROPERTIES)
    for values in by_name.values():
        assert values.shape == (len(text),)
        assert np.isfinite(values).all()
        assert (values >= 0).all()


def test_a_token_has_the_value_after_its_last_character():
    by_character = measure_properties(tuple("a (bc) D"))
    parts = measure_properties(("a ", "(b", "", "c)", " D"))
    for name, values in parts.items():
        expected = [by_character[name][position] for position in (1, 3, 3, 5, 7)]
        assert values.tolist() == expected


def test_an_empty_text_has_no_properties():
    assert measure_properties(())["digit"].shape == (0,)
    assert measure_properties(("", ""))["digit"].tolist() == [0, 0]


def test_labels_are_read_from_a_file():
    Path("l.tsv").write_text(
        "# a comment\n0\t2\tname\n\n3\t5\tverb\n4\t5\tname\n", encoding="utf-8"
    )
    by_name = read_labels(Path("l.tsv"), tuple("abcde"))
    assert by_name["name"].tolist() == [1, 1, 0, 0, 1]
    assert by_name["verb"].tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 2 name", "line 1: write START, END, NAME with tabs"),
        ("0\t2\tname\textra", "line 1: write START"),
        ("a\t2\tname", "line 1: write START"),
        ("2\t2\tname", "line 1: write START"),
        ("0\t9\tname", "END 9 is past the 5 characters"),
        ("0\t2\tbad name", "'bad name' is no name"),
        ("0\t2\t\x1b[2J", "is no name"),
        ("99999999999999999999\t2\tx", "line 1: write START"),
        ("", "has no labels"),
    ],
)
def test_damaged_labels_are_refused(text, message):
    Path("l.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match=message.replace("[", r"\[")) as caught:
        read_labels(Path("l.tsv"), tuple("abcde"))
    assert "\n" not in str(caught.value)


def test_unreadable_files_of_labels_are_an_error():
    with pytest.raises(CorpusError, match="cannot be read"):
        read_labels(Path("none.tsv"), tuple("abc"))
    Path("l.tsv").write_bytes(b"0\t1\t\xff\xff")
    with pytest.raises(CorpusError, match="not UTF-8"):
        read_labels(Path("l.tsv"), tuple("abc"))
    lines = "".join(f"0\t1\tn{number}\n" for number in range(65))
    Path("l.tsv").write_text(lines)
    with pytest.raises(CorpusError, match="65 names are more than 64"):
        read_labels(Path("l.tsv"), tuple("abc"))
