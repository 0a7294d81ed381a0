"""Lines that rhyme: the last word of a line is looked for among those that rhyme with its partner.

The first line of a pair is written freely, but ends with a word that has rhymes. In its partner,
the model is asked at each word, from a little before the first line's length on, which rhyming
word it could best end the line with. The longer the line, the less is asked of that word.
"""

from __future__ import annotations

import heapq
import math
import re
from typing import Any, Protocol

import numpy as np

from chargen.steering.guides import FORBIDDEN, Array, Guide, Moment, Reader
from chargen.text.tokenizer import StreamDecoder, Tokenizer

_LAST_WORD = re.compile(r"([^\W\d_]+(?:'[^\W\d_]+)*)[^\w\n]*$")
_MAX_STEPS = 64
"""Tokens that the model reads to find the best word at one place."""
_WIDE = 36
"""A free line ends after the first word from so many characters on that has rhymes."""
_FROM, _TO = 0.6, 1.6
"""Where the rhyming word is looked for, as shares of the first line's length."""
_DEMANDED, _GRANTED = 5.0, 16.0
"""What a word with the line's end may cost there, in nats, at the first and at the last place."""
_MIN_RHYMES = 10
"""A line may end with a word that has so many rhymes."""
_MIN_LETTERS = 2
_MARKS = ",.;:!?"


class Rhymes(Protocol):
    """What knows which words rhyme: `Dictionary` or `SpelledRhymes`."""

    def rhymes(self, word: str) -> list[str]:
        """The words that rhyme with a word."""


