"""Stretches of the training part that stand in the validation part too.

A file that lies twice in a corpus, or a validation text that is also a part of the corpus, makes a
score look far better than it is on text that the model has not seen. Such stretches are found by
hashes of blocks in linear time and left out of training. Shape letters: N tokens, K block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from chargen.text.tokenizer import Tokens

BLOCK = 64
"""Tokens of a block: longer than what two texts share by chance, or by a common phrase."""
_MIN_SHARE = 0.1
"""Of the validation part, what must be copied before anything is left out."""
_MAX_REPEATS = 3
"""A block that the validation part holds more often (a drum pattern, a rule) tells no copy."""
_MIN_LEFT_SHARE = 0.2
"""Of the training part, what must remain."""
_CHUNK_TOKENS = 1 << 20
_FILTER_BITS = 22
_FILTER_SHIFT = np.uint64(64 - _FILTER_BITS)
MAX_SEARCHED_TOKENS = 1 << 28
"""Longer texts are not searched: a copy of their parts would need gigabytes."""
_FACTOR = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_FACTOR, -1, 1 << 64)
Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Copies:
    """What two texts share."""

    is_copy: npt.NDArray[np.bool_]
    """(N,): whether a token of the training part belongs to a stretch of the validation part."""
    share: float
    """The share of the validation part that stands in the training part."""

    @property
    def count(self) -> int:
        """Tokens of the training part that are copies."""
        return int(self.is_copy.sum())


def find_copies(train: Tokens, valid: Tokens) -> Copies:
    """Finds stretches of at least two blocks that stand in both texts.

    A block of the validation part is looked for at every position of the training part. What a
    found stretch has before its first and after its last whole block is counted to it. A text that
    repeats itself has the same blocks everywhere: there, nothing is a copy.
    """
    is_copy = np.zeros(len(train), bool)
    blocks = _block_hashes(valid)
    known = _telling(np.unique(blocks), valid)
    if not len(known):
        return Copies(is_copy=is_copy, share=0.0)
    seen = np.zeros(len(known), bool)
    for start, hits, places in _hits(known, train):
        seen[places] = True
        # 1 where a stretch begins, -1 after its end: the sum tells how many stretches hold a token.
        changes = np.zeros(_CHUNK_TOKENS + 3 * BLOCK, np.int32)
        changes[hits] += 1  # the first token of the stretch is BLOCK - 1 before the hit
        changes[hits + 3 * BLOCK - 2] -= 1
        first = start - BLOCK + 1
        found = np.flatnonzero(np.cumsum(changes)) + first
        is_copy[found[(found >= 0) & (found < len(train))]] = True
    places = np.minimum(np.searchsorted(known, blocks), len(known) - 1)
    share = float(((known[places] == blocks) & seen[places]).mean())
    return Copies(is_copy=is_copy, share=share)


def _telling(known: Hashes, valid: Tokens) -> Hashes:
    """The blocks that do not come again and again in the validation part itself.

    How often a block stands in the training part does not matter: a file may lie there ten times.
    """
    counts = np.zeros(len(known), np.int64)
    for _, _, places in _hits(known, valid):
        counts += np.bincount(places, minlength=len(known))
    return known[counts <= _MAX_REPEATS]


def _hits(known: Hashes, tokens: Tokens) -> Iterator[tuple[int, Positions, Positions]]:
    """Where known blocks (sorted) stand in a text, a chunk at a time.

    Yields:
        The position of the chunk; the place in it of each hit; the number of the block it is.
    """
    may_be_known = np.zeros(1 << _FILTER_BITS, bool)  # most windows are none: a quick look tells
    may_be_known[known >> _FILTER_SHIFT] = True
    for start in range(0, len(tokens) - BLOCK + 1 if len(known) else 0, _CHUNK_TOKENS):
        hashes = _window_hashes(np.asarray(tokens[start : start + _CHUNK_TOKENS + BLOCK - 1]))
        candidates = np.flatnonzero(may_be_known[hashes >> _FILTER_SHIFT])
        found = hashes[candidates]
        places = np.minimum(np.searchsorted(known, found), len(known) - 1)
        is_hit = known[places] == found
        yield start, candidates[is_hit], places[is_hit]


def without_copies(train: Tokens, valid: Tokens) -> tuple[Tokens, str | None]:
    """The training part without what stands in the validation part, and a line that says so.

    Args:
        train: (N,) the training part.
        valid: the validation part.

    Returns:
        The tokens, the same array if nothing is left out; and the line, None if there is nothing
        to tell.
    """
    if len(valid) < BLOCK:
        return train, None
    if len(train) > MAX_SEARCHED_TOKENS:
        told = "the text is too long to look for copies of its validation part"
        return train, f"{told}: if it holds any, the score is too good"
    copies = find_copies(train, valid)
    if copies.share < _MIN_SHARE:
        return train, None
    told = (
        f"{copies.share:.0%} of the validation part stands also in the training part "
        f"({copies.count:,} tokens)"
    )
    if len(train) - copies.count < _MIN_LEFT_SHARE * len(train):
        return train, f"{told}: its score is that of a text that was learned"
    return train[~copies.is_copy], f"{told}: left out of training, so that its score is honest"


def _block_hashes(tokens: Tokens) -> Hashes:
    """The hash of each whole block: (N // K,), as `_window_hashes` gives it at its beginning."""
    found = [np.empty(0, np.uint64)]
    whole = len(tokens) // BLOCK * BLOCK
    for start in range(0, whole, _CHUNK_TOKENS):
        rows = np.asarray(tokens[start : min(whole, start + _CHUNK_TOKENS)]).reshape(-1, BLOCK)
        with np.errstate(over="ignore"):
            found.append(((rows.astype(np.uint64) + 1) * _powers(_FACTOR, BLOCK)).sum(1))
    return np.concatenate(found)


def _window_hashes(tokens: Tokens) -> Hashes:
    """The hash of each window of K tokens: (N - K + 1,).

    Sums of powers of an odd factor modulo 2**64; the difference of two sums, shifted back to the
    power 0, is that of the window between them.
    """
    count = len(tokens)
    if count < BLOCK:
        return np.empty(0, np.uint64)
    powers = _powers(_FACTOR, count)
    with np.errstate(over="ignore"):
        sums = np.concatenate([[np.uint64(0)], np.cumsum((tokens.astype(np.uint64) + 1) * powers)])
        hashes: Hashes = (sums[BLOCK:] - sums[:-BLOCK]) * _powers(_INVERSE, count - BLOCK + 1)
    return hashes


@lru_cache(maxsize=4)
def _powers(factor: int, count: int) -> Hashes:
    """1, f, f**2, ... modulo 2**64: (count,)."""
    with np.errstate(over="ignore"):
        values = np.full(count, factor & ((1 << 64) - 1), np.uint64)
        values[:1] = 1
        powers = np.cumprod(values)
    powers.flags.writeable = False
    return powers
