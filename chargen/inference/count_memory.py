"""A memory of counts: which tokens followed each context of the training text, and how often.

A network learns slowly what counts know at once: rare words, names, spelling. The contexts of 0 to
K tokens are counted. Longer contexts are seldom seen, so shorter ones fill in: interpolated
Kneser-Ney smoothing with three discounts (Chen and Goodman, 1998, section 4.1.6),
p_k(v | h) = (c(h v) - D(c)) / n(h) + (sum of D) / n(h) * p_{k-1}(v | h'), where h' lacks the first
token of h. The counts of the longest context are plain; those of a shorter one say before how many
different tokens the context with v stood. Contexts are found by a hash of 32 bits: in a text of a
megabyte, one in five thousand is taken for another.

Shape letters: N tokens of the text, V vocabulary, K the longest context, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chargen.text.tokenizer import Tokens

MAX_ORDER = 12
"""Tokens of the longest context of characters; words and subwords have shorter ones."""
MAX_TOKENS = 8_000_000
"""Of a longer text, so many tokens are counted, in stretches from all over it."""
BYTES_PER_TOKEN = 8.0
MAX_BYTES = 64 << 20
_STRETCHES = 64
_PRUNE_ORDERS = (6, 5, 4, 3)
"""Contexts of so many tokens or more are left out if they were seen once."""
FACTORS = (
    *(0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93),
    *(0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3),
    *(0x1D8E4E27C47D124F, 0xEB44ACCAB455D165, 0x9C6E6877736C46E3, 0xF1357AEA2E62A9C5),
    0x9FB21C651E98DF25,
)
"""Odd numbers: a context is the sum of its tokens times these, modulo 2**64."""
MIX = 0xD1342543DE82EF95
_MAX_COUNT = 255
"""Larger counts are kept as this one in orders of few large counts."""
_MAX_DENSE_NUMBERS = 1 << 22
"""Numbers of the distributions that are worked on at once."""

Hashes = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True, kw_only=True)
class OrderCounts:
    """The contexts of one length."""

    contexts: Hashes
    """(C,): their hashes, sorted."""
    kinds: Counts
    """(C,): how many different tokens followed each."""
    tokens: Counts
    """(P,): the tokens that followed, context by context."""
    counts: Counts
    """(P,): how often."""
    discounts: Floats
    """(4,): what is taken away of a count of 0, 1, 2 and more."""

    starts: npt.NDArray[np.int64] = field(init=False)
    """(C + 1,): where the tokens of each context begin."""

    def __post_init__(self) -> None:
        """Finds where the tokens of each context begin."""
        starts = np.concatenate([[0], np.cumsum(self.kinds, dtype=np.int64)])
        object.__setattr__(self, "starts", starts)

    def find(self, hashes: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where the tokens after each context (Q,) lie in `tokens`, and how many there are."""
        if not len(self.contexts):
            return np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.int64)
        places = np.searchsorted(self.contexts, hashes)
        places = np.minimum(places, len(self.contexts) - 1)
        known = self.contexts[places] == hashes
        return self.starts[places], np.where(known, self.kinds[places], 0).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class CountMemory:
    """The counts of a text."""

    vocab_size: int
    orders: tuple[OrderCounts, ...]
    """The contexts of 0, 1, ..., K tokens."""

    @property
    def longest(self) -> int:
        """K."""
        return len(self.orders) - 1

    @property
    def bytes(self) -> int:
        """What it takes on disk, without headers."""
        return sum(
            order.contexts.nbytes + order.kinds.nbytes + order.tokens.nbytes + order.counts.nbytes
            for order in self.orders
        )


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What counts say at some positions."""

    likelihoods: Floats
    """(Q, V)"""
    seen: Floats
    """(Q, K + 1): how often the context of each length was seen, as its counts say."""
    kinds: Floats
    """(Q, K + 1): how many different tokens followed it."""


def context_hashes(tokens: Tokens, longest: int) -> list[Hashes]:
    """The hashes of the contexts of 0, ..., K tokens before each position, and after the last.

    Args:
        tokens: (N,).
        longest: K.

    Returns:
        K + 1 arrays (N + 1,). A context that would begin before the text is of what there is.
    """
    values = np.asarray(tokens).astype(np.uint64) + np.uint64(1)
    total = np.zeros(len(values) + 1, np.uint64)
    hashes = [_shortened(total)]
    with np.errstate(over="ignore"):
        for order in range(1, longest + 1):
            if order <= len(values):
                total[order:] += values[: len(values) + 1 - order] * np.uint64(FACTORS[order])
            hashes.append(_shortened(total))
    return hashes


def _shortened(total: npt.NDArray[np.uint64]) -> Hashes:
    with np.errstate(over="ignore"):
        mixed = (total ^ (total >> np.uint64(29))) * np.uint64(MIX)
    return (mixed >> np.uint64(32)).astype(np.uint32)


def count(
    tokens: Tokens,
    vocab_size: int,
    *,
    longest: int = MAX_ORDER,
    bytes_per_token: float = BYTES_PER_TOKEN,
) -> CountMemory:
    """Counts a text, with contexts as long and as rare as there is room for.

    Args:
        tokens: (N,) the text.
        vocab_size: V, at most 65,535.
        longest: K.
        bytes_per_token: the size of the memory, which is at most `MAX_BYTES` in all.
    """
    parts = _stretches(tokens)
    room = min(MAX_BYTES, bytes_per_token * sum(map(len, parts)))
    full = _count_orders(parts, longest)
    for first_pruned in _PRUNE_ORDERS:
        memory = CountMemory(
            vocab_size=vocab_size,
            orders=tuple(
                _pack(order, vocab_size, prune=number >= first_pruned)
                for number, order in enumerate(full)
            ),
        )
        if memory.bytes <= room:
            return memory
    while memory.bytes > room and memory.longest > 2:
        orders = [*memory.orders[:-2], memory.orders[-2]]
        memory = CountMemory(vocab_size=vocab_size, orders=tuple(orders))
    return memory


def _stretches(tokens: Tokens) -> list[Tokens]:
    if len(tokens) <= MAX_TOKENS:
        return [np.asarray(tokens)]
    size = MAX_TOKENS // _STRETCHES
    starts = [(len(tokens) - size) * number // (_STRETCHES - 1) for number in range(_STRETCHES)]
    return [np.asarray(tokens[start : start + size]) for start in starts]


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """The different pairs of a context and the token after it, sorted."""

    contexts: Hashes
    tokens: npt.NDArray[np.uint16]
    plain: npt.NDArray[np.int64]
    """How often each pair occurs."""
    counts: npt.NDArray[np.int64]
    """What the smoothing counts: the same in the longest contexts, else the different tokens before
    the pair."""


def _count_orders(parts: Sequence[Tokens], longest: int) -> list[_Pairs]:
    hashed = [context_hashes(part, longest) for part in parts]
    orders = []
    for order in range(longest + 1):
        # A pair and the token before it are one number: sorting it finds all counts at once.
        keys = np.concatenate(
            [_keys(part, hashes[order], order) for part, hashes in zip(parts, hashed, strict=True)]
        )
        keys.sort()
        is_new = np.ones(len(keys), bool)
        is_new[1:] = keys[1:] != keys[:-1]
        pairs = keys >> np.uint64(16)
        is_pair = np.ones(len(keys), bool)
        is_pair[1:] = pairs[1:] != pairs[:-1]
        starts = np.flatnonzero(is_pair)
        plain = np.diff(np.append(starts, len(keys)))
        before = np.add.reduceat(is_new, starts, dtype=np.int64) if len(starts) else plain
        chosen = pairs[starts]
        orders.append(
            _Pairs(
                contexts=(chosen >> np.uint64(16)).astype(np.uint32),
                tokens=(chosen & np.uint64(0xFFFF)).astype(np.uint16),
                plain=plain,
                counts=plain if order == longest else before,
            )
        )
    return orders


def _keys(part: Tokens, hashes: Hashes, order: int) -> npt.NDArray[np.uint64]:
    """For each position from `order` on: context (32 bits), token (16), the token before (16)."""
    values = part.astype(np.uint64)
    context = hashes[order : len(part)].astype(np.uint64)
    pair = context << np.uint64(32) | values[order:] << np.uint64(16)
    return np.asarray(pair | _before(values, order), np.uint64)


def _before(values: npt.NDArray[np.uint64], order: int) -> npt.NDArray[np.uint64]:
    """The token before the context of each position from `order` on; 0 where there is none."""
    count = max(0, len(values) - order)
    before = np.zeros(count, np.uint64)
    before[1:] = values[: max(0, count - 1)] + np.uint64(1)
    return before


def _pack(pairs: _Pairs, vocab_size: int, *, prune: bool) -> OrderCounts:
    discounts = _discounts(pairs.counts)
    is_context = np.ones(len(pairs.contexts), bool)
    is_context[1:] = pairs.contexts[1:] != pairs.contexts[:-1]
    starts = np.flatnonzero(is_context)
    kinds = np.diff(np.append(starts, len(pairs.contexts)))
    contexts, tokens, counts = pairs.contexts[starts], pairs.tokens, pairs.counts
    if prune and len(starts):
        kept = np.add.reduceat(pairs.plain, starts) > 1
        kept_pairs = np.repeat(kept, kinds)
        contexts, kinds = contexts[kept], kinds[kept]
        tokens, counts = tokens[kept_pairs], counts[kept_pairs]
    small = np.uint8 if vocab_size <= 256 else np.uint16
    if prune:
        counts = np.minimum(counts, _MAX_COUNT)
    largest = int(counts.max(initial=0))
    kind = np.uint8 if largest <= _MAX_COUNT else np.uint16 if largest < 1 << 16 else np.uint32
    return OrderCounts(
        contexts=contexts,
        kinds=kinds.astype(np.uint8 if kinds.max(initial=0) <= _MAX_COUNT else np.uint16),
        tokens=tokens.astype(small),
        counts=counts.astype(kind),
        discounts=discounts,
    )


def _discounts(counts: npt.NDArray[np.int64]) -> Floats:
    """The discounts of counts of 0, 1, 2 and more, by how many pairs have counts of 1 to 4."""
    ones, twos, threes, fours = (int(np.count_nonzero(counts == n)) for n in (1, 2, 3, 4))
    if not (ones and twos and threes):
        return np.array([0, 0.5, 0.9, 1.2], np.float32)
    share = ones / (ones + 2 * twos)
    found = [1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos]
    found.append(3 - 4 * share * fours / threes)
    clipped = np.clip(found, 0.1, [0.95, 1.8, 2.7])
    return np.array([0, *clipped], np.float32)


def predict(
    memory: CountMemory,
    hashes: Sequence[Hashes],
    grown: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] | None = None,
) -> Prediction:
    """The distributions at some positions.

    Args:
        memory: the counts.
        hashes: K + 1 arrays (Q,), the contexts before each position, as of `context_hashes`.
        grown: for each order, rows and tokens of occurrences that were read since; each counts one.
    """
    rows = len(hashes[0])
    likelihoods = np.full((rows, memory.vocab_size), 1 / memory.vocab_size, np.float32)
    seen = np.zeros((rows, memory.longest + 1), np.float32)
    kinds = np.zeros((rows, memory.longest + 1), np.float32)
    for number, order in enumerate(memory.orders):
        starts, lengths = order.find(hashes[number])
        row = np.repeat(np.arange(rows), lengths)
        within = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        place = np.repeat(starts, lengths) + within
        token, times = order.tokens[place].astype(np.int64), order.counts[place].astype(np.float32)
        if grown is not None and len(grown[number][0]):
            row, token, times = _merged(row, token, times, *grown[number], memory.vocab_size)
        discount = order.discounts[np.minimum(times, 3).astype(np.intp)]
        total = np.bincount(row, times, rows).astype(np.float32)
        taken = np.bincount(row, discount, rows).astype(np.float32)
        seen[:, number] = total
        kinds[:, number] = np.bincount(row, minlength=rows)
        share = np.divide(taken, total, out=np.ones(rows, np.float32), where=total > 0)
        likelihoods *= share[:, None]
        likelihoods[row, token] += (times - discount) / total[row]
    return Prediction(likelihoods=likelihoods, seen=seen, kinds=kinds)


def _merged(
    row: npt.NDArray[np.int64],
    token: npt.NDArray[np.int64],
    times: Floats,
    new_row: npt.NDArray[np.int64],
    new_token: npt.NDArray[np.int64],
    vocab_size: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Adds occurrences to counts; each pair of row and token comes once."""
    keys = np.concatenate([row * vocab_size + token, new_row * vocab_size + new_token])
    weights = np.concatenate([times, np.ones(len(new_row), np.float32)])
    pairs, inverse = np.unique(keys, return_inverse=True)
    sums = np.bincount(inverse, weights).astype(np.float32)
    return pairs // vocab_size, pairs % vocab_size, sums


def rows_at_once(vocab_size: int) -> int:
    """How many positions are predicted at once, so that memory stays small."""
    return max(16, _MAX_DENSE_NUMBERS // vocab_size)
