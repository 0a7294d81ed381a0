"""Words in and out: banned words, words made likelier, words that have to come.

A banned word is not only stopped at its last letter, where all that is left is to misspell it.
Before a letter that begins one is kept, the model reads on and tells how likely the whole word is
then; the letter keeps the rest of its likelihood. That is the distribution of the model's texts
given that the word does not come (Doob's h-transform), as far as the model looks ahead.

Shape letters: V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from chargen.errors import UsageError
from chargen.steering.guides import FORBIDDEN, Array, Guide, Moment, Reader
from chargen.steering.phrases import START, Follower, Phrases, Place
from chargen.text.tokenizer import Tokenizer

_MAX_STEPS = 24
"""Tokens that the model reads to tell how likely a banned word is."""
_LIKELY = 0.01
"""Beginnings of a word that are less likely are not followed."""
_HOPELESS = 9.0
"""A first token that is less likely than exp(-9) begins no word well."""
_MARGIN = 5
"""Tokens around a word: a blank, and the rest of a character of several bytes."""
_MIN_PLACES = 12
"""Places that are seen before a word is written at one that is better than most."""


class BanGuide(Guide):
    """Keeps words out.

    Args:
        phrases: the words.
        tokenizer: of the model.
        reader: what looks ahead.
        prompt: the text before; it may end within a word.
    """

    looks_ahead = True

    def __init__(self, phrases: Phrases, tokenizer: Tokenizer, reader: Reader, prompt: str) -> None:
        self._phrases, self._reader = phrases, reader
        self._follower = Follower(phrases, tokenizer)
        self._follower.place, _ = phrases.after(START, prompt.casefold())
        self._eos_id = tokenizer.eos_id
        self._weights: dict[tuple[Place, bool], Array] = {}
        self._vocab_size = tokenizer.vocab_size
        self._partial = np.array(phrases.partial)

    def weigh(self, moment: Moment) -> Array | None:
        """Forbids the tokens that complete a word, or begin to end the text with one."""
        place, last = self._follower.place, moment.remaining <= 1
        key = place, last
        if key not in self._weights:
            weights = np.zeros(self._vocab_size, np.float32)
            for token, (to, completed) in self._phrases.moves(place).items():
                if completed or (last and to.whole):
                    weights[token] = FORBIDDEN
            if place.whole:  # a character in parts could be any
                weights[self._partial] = FORBIDDEN
            self._weights[key] = weights
        return self._weights[key]

    def kept(self, token: int, moment: Moment) -> float:
        """How likely it is that no banned word comes of the token."""
        move = self._phrases.moves(self._follower.place).get(token)
        if move is None:
            return 1.0
        return max(0.0, 1.0 - self._risk(token, move[0], moment.state))

    def _risk(self, token: int, place: Place, state: Array) -> float:
        """The probability that the words that the token begins or goes on with become whole."""
        waiting = [(1.0, token, place, state)]
        risk = 0.0
        for _ in range(_MAX_STEPS):
            if not waiting:
                break
            likelihood, token, place, before = waiting.pop(0)
            after = np.empty_like(before)
            logits = self._reader.step(token, before, after)
            shifted = np.exp(logits - logits.max())
            shifted /= shifted.sum()
            for following, (to, completed) in self._phrases.moves(place).items():
                share = likelihood * float(shifted[following])
                if completed:
                    risk += share
                elif share >= _LIKELY and _goes_on(place, to):
                    waiting.append((share, following, to, after))
        return risk

    def may_end(self) -> bool:
        """Whether the text does not end with a banned word."""
        return not self._follower.place.whole

    def accept(self, token: int) -> None:
        """Follows the words."""
        self._follower.accept(token)


def _goes_on(before: Place, after: Place) -> bool:
    """Whether a word that had begun goes on; one that begins later is looked at there."""
    numbers = {number for number, _ in before.begun} | before.whole
    return any(number in numbers for number, _ in after.begun) or bool(after.whole & numbers)


class BiasGuide(Guide):
    """Makes words likelier or less likely: each of their characters gets its share.

    Args:
        phrases: the words.
        numbers: what is added to the log-likelihood of each.
        tokenizer: of the model.
        prompt: the text before.
    """

    def __init__(
        self, phrases: Phrases, numbers: Sequence[float], tokenizer: Tokenizer, prompt: str
    ) -> None:
        self._phrases, self._numbers = phrases, numbers
        self._follower = Follower(phrases, tokenizer)
        self._follower.place, _ = phrases.after(START, prompt.casefold())
        self._vocab_size = tokenizer.vocab_size
        self._weights: dict[Place, Array | None] = {}

    def weigh(self, moment: Moment) -> Array | None:
        """Adds to the tokens that go on with the words."""
        place = self._follower.place
        if place not in self._weights:
            weights = np.zeros(self._vocab_size, np.float32)
            for token, (to, completed) in self._phrases.moves(place).items():
                weights[token] += self._gain(place, to, completed)
            self._weights[place] = weights if weights.any() else None
        return self._weights[place]

    def _gain(self, before: Place, after: Place, completed: frozenset[int]) -> float:
        """What the characters of a token add: a share for each, and one for the word's end."""
        reached = dict(before.begun)
        gain = 0.0
        for number, length in after.begun:
            gain += self._share(number) * (length - reached.get(number, 0))
        for number in after.whole:
            gain += self._share(number) * (
                len(self._phrases.phrases[number]) - reached.get(number, 0)
            )
        for number in completed:
            gain += self._share(number)
        return gain

    def _share(self, number: int) -> float:
        return self._numbers[number] / (len(self._phrases.phrases[number]) + 1)

    def accept(self, token: int) -> None:
        """Follows the words."""
        self._follower.accept(token)