class RhymeGuide(Guide):
    """Writes rhyming lines.

    Args:
        scheme: a letter for each line.
        dictionary: which words rhyme.
        tokenizer: of the model.
        reader: what looks ahead.
        prompt: the text before; the lines begin on a line of their own.
    """

    ends_texts = True

    def __init__(
        self,
        scheme: str,
        dictionary: Rhymes,
        tokenizer: Tokenizer,
        reader: Reader,
        prompt: str,
    ) -> None:
        self._scheme, self._dictionary = scheme.upper(), dictionary
        self._tokenizer, self._reader = tokenizer, reader
        texts = [
            tokenizer.token_bytes(t).decode("utf-8", "ignore") for t in range(tokenizer.vocab_size)
        ]
        self._newlines = np.array(["\n" in text for text in texts])
        self._marks = np.array([text in _MARKS and bool(text) for text in texts])

        self._blanks = np.array([text.startswith(" ") for text in texts])
        self._with_blank = tokenizer.kind in ("subword", "words", "spaces", "regex")
        self._decoder = StreamDecoder()
        self._lines = [""] if not prompt or prompt.endswith("\n") else []

        self._forced: list[int] = []
        self._is_placed = False
        self._tries: dict[str, dict[Any, Any]] = {}

    def weigh(self, moment: Moment) -> Array | None:
        """Leaves the next token of a rhyming word, or what may end its line."""
        number = len(self._lines) - 1
        if number < 0 or number >= len(self._scheme):
            return None
        weights = np.zeros(len(self._newlines), np.float32)
        line, partner = self._lines[-1], self._partner(number)
        if self._is_placed and not self._forced:
            ends = self._newlines if line[-1:] in _MARKS else self._newlines | self._marks
            weights[~ends] = FORBIDDEN
            return weights
        if partner is None:
            if not self._may_rhyme(line) and self._rhymes_later(number):
                weights[self._newlines] = FORBIDDEN
            elif len(line) >= _WIDE:
                self._wrap(weights, moment.relative)
            return weights
        if not self._forced and self._begins_word(line):
            self._choose(line, partner, moment)
        if self._forced:
            weights[:] = FORBIDDEN
            weights[self._forced[0]] = 0.0
        else:
            weights[self._newlines] = FORBIDDEN
        return weights

    def _wrap(self, weights: Array, relative: Array) -> None:
        """Gives the likelihood of a blank to the line end."""
        weights[self._blanks] = FORBIDDEN
        gain = relative[self._blanks].max(initial=-99) - relative[self._newlines].max(initial=-99)
        weights[self._newlines] = max(0.0, float(gain))

    def _partner(self, number: int) -> str | None:
        """The line before that line `number` rhymes with."""
        letter = self._scheme[number]
        earlier = [n for n in range(number) if self._scheme[n] == letter]
        return self._lines[earlier[-1]] if earlier else None

    def _rhymes_later(self, number: int) -> bool:
        return self._scheme[number] in self._scheme[number + 1 :]

    def _may_rhyme(self, line: str) -> bool:
        word = last_word(line)
        return len(self._dictionary.rhymes(word)) >= _MIN_RHYMES if word else False

    def _begins_word(self, line: str) -> bool:
        if self._with_blank:
            return bool(line) and line[-1].isalpha()
        return line.endswith(" ")

    def _choose(self, line: str, partner: str, moment: Moment) -> None:
        share = len(line) / max(1, len(partner))
        if share < _FROM:
            return
        late = min(1.0, (share - _FROM) / (_TO - _FROM))
        limit = _DEMANDED + late * (_GRANTED - _DEMANDED) if late < 1 else math.inf
        used = {last_word(line) for line in self._lines[:-1]}
        found = self._best(self._trie(last_word(partner), used), moment, limit)
        if found:
            self._forced, self._is_placed = list(found), True

    def _trie(self, word: str, used: set[str]) -> dict[Any, Any]:
        """The words that rhyme with a word, by their tokens; None marks a word's end."""
        if word not in self._tries:
            trie: dict[Any, Any] = {}
            blank = " " if self._with_blank else ""
            for rhyme in self._dictionary.rhymes(word):
                if rhyme in used or len(rhyme) < _MIN_LETTERS or not rhyme.isalpha():
                    continue
                if self._tokenizer.unseen(rhyme):
                    continue
                node = trie
                for token in self._tokenizer.encode(blank + rhyme):
                    node = node.setdefault(int(token), {})
                node[None] = True
            self._tries[word] = trie
        return self._tries[word]

    def _best(self, trie: dict[Any, Any], moment: Moment, limit: float) -> tuple[int, ...] | None:
        """The tokens of the likeliest word with a line's end after it, within a cost in nats.

        Where any cost is granted, a word is found: after `_MAX_STEPS` the likeliest of the longest
        beginnings is followed to a word.
        """
        queue: list[tuple[float, tuple[int, ...], bool]] = [(0.0, (), False)]
        nodes: dict[tuple[int, ...], tuple[dict[Any, Any], Array, Array]] = {
            (): (trie, moment.relative, moment.state)
        }
        ends = self._newlines | self._marks
        steps = 0
        while queue and (steps < _MAX_STEPS or limit == math.inf):
            if steps >= _MAX_STEPS:
                queue = [min(queue, key=lambda entry: (-len(entry[1]), entry[0]))]
            cost, tokens, complete = heapq.heappop(queue)
            if complete:
                return tokens
            node, logits, state = nodes[tokens]
            if tokens:
                after = np.empty_like(state)
                logits = self._reader.step(tokens[-1], state, after).copy()
                state, steps = after, steps + 1
            logprobs = logits.astype(np.float64) - logits.max()
            logprobs -= math.log(float(np.exp(logprobs).sum()))
            for token, below in node.items():
                if token is None:
                    ending = cost - math.log(max(float(np.exp(logprobs[ends]).sum()), 1e-30))
                    if ending <= limit:
                        heapq.heappush(queue, (ending, tokens, True))
                    continue
                more = cost - float(logprobs[token])
                if more <= limit:
                    longer = (*tokens, token)
                    nodes[longer] = below, logits, state
                    heapq.heappush(queue, (more, longer, False))
        return None

    def ended(self, token: int, moment: Moment) -> bool:
        """Whether the last line has its rhyme, and no mark follows."""
        if not self._is_placed or len(self._lines) < len(self._scheme):
            return False
        return self._lines[-1][-1:] in _MARKS or not self._marks[token]

    def may_end(self) -> bool:
        """Whether no line waits for its rhyme."""
        number = len(self._lines) - 1
        if self._forced or number < 0:
            return False
        return self._is_placed or number >= len(self._scheme) or self._partner(number) is None

    def accept(self, token: int) -> None:
        """Follows the lines."""
        if self._forced:
            self._forced = self._forced[1:] if token == self._forced[0] else []
        text = self._decoder.feed(self._tokenizer.token_bytes(token))
        for character in text:
            if character == "\n":
                self._is_placed = False
                if not self._lines or self._lines[-1]:
                    self._lines.append("")
            elif self._lines:
                self._lines[-1] += character


def last_word(line: str) -> str:
    """The last word of a line, in lower case; empty if there is none."""
    match = _LAST_WORD.search(line)
    return match[1].lower() if match else ""
