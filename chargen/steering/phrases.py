"""Follows words and phrases through a text of tokens, in any case.

A phrase counts as a whole: no letter or digit stands right before it or after it, as in a
dictionary. Scripts that put no spaces between words have no such ends, so there a phrase counts
wherever it stands.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from chargen.text.tokenizer import StreamDecoder, Tokenizer


class Place(NamedTuple):
    """How far the end of a text has come into the phrases."""

    begun: frozenset[tuple[int, int]]
    """Pairs of a phrase and how many of its characters the text ends with, at least one."""
    whole: frozenset[int]
    """Phrases that the text ends with, if no letter follows."""
    in_word: bool
    """Whether the text ends with a letter or digit."""


START = Place(frozenset(), frozenset(), False)


class Phrases:
    """Phrases, and how the tokens of a model lead through them.

    Args:
        phrases: at least one character each.
        tokenizer: of the model.
    """

    def __init__(self, phrases: Sequence[str], tokenizer: Tokenizer) -> None:
        self.phrases = [phrase.strip().casefold() for phrase in phrases]
        self._open = [not _is_in_word(phrase[0]) for phrase in self.phrases]
        """Phrases that may begin right after a letter."""
        self._ends_open = [not _is_in_word(phrase[-1]) for phrase in self.phrases]
        self._by_first: dict[str, list[int]] = defaultdict(list)
        for number, phrase in enumerate(self.phrases):
            self._by_first[phrase[0]].append(number)
        self.texts = [_whole(tokenizer.token_bytes(t)) for t in range(tokenizer.vocab_size)]
        """The characters of each token, folded; of a byte that is no character, nothing."""
        self._starting: dict[str, list[int]] = defaultdict(list)
        self.not_in_word: list[int] = []
        """Tokens that end a word before them; the end of a document is one of them."""
        self._risky: list[int] = []
        """Tokens that hold the end of a phrase, or a beginning behind their first character."""
        self.partial = [bool(tokenizer.token_bytes(t)) and not x for t, x in enumerate(self.texts)]
        """Tokens that are a part of a character."""
        for token, text in enumerate(self.texts):
            if text:
                self._starting[text[0]].append(token)
            if not self.partial[token] and not (text and _is_in_word(text[0])):
                self.not_in_word.append(token)
            if len(text) > 1 and any(character in self._by_first for character in text[1:]):
                self._risky.append(token)
        self._moves: dict[Place, dict[int, tuple[Place, frozenset[int]]]] = {}

    def after(self, place: Place, text: str) -> tuple[Place, frozenset[int]]:
        """Where some folded text leads to, and the phrases that it completes."""
        completed: set[int] = set()
        for character in text:
            place, more = self._after_character(place, character)
            completed |= more
        return place, frozenset(completed)

    def _after_character(self, place: Place, character: str) -> tuple[Place, frozenset[int]]:
        in_word = _is_in_word(character)
        completed = set() if in_word else set(place.whole)
        begun, whole = set(), set()
        starts = [
            (number, 0)
            for number in self._by_first.get(character, ())
            if not place.in_word or self._open[number]
        ]
        for number, length in (*place.begun, *starts):
            phrase = self.phrases[number]
            if phrase[length] != character:
                continue
            if length + 1 < len(phrase):
                begun.add((number, length + 1))
            elif self._ends_open[number]:
                completed.add(number)
            else:
                whole.add(number)
        return Place(frozenset(begun), frozenset(whole), in_word), frozenset(completed)

    def moves(self, place: Place) -> dict[int, tuple[Place, frozenset[int]]]:
        """The tokens that lead further into a phrase or complete one: where to, and which."""
        if place not in self._moves:
            following = {self.phrases[number][length] for number, length in place.begun}
            starting = following | set(self._by_first)
            tokens = {token for first in starting for token in self._starting.get(first, ())}
            tokens.update(self._risky)
            if place.whole:
                tokens.update(self.not_in_word)
            moves = {}
            for token in tokens:
                to, completed = self.after(place, self.texts[token])
                if not self.texts[token]:  # the end of a document ends a word
                    completed = place.whole
                if to.begun or to.whole or completed:
                    moves[token] = to, completed
            self._moves[place] = moves
        return self._moves[place]


class Follower:
    """Follows one text through phrases, token by token."""

    def __init__(self, phrases: Phrases, tokenizer: Tokenizer) -> None:
        self._phrases, self._tokenizer = phrases, tokenizer
        self._decoder = StreamDecoder()
        self.place = START
        self.in_character = False
        """Whether the text ends with a part of a character."""

    def accept(self, token: int) -> frozenset[int]:
        """Goes on with a token; the phrases that it completes."""
        phrases = self._phrases
        text = phrases.texts[token]
        if phrases.partial[token]:
            text = self._decoder.feed(self._tokenizer.token_bytes(token)).casefold()
            self.in_character = not text
        elif not text:
            completed, self.place = self.place.whole, START
            return completed
        self.place, completed = phrases.after(self.place, text)
        return completed


def _whole(data: bytes) -> str:
    try:
        return data.decode().casefold()
    except UnicodeDecodeError:
        return ""


def _is_in_word(character: str) -> bool:
    """Whether a character belongs to a word that blanks or marks end."""
    if character == "_" or unicodedata.category(character)[0] == "M":
        return True
    if not character.isalnum():
        return False
    spaceless = unicodedata.east_asian_width(character) == "W" and character.isalpha()
    return not spaceless and unicodedata.name(character, "").split(" ")[0] not in _SPACELESS


_SPACELESS = {"THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}


def holds(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase as a whole, in any case."""
    text, phrase = text.casefold(), phrase.strip().casefold()
    start = text.find(phrase)
    while start >= 0:
        before, after = text[:start][-1:], text[start + len(phrase) :][:1]
        opens = not (before and _is_in_word(before) and _is_in_word(phrase[0]))
        if opens and not (after and _is_in_word(after) and _is_in_word(phrase[-1])):
            return True
        start = text.find(phrase, start + 1)
    return False
