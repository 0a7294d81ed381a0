"""The guides that a text needs, made of what is asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from chargen.errors import UsageError
from chargen.steering.automaton import TokenAutomaton, any_text, automaton_of
from chargen.steering.config import Steering
from chargen.steering.endings import CopyGuide, FinishGuide, LoopGuide, MinLengthGuide
from chargen.steering.forms import WrapGuide, form_pattern, line_lengths
from chargen.steering.guides import AutomatonGuide, Guide, Guides, Reader
from chargen.steering.phrases import START, Phrases
from chargen.steering.rhyme import RhymeGuide, Rhymes
from chargen.steering.spelled import SpelledRhymes, is_english, words_of
from chargen.steering.syllables import SyllableGuide
from chargen.steering.verse import check_english, english, writes_english_letters
from chargen.steering.words import BanGuide, BiasGuide, MustGuide
from chargen.text.overlap import CopyIndex
from chargen.text.tokenizer import Tokenizer

_BYTES = ("byte", "subword")
"""Tokenizers whose tokens may be parts of characters."""
_MAX_SEARCHED = 2_000
"""Places that are looked at to tell whether a form and banned words exclude each other."""
_LONGEST_FINISH = 2
"""A text may become so many times as long as it was asked to, to end well."""


class GuideFactory:
    """What is asked of the texts after one prompt; makes the guides of each text.

    Args:
        steering: what is asked.
        length: tokens of a text.
        tokenizer: of the model.
        reader: what looks ahead.
        prompt: the text before.
        copies: the index of the training text, for `max_copy`, and for the words of `rhyme`.

    Raises:
        UsageError: it cannot be done with this model.
    """

    def __init__(
        self,
        steering: Steering,
        length: int,
        tokenizer: Tokenizer,
        reader: Reader,
        prompt: str = "",
        copies: CopyIndex | None = None,
    ) -> None:
        self._steering, self._tokenizer = steering, tokenizer
        self._reader, self._prompt, self._copies = reader, prompt, copies
        self.length = length * (_LONGEST_FINISH if steering.finish else 1)
        """The most tokens of a text."""
        self._eos_id = tokenizer.eos_id
        self._soft_length = length
        self._makers = list(self._all_makers())

    def __bool__(self) -> bool:
        return bool(self._makers)

    def guides(self, tokens: Iterable[int] = ()) -> Guides:
        """The guides of a text of which some tokens are written."""
        made = Guides([make() for make in self._makers], self._eos_id)
        for token in tokens:
            made.accept(token)
        return made

    def _all_makers(self) -> Iterable[Callable[[], Guide]]:
        steering, tokenizer, prompt = self._steering, self._tokenizer, self._prompt
        reader, eos_id = self._reader, self._eos_id
        alone = steering.syllables or steering.line_length != (0, 0)
        if steering.rhyme and alone:
            raise UsageError("rhyme cannot be asked for with syllables or line-length; ask for one")
        automaton = self._automaton()
        if automaton is not None:
            found: TokenAutomaton = automaton
            ends = self._form() != ""
            yield lambda: AutomatonGuide(found, eos_id, ends=ends, within_length=not steering.rhyme)
        least, most = line_lengths(steering, self._soft_length)
        if most and not steering.match:
            count = steering.line_count
            yield lambda: WrapGuide(least, most, count, tokenizer, prompt)
        if steering.syllables:
            words = english()
            if not self._writes_english():
                check_english(tokenizer, "syllables")
                raise UsageError(
                    "syllables: only English is known, and the training text is not; leave "
                    "syllables out"
                )
            yield lambda: SyllableGuide(steering.syllables, words, tokenizer, reader, prompt)
        if steering.rhyme:
            rhymes = self._rhymes()
            yield lambda: RhymeGuide(steering.rhyme, rhymes, tokenizer, reader, prompt)
        if steering.ban:
            banned = Phrases(steering.ban, tokenizer)
            if automaton is not None and self._form() and _excludes(banned, automaton):
                raise UsageError(
                    "ban: every text of the form that is asked for holds a banned word; ban less, "
                    "or ask for another form"
                )
            yield lambda: BanGuide(banned, tokenizer, reader, prompt)
        if steering.bias:
            numbers = [number for _, number in steering.bias]
            likelier = Phrases([word for word, _ in steering.bias], tokenizer)
            yield lambda: BiasGuide(likelier, numbers, tokenizer, prompt)
        if steering.must:
            must = steering.must
            MustGuide(must, tokenizer, reader, self._soft_length, prompt)
            yield lambda: MustGuide(must, tokenizer, reader, self._soft_length, prompt)
        if steering.finish:
            FinishGuide(steering.finish, self._soft_length, tokenizer)
            yield lambda: FinishGuide(steering.finish, self._soft_length, tokenizer)
        if steering.min_length:
            if steering.min_length > self.length:
                raise UsageError(
                    f"min-length {steering.min_length}: must be at most the length, "
                    f"{self.length}; write more"
                )
            yield lambda: MinLengthGuide(steering.min_length)
        if steering.max_loop:
            yield lambda: LoopGuide(steering.max_loop)
        if steering.max_copy:
            if self._copies is None:
                raise UsageError(
                    "max-copy: the training text is not on this machine, so copies cannot be "
                    "found; leave max-copy out"
                )
            index = self._copies
            yield lambda: CopyGuide(steering.max_copy, index, tokenizer)

    def _writes_english(self) -> bool:
        """Whether the model writes English, by its training text or else by its letters."""
        if not writes_english_letters(self._tokenizer):
            return False
        return self._copies is None or is_english(words_of(self._copies))

    def _rhymes(self) -> Rhymes:
        """What knows which words rhyme.

        Raises:
            UsageError: the model writes no English, and its words are not known.
        """
        if self._writes_english():
            return english()
        if self._copies is None:
            check_english(self._tokenizer, "rhyme")
        assert self._copies is not None
        return SpelledRhymes(words_of(self._copies))

    def _form(self) -> str:
        return self._steering.match or form_pattern(self._steering, self._soft_length, self._prompt)

    def _automaton(self) -> TokenAutomaton | None:
        form = self._form()
        if not form:
            broken = self._tokenizer.kind in _BYTES and not self._steering.raw_bytes
            return any_text(self._tokenizer) if broken else None
        option = "match" if self._steering.match else "the form of the lines"
        automaton = automaton_of(form, self._tokenizer, option)
        if not automaton.allowed(automaton.start, math.inf).any():
            raise UsageError(f"{option}: only the empty text matches; ask for at least a character")
        least = automaton.least(automaton.start)
        if least > self.length:
            raise UsageError(
                f"length {self.length}: {option} needs at least {least:.0f} tokens; write more"
            )
        return automaton


def _excludes(banned: Phrases, automaton: TokenAutomaton) -> bool:
    """Whether no text matches without a banned word; False where that takes too long to tell."""
    waiting = [(automaton.start, START)]
    seen = set(waiting)
    while waiting:
        reached, place = waiting.pop()
        if automaton.is_complete(reached) and not place.whole:
            return False
        moves = banned.moves(place)
        for token in map(int, np.flatnonzero(automaton.allowed(reached, math.inf))):
            _, completed = moves.get(token, (place, frozenset()))
            if completed:
                continue
            pair = automaton.after(reached, token), banned.after(place, banned.texts[token])[0]
            if pair not in seen:
                if len(seen) >= _MAX_SEARCHED:
                    return False
                seen.add(pair)
                waiting.append(pair)
    return True
