"""Which known character is most like a character that a model has never seen.

This file knows characters only: no ids, no tokenizer. Relations are tried in a fixed order, from
the closest (the same letter without its accent) to the farthest (the same Unicode category).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterator

# Typography that Unicode does not decompose, and the form that keyboards have.
_KEYBOARD_FORMS = {
    "‘": "'", "’": "'", "‚": ",", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "‹": "'", "›": "'", "`": "'", "´": "'", "–": "-", "—": "-", "―": "-", "−": "-", "‐": "-",
    "‑": "-", "…": ".", "·": ".", "•": "-", "×": "x", "÷": "/", "¡": "!", "¿": "?",
    "。": ".", "、": ",", "「": '"', "」": '"', "『": '"', "』": '"', "،": ",", "؛": ";", "؟": "?",
    "\t": " ", "\r": "\n", "\v": "\n", "\f": "\n", "\x85": "\n", "\u2028": "\n", "\u2029": "\n",
    "[": "(", "]": ")", "{": "(", "}": ")", '"': "'", "'": '"',
}  # fmt: skip


def _typography(character: str) -> Iterator[str]:
    if character in _KEYBOARD_FORMS:
        yield _KEYBOARD_FORMS[character]


def _decomposed(character: str) -> Iterator[str]:
    yield from unicodedata.normalize("NFKD", character)


def _other_case(character: str) -> Iterator[str]:
    yield from character.lower()
    yield from character.casefold()
    yield from character.upper()


def _letter_of_name(character: str) -> Iterator[str]:
    """The letter in the Unicode name: E of EURO SIGN, o of LATIN SMALL LETTER O WITH STROKE."""
    words = unicodedata.name(character, "").split()
    category = unicodedata.category(character)
    if not (category[0] == "L" or category == "Sc") or not words:
        return  # the names of other symbols, such as emoji, do not stand for letters
    if "IDEOGRAPH" in words[0] or words[0] in {"CJK", "HANGUL"}:
        return
    word = words[words.index("LETTER") + 1] if "LETTER" in words[:-1] else words[0]
    initial = word[0]
    yield from (initial.lower(), initial) if "SMALL" in words else (initial, initial.lower())


_COMMON_MARKS = ".,;:!?-'\"()"
_RELATIONS: tuple[Callable[[str], Iterator[str]], ...] = (
    _typography,
    _decomposed,
    _other_case,
    _letter_of_name,
)


def nearest(character: str, known: Collection[str]) -> str:
    """The character of `known` that is most like `character`.

    Args:
        character: one code point.
        known: the characters to choose from; at least one.

    >>> nearest("é", "abcde"), nearest("ß", "rst"), nearest("—", " -x"), nearest("€", "AE")
    ('e', 's', '-', 'E')
    """
    assert known
    if character in known:
        return character
    return relative(character, known) or _same_category(character, known)


def relative(character: str, known: Collection[str]) -> str | None:
    """The character of `known` that is another form of `character`, or None.

    Forms are the base letter, the other case, the keyboard form, and the letter in the name.

    >>> relative("É", "abcde"), relative("＆", "a&"), relative("中", "abc")
    ('e', '&', None)
    """
    candidates = [character]
    for relation in _RELATIONS:
        # Relations chain: É becomes e by its base letter and then by the other case of that.
        related = [
            form
            for candidate in candidates
            for form in relation(candidate)
            if form not in candidates
        ]
        for form in related:
            if form in known:
                return form
        candidates += related
    return None


def _same_category(character: str, known: Collection[str]) -> str:
    """The first known character of the same category, then of the same group, then a space."""
    category = unicodedata.category(character)
    if category.startswith(("Z", "C")) and " " in known:
        return " "
    # Common marks come first: a full stop replaces an unknown mark better than a bracket does.
    ordered = [mark for mark in _COMMON_MARKS if mark in known] + sorted(known)
    for width in (2, 1):
        for other in ordered:
            if unicodedata.category(other)[:width] == category[:width]:
                return other
    return " " if " " in known else ordered[0]
