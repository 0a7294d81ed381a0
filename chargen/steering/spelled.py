"""Rhymes by spelling, for languages without a dictionary here.

Two words rhyme if they are spelled alike from the last vowels on, as `Haus` and `Maus`; where a
word ends with a vowel, the consonants before it belong to the rhyme too. The words are those of the
training text. Which language a model writes is told by that text as well.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict

from chargen.text.overlap import CopyIndex

_WORD = re.compile(r"[^\W\d_]+")
_VOWELS = set("aeiouyæœøаеёиоуыэюяіїєαεηιουωάέήίόύώ")
_READ_SYMBOLS = 4_000_000
_ENGLISH = (
    *("the", "of", "and", "to", "that", "is", "was", "for", "with", "his", "he", "it", "you"),
    *("not", "be", "on", "as", "my", "this"),
)
"""Words that English cannot do without; the dictionary has names of every language."""
_ENGLISH_SHARE = 0.1
"""The least share of these words in an English text; prose and verse have about a quarter."""
_MIN_COUNT = 2
_MIN_LETTERS = 3


def words_of(copies: CopyIndex) -> Counter[str]:
    """The words of a training text, in lower case, and how often they occur."""
    text = copies.spell(copies.symbols[:_READ_SYMBOLS])
    return Counter(word.lower() for word in _WORD.findall(text))


def is_english(words: Counter[str]) -> bool:
    """Whether a text is English, by its most frequent words; one without words counts as it."""
    total = words.total()
    return sum(words[word] for word in _ENGLISH) >= _ENGLISH_SHARE * total


class SpelledRhymes:
    """Words that are spelled alike at their ends.

    Args:
        words: those that may be written, and how often they occur.
    """

    def __init__(self, words: Counter[str]) -> None:
        self._rhyming: dict[str, list[str]] = defaultdict(list)
        for word, count in words.most_common():
            if count >= _MIN_COUNT and len(word) >= _MIN_LETTERS:
                self._rhyming[ending(word)].append(word)

    def rhymes(self, word: str) -> list[str]:
        """The words that rhyme with a word, the most frequent first."""
        found = self._rhyming.get(ending(word.lower()), [])
        return [other for other in found if other != word.lower()]


def ending(word: str) -> str:
    """The letters from the last vowels on; with the consonants before, where nothing follows."""
    vowels = [_is_vowel(letter) for letter in word]
    if True not in vowels:
        return word
    start = last = len(vowels) - 1 - vowels[::-1].index(True)
    while start > 0 and vowels[start - 1]:
        start -= 1
    if last == len(word) - 1:
        while start > 0 and not vowels[start - 1]:
            start -= 1
    return word[start:]


def _is_vowel(letter: str) -> bool:
    return letter in _VOWELS or unicodedata.normalize("NFD", letter)[0] in _VOWELS
