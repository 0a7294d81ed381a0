"""Lines of so many syllables: only words of the dictionary, and a line ends when it is full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chargen.steering.guides import FORBIDDEN, Array, Guide, Moment, Reader
from chargen.steering.verse import Dictionary
from chargen.text.tokenizer import Tokenizer

_MARKS = ",;:.!?"
_MAX_STEPS = 12
"""Tokens that the model reads to tell whether a word fits."""
_LIKELY = 0.02
"""Letters that are less likely are not followed."""


class _Place(NamedTuple):
    """Where a text stands."""

    line: int
    spoken: int
    """Syllables of the words of the line that are complete."""
    word: str
    """The letters of the word that is being written."""
    last: str
    """The character before."""


class SyllableGuide(Guide):
    """Writes lines of given numbers of syllables.

    A letter keeps the share of its likelihood with which the model goes on to a word that fits
    into the line; else `noth` would be written where `nothing` has a syllable too many.

    Args:
        counts: the syllables of each line.
        dictionary: the words that may be written.
        tokenizer: of the model.
        reader: what looks ahead.
        prompt: the text before; the lines begin on a line of their own.
    """

    ends_texts = True
    looks_ahead = True

    def __init__(
        self,
        counts: Sequence[int],
        dictionary: Dictionary,
        tokenizer: Tokenizer,
        reader: Reader,
        prompt: str,
    ) -> None:
        self._counts, self._dictionary, self._reader = counts, dictionary, reader
        self._texts = [_text(tokenizer.token_bytes(t)) for t in range(tokenizer.vocab_size)]
        self._letters = np.array([text[:1].isalpha() for text in self._texts])
        begins = not prompt or prompt.endswith("\n")
        self._place = _Place(0 if begins else -1, 0, "", "\n")
        self._known: dict[_Place, tuple[npt.NDArray[np.bool_], Array]] = {}

    def weigh(self, moment: Moment) -> Array | None:
        """Forbids what would give a line too many or too few syllables."""
        return self._mask(self._place)[1]

    def kept(self, token: int, moment: Moment) -> float:
        """How likely it is that the word that the token is a part of fits into the line."""
        place = self._after(self._place, self._texts[token])
        if place is None or not place.word:
            return 1.0
        waiting = [(1.0, token, place, moment.state)]
        fits = 0.0
        for _ in range(_MAX_STEPS):
            if not waiting:
                break
            likelihood, token, place, before = waiting.pop(0)
            after = np.empty_like(before)
            logits = self._reader.step(token, before, after)
            shares = np.exp(logits - logits.max()).astype(np.float64)
            shares *= likelihood / shares.sum()
            allowed = self._mask(place)[0]
            ends = allowed & ~self._letters
            if place.line + 1 == len(self._counts):
                ends |= ~self._letters & self._is_full(place)
            fits += float(shares[ends].sum())
            for following in np.flatnonzero(allowed & self._letters & (shares >= _LIKELY)):
                to = self._after(place, self._texts[following])
                assert to is not None
                waiting.append((float(shares[following]), int(following), to, after))
        return min(1.0, fits)

    def _mask(self, place: _Place) -> tuple[npt.NDArray[np.bool_], Array]:
        if place not in self._known:
            allowed = np.array(
                [bool(text) and self._after(place, text) is not None for text in self._texts]
            )
            weights = np.where(allowed, np.float32(0), FORBIDDEN).astype(np.float32)
            self._known[place] = allowed, weights
        return self._known[place]

    def _after(self, place: _Place, text: str) -> _Place | None:
        """Where some text leads to; None if the lines cannot be completed then."""
        here: _Place | None = place
        for character in text:
            here = None if here is None else self._after_character(here, character)
        return here

    def _after_character(self, place: _Place, character: str) -> _Place | None:
        if place.line < 0:  # the line of the prompt
            return _Place(0, 0, "", "\n") if character == "\n" else None
        room = self._counts[place.line] - place.spoken
        if character.isalpha() or (character == "'" and place.word):
            letter = character.lower()
            fewest = self._dictionary.following(place.word).get(letter)
            if fewest is None or fewest > room or (not place.word and place.last in _MARKS):
                return None
            return place._replace(word=place.word + letter, last=character)
        spoken = place.spoken
        if place.word:
            syllables = self._dictionary.syllables(place.word)
            if syllables is None or syllables > room:
                return None
            spoken += syllables
        full = spoken == self._counts[place.line]
        if character == "\n":
            is_last = place.line + 1 == len(self._counts)
            return _Place(place.line + 1, 0, "", "\n") if full and not is_last else None
        if character == " ":
            return None if full or place.last in " \n" else _Place(place.line, spoken, "", " ")
        if character in _MARKS and place.last not in _MARKS and place.last not in " \n":
            return _Place(place.line, spoken, "", character)
        return None

    def may_end(self) -> bool:
        """Whether the last line is full."""
        place = self._place
        return place.line + 1 == len(self._counts) and self._is_full(place)

    def _is_full(self, place: _Place) -> bool:
        syllables = self._dictionary.syllables(place.word) if place.word else 0
        return syllables is not None and place.spoken + syllables == self._counts[place.line]

    def ended(self, token: int, moment: Moment) -> bool:
        """Whether the lines do not allow the token, and the last word ends before it."""
        return not self._mask(self._place)[0][token] and not self._letters[token]

    def accept(self, token: int) -> None:
        """Follows the lines."""
        place = self._after(self._place, self._texts[token])
        assert place is not None
        self._place = place


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return ""
