"""Counts that grow with what is read or written: the memory of a session, never of a file.

Here a whole text is known beforehand: what stood before each of its positions is found by sorting.
count_steps.py takes one token at a time. Of each context, the last `RECENT` occurrences count: a
text goes on as it went on lately.

Shape letters: N tokens of the text, K the longest context, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from chargen.inference.count_memory import context_hashes
from chargen.text.tokenizer import Tokens

RECENT = 64
"""Occurrences of a context that count."""
MIN_ORDER = 1
"""The shortest context that grows: the training text tells more of how often letters come."""

Rows = npt.NDArray[np.int64]
Occurrences = Sequence[tuple[Rows, Rows]]
"""For each order, rows and tokens: what followed the context of each row; see
`count_memory.predict`."""
_NONE = np.empty(0, np.int64)


class TextGrowth:
    """What was read before each position of a text.

    Args:
        tokens: (N,) the text.
        longest: K.
    """

    def __init__(self, tokens: Tokens, longest: int) -> None:
        self._tokens = np.asarray(tokens)
        self.hashes = context_hashes(self._tokens, longest)
        """K + 1 arrays (N + 1,)."""
        self._orders: list[tuple[npt.NDArray[np.int32], Rows, Rows]] = []
        for order in range(MIN_ORDER, longest + 1):
            hashes = self.hashes[order][:-1].copy()
            # A context that begins before the text is of its own kind: it is not looked up.
            places = np.argsort(hashes[order:], kind="stable").astype(np.int32) + np.int32(order)
            in_order = hashes[places]
            is_first = np.ones(len(places), bool)
            is_first[1:] = in_order[1:] != in_order[:-1]
            first = np.maximum.accumulate(np.where(is_first, np.arange(len(places)), 0))
            ranks = np.full(len(self._tokens) + 1, -1, np.int64)
            ranks[places] = np.arange(len(places))
            self._orders.append((places, ranks, np.arange(len(places)) - first))

    def before(self, positions: Rows) -> Occurrences:
        """What followed the contexts of these positions (Q,), each below N, earlier in the text."""
        found: list[tuple[Rows, Rows]] = [(_NONE, _NONE)] * MIN_ORDER
        for places, ranks, earlier in self._orders:
            if not len(places):
                found.append((_NONE, _NONE))
                continue
            rank = ranks[positions]
            known = rank >= 0
            counts = np.where(known, np.minimum(earlier[rank], RECENT), 0)
            rows = np.repeat(np.arange(len(positions)), counts)
            within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            chosen = places[np.repeat(rank - counts, counts) + within]
            found.append((rows, self._tokens[chosen].astype(np.int64)))
        return found
