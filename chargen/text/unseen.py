"""The one place that tells which characters of a text a tokenizer does not know.

Whatever reads a text with a tokenizer that was made for another text asks `Unseen`: the commands,
the REPL, resumed and fine-tuned runs, and the functions of the library, which warn. This file
counts and words; which character replaces which is in nearest.py.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping

from chargen.errors import UnseenWarning
from chargen.text.corpus_tokenizer import form_of
from chargen.text.letters import normalized
from chargen.text.tokenizer import Tokenizer

_MAX_LISTED = 8
"""Unseen characters that a line lists."""


class UnseenNote(str):
    """A line of `Unseen` among a run's other notes: the library warns of it."""


class Unseen:
    """The characters that a tokenizer does not know, counted while a text is read.

    Args:
        tokenizer: what reads the text.
        policy: what becomes of these characters, one of `UNKNOWN_POLICIES`.
    """

    def __init__(self, tokenizer: Tokenizer, policy: str = "nearest") -> None:
        self._tokenizer, self._policy = tokenizer, policy
        self._replacements: dict[str, str] = {}
        self._known: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._characters = 0

    def feed(self, text: str | bytes) -> None:
        """Counts the characters of a text, or of its next piece."""
        if self._tokenizer.reads_bytes:
            return
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        text = normalized(text, form_of(self._tokenizer))
        self._characters += len(text)
        distinct = dict.fromkeys(text)
        self._look_up(distinct)
        unseen = [character for character in distinct if character in self._replacements]
        if len(unseen) > _MAX_LISTED:  # counting all at once is faster than one by one
            counts = Counter(text)
            self._counts.update({character: counts[character] for character in unseen})
        else:
            self._counts.update({character: text.count(character) for character in unseen})

    def feed_counts(self, counts: Mapping[str, int]) -> None:
        """Takes characters that were counted already, each with its number."""
        self._characters += sum(counts.values())
        self._look_up(counts)
        self._counts.update({char: counts[char] for char in counts if char in self._replacements})

    def _look_up(self, characters: Iterable[str]) -> None:
        met = self._known | self._replacements.keys()
        new = "".join(character for character in characters if character not in met)
        unseen = self._tokenizer.unseen(new) if new else {}
        self._replacements |= unseen
        self._known.update(set(new) - unseen.keys())

    def lines(self) -> list[str]:
        """One line that says how many there are and what they become; none if there are none."""
        if not self._counts:
            return []
        shown = list(self._counts)[:_MAX_LISTED]
        more = (
            f" and {len(self._counts) - len(shown)} more" if len(self._counts) > len(shown) else ""
        )
        replaced = self._policy == "nearest"
        listing = ", ".join(
            f"{_readable(character)} → {_readable(self._replacements[character])}"
            if replaced
            else _readable(character)
            for character in shown
        )
        left_out = " (left out)" if self._policy == "skip" else ""
        total = f"{self._counts.total()} of {self._characters}"
        return [UnseenNote(f"{total} characters unseen: {listing}{more}{left_out}")]


def unseen_lines(
    tokenizer: Tokenizer, pieces: Iterable[object], policy: str = "nearest"
) -> list[str]:
    """The lines of `Unseen` about a whole text.

    Args:
        tokenizer: what reads the text.
        pieces: the text; other items of a pass over a corpus count for nothing.
        policy: what becomes of unseen characters, one of `UNKNOWN_POLICIES`.
    """
    unseen = Unseen(tokenizer, policy)
    for piece in pieces:
        if isinstance(piece, str | bytes):
            unseen.feed(piece)
    return unseen.lines()


def warn_of_unseen(note: str) -> None:
    """What becomes of a run's notes when a program gives no function for them.

    Nobody would see the other notes there. That characters were replaced changes the result.
    """
    if isinstance(note, UnseenNote):
        warnings.warn(note, UnseenWarning, stacklevel=3)


def _readable(character: str) -> str:
    """The character as it can be shown in a list on any terminal."""
    if character.isspace():
        return repr(character)
    if not character.isprintable() or unicodedata.combining(character):
        return f"U+{ord(character):04X}"
    return repr(character) if character in ",'\"→" else character
