"""Documents in an order of their own: which of them validate, and how each pass orders the rest.

Both are pure functions of numbers, the same on every machine and with every version of numpy: the
documents are sorted by a hash of their number. Shape letters: N tokens, D documents.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chargen.text.tokenizer import Tokens

MIN_DOCUMENTS = 20
"""With fewer documents, the end of the corpus validates: one of them may be half of the text."""
_SEARCH_TOKENS = 1 << 22
"""Tokens that are searched at once for ends of documents."""
_VALID_KEY = 0x5EED
_MASK = (1 << 64) - 1
Positions = npt.NDArray[np.int64]


def document_ends(tokens: Tokens, eos_id: int) -> Positions:
    """The position after each end token (D,); the last document may have none."""
    found = [np.empty(0, np.int64)]
    for start in range(0, len(tokens), _SEARCH_TOKENS):
        block = np.asarray(tokens[start : start + _SEARCH_TOKENS])
        found.append(np.flatnonzero(block == eos_id) + start + 1)
    ends = np.concatenate(found)
    if len(tokens) and (not len(ends) or ends[-1] != len(tokens)):
        ends = np.append(ends, len(tokens))
    return ends


def spread_split(
    tokens: Tokens, eos_id: int, valid_fraction: float
) -> tuple[Tokens, Tokens] | None:
    """Divides a text into documents to train on and documents to validate on, spread over it.

    Args:
        tokens: the text (N,).
        eos_id: the end-of-document token.
        valid_fraction: the share of tokens to validate on, above 0.

    Returns:
        Copies of both parts, in the order of the text; None if there are too few documents.
    """
    ends = document_ends(tokens, eos_id)
    if len(ends) < MIN_DOCUMENTS:
        return None
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    order = hashed_order(len(ends), _VALID_KEY)
    chosen = np.zeros(len(ends), bool)
    room = int(valid_fraction * len(tokens))
    fits = np.cumsum(lengths[order]) <= room
    chosen[order[fits]] = True
    if not chosen.any():
        chosen[order[0]] = True
    is_valid = np.repeat(chosen, lengths)
    return tokens[~is_valid], tokens[is_valid]


def hashed_order(count: int, key: int) -> Positions:
    """A permutation (D,) of the numbers below `count`, another one for each key.

    The numbers are sorted by the finaliser of SplitMix64 (Steele et al., 2014).
    """
    with np.errstate(over="ignore"):
        start = np.uint64(_mixed(key & _MASK))
        values = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        values ^= values >> np.uint64(31)
    return np.argsort(values, kind="stable")


def _mixed(value: int) -> int:
    """SplitMix64 of one number: neighbouring keys must not give shifted sequences."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class ShuffledText:
    """A text whose documents stand in another order in every pass.

    Args:
        tokens: the text (N,).
        eos_id: the end-of-document token.
        seed: of the run.
    """

    def __init__(self, tokens: Tokens, eos_id: int, seed: int) -> None:
        ends = document_ends(tokens, eos_id)
        self._tokens, self._seed = tokens, seed
        self._starts = np.concatenate([[0], ends[:-1]])
        self._lengths = ends - self._starts
        self._orders: dict[int, tuple[Positions, Positions]] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def read(self, number: int, positions: Positions) -> Tokens:
        """The tokens at these positions of a pass; after its last token comes its first again.

        Args:
            number: of the pass, from 0.
            positions: of any shape.
        """
        order, begins = self._order(number)
        positions = positions % len(self._tokens)
        index = np.searchsorted(begins, positions, side="right") - 1
        tokens: Tokens = self._tokens[self._starts[order[index]] + positions - begins[index]]
        return tokens

    def _order(self, number: int) -> tuple[Positions, Positions]:
        """The documents of a pass in order, and the position where each begins."""
        if number not in self._orders:
            self._orders.clear()  # passes follow each other: one is needed at a time
            order = hashed_order(len(self._lengths), (self._seed << 20) + number)
            begins = np.concatenate([[0], np.cumsum(self._lengths[order])[:-1]])
            self._orders[number] = order, begins
        return self._orders[number]