class MustGuide(Guide):
    """Brings words into the text before it ends.

    Wherever a word may begin, the model is asked how likely each missing word is there. A word is
    written where it is likelier than at most places so far; the less text is left, the less is
    asked of a place, and at last it is written anywhere.

    Args:
        words: what has to come.
        tokenizer: of the model.
        reader: what looks ahead.
        length: tokens of the whole text.
        prompt: the text before.

    Raises:
        UsageError: the text is too short for the words, or the model cannot write one.
    """

    def __init__(
        self, words: Sequence[str], tokenizer: Tokenizer, reader: Reader, length: int, prompt: str
    ) -> None:
        self._tokenizer, self._reader, self._length = tokenizer, reader, length
        self._phrases = Phrases(words, tokenizer)
        self._follower = Follower(self._phrases, tokenizer)
        self._follower.place, _ = self._phrases.after(START, prompt.casefold())
        self._missing = dict.fromkeys(range(len(words)))
        self._forced: list[int] = []
        self._closes = False
        """Whether a word was just written and must end."""
        in_word = np.ones(tokenizer.vocab_size, bool)
        in_word[self._phrases.not_in_word] = False
        self._ending = np.where(in_word, FORBIDDEN, np.float32(0)).astype(np.float32)
        self._scores: list[list[float]] = [[] for _ in words]
        self._with_blank = tokenizer.kind in ("subword", "words", "spaces", "regex")
        self._spelled = [self._spell(word.strip()) for word in words]
        needed = sum(map(len, self._spelled)) + _MARGIN * len(words)
        if needed > length:
            raise UsageError(
                f"length {length}: the words that must come need {needed} tokens; write more"
            )

    def _spell(self, word: str) -> list[int]:
        for spelling in (word, word.lower(), word.capitalize(), word.upper()):
            unseen = self._tokenizer.unseen(spelling)
            if not unseen:
                blank = " " if self._with_blank and not self._tokenizer.unseen(" ") else ""
                return [int(token) for token in self._tokenizer.encode(blank + spelling)]
        raise UsageError(
            f"must {word!r}: the model never saw {', '.join(map(repr, unseen))}; leave it out"
        )

    @property
    def missing(self) -> list[str]:
        """The words that have not come yet."""
        return [self._phrases.phrases[number] for number in self._missing]

    def weigh(self, moment: Moment) -> Array | None:
        """Leaves only the next token of a word that is being written, or what may end it."""
        if self._closes:
            return self._ending
        if not self._forced and self._missing and self._is_between(moment):
            self._choose(moment)
        if not self._forced:
            return None
        weights = np.full(self._tokenizer.vocab_size, FORBIDDEN, np.float32)
        weights[self._forced[0]] = 0.0
        return weights

    def _is_between(self, moment: Moment) -> bool:
        """Whether a word may begin here; where no text is left to wait, one begins anywhere."""
        if self._follower.in_character:
            return False
        return not self._follower.place.in_word or self._with_blank or self._is_late(moment)

    def _is_late(self, moment: Moment) -> bool:
        needed = sum(len(self._spelled[number]) + _MARGIN for number in self._missing)
        return moment.remaining <= needed

    def _choose(self, moment: Moment) -> None:
        late = self._is_late(moment)
        relative = moment.relative
        total = math.log(float(np.exp(relative).sum()))
        best, chosen = -math.inf, None
        for number in self._missing:
            tokens = self._spelled[number]
            score = float(relative[tokens[0]]) - total
            scores = self._scores[number]
            # A word that cannot even begin here is not read to its end.
            if score > -_HOPELESS or late:
                score = self._score(tokens, score, moment.state)
            needed = self._threshold(scores, moment.remaining)
            scores.append(score)
            if (late or score > needed) and score > best:
                best, chosen = score, number
        if chosen is not None:
            blank = self._tokenizer.encode(" ")
            in_word = self._follower.place.in_word and not self._with_blank
            before = [int(blank[0])] if in_word and len(blank) else []
            self._forced = [*before, *self._spelled[chosen]]

    def _threshold(self, scores: Sequence[float], remaining: int) -> float:
        """The log-likelihood above which a word is written here."""
        if len(scores) < _MIN_PLACES:
            return math.inf
        return float(np.quantile(scores, min(1.0, remaining / self._length)))

    def _score(self, tokens: Sequence[int], score: float, state: Array) -> float:
        for token, following in pairwise(tokens):
            after = np.empty_like(state)
            logits = self._reader.step(token, state, after).astype(np.float64)
            score += float(logits[following] - logits.max())
            score -= math.log(float(np.exp(logits - logits.max()).sum()))
            state = after
        # Only in a script without blanks may anything follow the word.
        logits = self._reader.step(tokens[-1], state, np.empty_like(state)).astype(np.float64)
        likelihoods = np.exp(logits - logits.max())
        ending = float(likelihoods[self._phrases.not_in_word].sum() / likelihoods.sum())
        return score + math.log(max(ending, 1e-30))

    def may_end(self) -> bool:
        """Whether all words have come; a word that the text ends with counts."""
        return not self._forced and not (self._missing.keys() - self._follower.place.whole)

    def accept(self, token: int) -> None:
        """Notes the words that come."""
        self._closes = len(self._forced) == 1 and bool(self._phrases.texts[token])
        self._forced = self._forced[1:]
        for number in self._follower.accept(token):
            self._missing.pop(number, None)
