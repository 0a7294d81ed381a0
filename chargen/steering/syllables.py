"""Lines of so many syllables: only words of the dictionary, and a line ends when it is full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chargen.steering.guides import FORBIDDEN, Array, Guide, Moment
from chargen.steering.verse import Dictionary
from chargen.text.tokenizer import Tokenizer

_MARKS = ",;:.!?"


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

    Args:
        counts: the syllables of each line.
        dictionary: the words that may be written.
        tokenizer: of the model.
        prompt: the text before; the lines begin on a line of their own.
    """

    ends_texts = True

    def __init__(
        self, counts: Sequence[int], dictionary: Dictionary, tokenizer: Tokenizer, prompt: str
    ) -> None:
        self._counts, self._dictionary = counts, dictionary
        self._texts = [_text(tokenizer.token_bytes(t)) for t in range(tokenizer.vocab_size)]
        begins = not prompt or prompt.endswith("\n")
        self._place = _Place(0 if begins else -1, 0, "", "\n")
        self._known: dict[_Place, tuple[npt.NDArray[np.bool_], Array]] = {}

    def weigh(self, moment: Moment) -> Array | None:
        """Forbids what would give a line too many or too few syllables."""
        return self._mask(self._place)[1]

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
        syllables = self._dictionary.syllables(place.word) if place.word else 0
        if syllables is None or place.line + 1 != len(self._counts):
            return False
        return place.spoken + syllables == self._counts[place.line]

    def ended(self, token: int, moment: Moment) -> bool:
        """Whether the lines do not allow the token."""
        return not self._mask(self._place)[0][token]

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
