"""Which known character stands nearest to one that was never seen.

Knows characters only: no ids, no tokenizer. The relatives are asked in a fixed order, from the
closest (the same letter without its accent) to the farthest (anything of the same category).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterator

# Typography that Unicode does not decompose, in the plain form keyboards have.
_PLAIN = {
    "‘": "'", "’": "'", "‚": ",", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "‹": "'", "›": "'", "`": "'", "´": "'", "–": "-", "—": "-", "―": "-", "−": "-", "‐": "-",
    "‑": "-", "…": ".", "·": ".", "•": "-", "×": "x", "÷": "/", "¡": "!", "¿": "?",
    "。": ".", "、": ",", "「": '"', "」": '"', "『": '"', "』": '"', "،": ",", "؛": ";", "؟": "?",
    "\t": " ", "\r": "\n", "\v": "\n", "\f": "\n", "\x85": "\n", "\u2028": "\n", "\u2029": "\n",
    "[": "(", "]": ")", "{": "(", "}": ")", '"': "'", "'": '"',
}  # fmt: skip


def _typography(character: str) -> Iterator[str]:
    if character in _PLAIN:
        yield _PLAIN[character]


def _decomposed(character: str) -> Iterator[str]:
    yield from unicodedata.normalize("NFKD", character)


def _other_case(character: str) -> Iterator[str]:
    yield from character.lower()
    yield from character.casefold()
    yield from character.upper()


def _named(character: str) -> Iterator[str]:
    """The letter in the Unicode name: EURO SIGN gives E, LATIN SMALL LETTER O WITH STROKE o."""
    words = unicodedata.name(character, "").split()
    category = unicodedata.category(character)
    if not (category[0] == "L" or category == "Sc") or not words:
        return  # the name of a picture says nothing of letters
    if "IDEOGRAPH" in words[0] or words[0] in {"CJK", "HANGUL"}:
        return
    word = words[words.index("LETTER") + 1] if "LETTER" in words[:-1] else words[0]
    initial = word[0]
    yield from (initial.lower(), initial) if "SMALL" in words else (initial, initial.lower())


_MARKS = ".,;:!?-'\"()"
_RELATIONS: tuple[Callable[[str], Iterator[str]], ...] = (
    _typography,
    _decomposed,
    _other_case,
    _named,
)


def nearest(character: str, known: Collection[str]) -> str:
    """The member of `known` that stands nearest to `character`.

    Args:
        character: one code point, usually not in `known`.
        known: the characters to choose from; at least one.

    >>> nearest("é", "abcde"), nearest("ß", "rst"), nearest("—", " -x"), nearest("€", "AE")
    ('e', 's', '-', 'E')
    """
    assert known
    if character in known:
        return character
    return relative(character, known) or _same_category(character, known)


def relative(character: str, known: Collection[str]) -> str | None:
    """The member of `known` that is the same in another form, or in name; None without one.

    >>> relative("É", "abcde"), relative("＆", "a&"), relative("中", "abc")
    ('e', '&', None)
    """
    candidates = [character]
    for relation in _RELATIONS:
        # Relations chain: É is e through its base letter and that letter's other case.
        found = [near for one in candidates for near in relation(one) if near not in candidates]
        for near in found:
            if near in known:
                return near
        candidates += found
    return None


def _same_category(character: str, known: Collection[str]) -> str:
    """The first known character of the same category, then of the same group, then a space."""
    category = unicodedata.category(character)
    if category.startswith(("Z", "C")) and " " in known:
        return " "
    # A stop stands for any mark sooner than a bracket does.
    ordered = [one for one in _MARKS if one in known] + sorted(known)
    for width in (2, 1):
        for one in ordered:
            if unicodedata.category(one)[:width] == category[:width]:
                return one
    return " " if " " in known else ordered[0]
