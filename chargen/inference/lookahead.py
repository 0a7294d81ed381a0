"""The most likely next words of a model that writes characters or pieces of words.

This is a best-first search. The probability of a word is the product of the probabilities of its
tokens and of the probability that the word ends there. The most probable prefix is extended first
(Dijkstra, 1959), so words come out in the order of their probability.
"""

from __future__ import annotations

import heapq
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from chargen.inference.composer import Composer
from chargen.inference.engine import Array, log_softmax
from chargen.text.tokenizer import StreamDecoder, Tokenizer

_MAX_STEPS = 800
_MAX_WORD_TOKENS = 40
_MAX_BRANCHES = 24
"""Tokens that are tried after each prefix."""
_MIN_PROBABILITY = 1e-5
"""Prefixes below this are not followed."""


@dataclass(order=True)
class _Prefix:
    """The beginning of a word, or, with `ended`, a whole word."""

    cost: float
    """Minus the logarithm of its probability."""
    tokens: tuple[int, ...]
    text: str = field(compare=False)
    before: Array = field(compare=False)
    """The state before its last token."""
    ended: bool = field(default=False, compare=False)


def likeliest_words(composer: Composer, node: int, count: int) -> Iterator[tuple[str, float]]:
    """The most likely continuations of the text up to the end of a word.

    Yields (text, probability), the most likely first. The text begins with what comes before the
    word, mostly a space. In the middle of a word, it is the rest of that word.

    Args:
        composer: the model and its tree, which gains no text.
        node: where to look ahead from.
        count: how many words at most.
    """
    node = composer.start(node, empty=True)
    tokenizer, stepper, state = composer.tokenizer, composer.stepper, composer.tree.state(node)
    queue: list[_Prefix] = []
    _extend(queue, _Prefix(0.0, (), "", state), state, composer.logits(node), tokenizer)
    words = steps = 0
    while queue and words < count and steps < _MAX_STEPS:
        prefix = heapq.heappop(queue)
        if prefix.ended:
            words += 1
            yield prefix.text, math.exp(-prefix.cost)
            continue
        steps += 1
        after = np.empty_like(prefix.before)
        logits = stepper.step(prefix.tokens[-1], prefix.before, after, composer.clamps)
        _extend(queue, prefix, after, logits, tokenizer)


def _extend(
    queue: list[_Prefix],
    prefix: _Prefix,
    state: Array,
    logits: Array,
    tokenizer: Tokenizer,
) -> None:
    """Puts the continuations of a prefix on the queue, and its word if it can end here.

    Args:
        queue: a heap of prefixes.
        prefix: the prefix to extend.
        state: the state after the prefix.
        logits: what the model expects after the prefix, (V,).
        tokenizer: the model's tokenizer.
    """
    logprobs = log_softmax(logits)
    ending = 0.0  # the probability that the next token ends the word
    for token in map(int, np.argsort(-logprobs, kind="stable")[:_MAX_BRANCHES]):
        cost = prefix.cost - float(logprobs[token])
        if not cost < -math.log(_MIN_PROBABILITY):
            break
        tokens = (*prefix.tokens, token)
        text = StreamDecoder().feed(b"".join(map(tokenizer.token_bytes, tokens)))
        if token == tokenizer.eos_id or (prefix.text and _ends_word(prefix.text, text)):
            ending += math.exp(float(logprobs[token]))
        elif len(tokens) < _MAX_WORD_TOKENS:
            heapq.heappush(queue, _Prefix(cost, tokens, text, state))
    if ending > 0 and prefix.text:
        cost = prefix.cost - math.log(ending)
        heapq.heappush(queue, _Prefix(cost, prefix.tokens, prefix.text, state, ended=True))


def _ends_word(before: str, after: str) -> bool:
    """Whether the first character that `after` adds to `before` ends the word in `before`."""
    if len(after) <= len(before):
        return False
    last, new = before[-1], after[len(before)]
    return _in_word(last) and (not _in_word(new) or _is_whole_word(new) or _is_whole_word(last))


def _in_word(character: str) -> bool:
    mark = unicodedata.category(character)[0] == "M"
    return mark or character.isalnum() or character in "_'’"


def _is_whole_word(character: str) -> bool:
    """Whether the script puts no spaces between words: then each character counts as a word."""
    wide = unicodedata.east_asian_width(character) == "W"
    return wide and unicodedata.category(character) == "Lo"
