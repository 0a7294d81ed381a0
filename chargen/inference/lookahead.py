"""The likeliest next words of a model that writes characters: a look ahead, by best-first search.

A word's probability is the product of its tokens' and of the chance that it ends there. Prefixes
are followed in the order of their probability (Dijkstra, 1959), so words come out in the order of
theirs.
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

_STEPS = 800
_LONGEST = 40
_BRANCHES = 24
_LEAST = 1e-5


@dataclass(order=True)
class _Prefix:
    """The beginning of a word, or, with `ended`, a whole one."""

    cost: float
    """Minus the logarithm of its probability."""
    tokens: tuple[int, ...]
    text: str = field(compare=False)
    before: Array = field(compare=False)
    """The state before its last token."""
    ended: bool = field(default=False, compare=False)


def likeliest_words(composer: Composer, node: int, most: int) -> Iterator[tuple[str, float]]:
    """The likeliest ways in which the text goes on to the end of a word.

    Yields (text, probability), the likeliest first; the text begins with what comes before the
    word (a space, as a rule). In the middle of a word, it is the rest of that word.

    Args:
        composer: the model and its tree, which gains no text.
        node: where to look ahead from.
        most: how many words.
    """
    node = composer.start(node, empty=True)
    tokenizer, stepper, state = composer.tokenizer, composer.stepper, composer.tree.state(node)
    queue: list[_Prefix] = []
    _extend(queue, _Prefix(0.0, (), "", state), state, composer.logits(node), tokenizer)
    found = steps = 0
    while queue and found < most and steps < _STEPS:
        prefix = heapq.heappop(queue)
        if prefix.ended:
            found += 1
            yield prefix.text, math.exp(-prefix.cost)
            continue
        steps += 1
        after = np.empty_like(prefix.before)
        logits = stepper.step(prefix.tokens[-1], prefix.before, after, composer.holds)
        _extend(queue, prefix, after, logits, tokenizer)


def _extend(
    queue: list[_Prefix],
    prefix: _Prefix,
    state: Array,
    logits: Array,
    tokenizer: Tokenizer,
) -> None:
    """Put on the queue what a prefix can become, and the word it is if it ends here."""
    logprobs = log_softmax(logits)
    ends = 0.0
    for token in map(int, np.argsort(-logprobs, kind="stable")[:_BRANCHES]):
        cost = prefix.cost - float(logprobs[token])
        if not cost < -math.log(_LEAST):
            break
        tokens = (*prefix.tokens, token)
        text = StreamDecoder().feed(b"".join(map(tokenizer.token_bytes, tokens)))
        if token == tokenizer.eos_id or (prefix.text and _ends_word(prefix.text, text)):
            ends += math.exp(float(logprobs[token]))
        elif len(tokens) < _LONGEST:
            heapq.heappush(queue, _Prefix(cost, tokens, text, state))
    if ends > 0 and prefix.text:
        cost = prefix.cost - math.log(ends)
        heapq.heappush(queue, _Prefix(cost, prefix.tokens, prefix.text, state, ended=True))


def _ends_word(before: str, after: str) -> bool:
    """Whether the character that came last ends the word that `before` holds."""
    if len(after) <= len(before):
        return False
    last, new = before[-1], after[len(before)]
    return _in_word(last) and (not _in_word(new) or _is_a_word(new) or _is_a_word(last))


def _in_word(character: str) -> bool:
    mark = unicodedata.category(character)[0] == "M"
    return mark or character.isalnum() or character in "_'’"


def _is_a_word(character: str) -> bool:
    """Whether its script divides no words: then every character is one."""
    wide = unicodedata.east_asian_width(character) == "W"
    return wide and unicodedata.category(character) == "Lo"
