"""Counts token by token: the numbers of `count_memory.predict`, for one position, quickly.

A text is written a token at a time, and the functions for whole texts would take ten times as long
for a single position. Shape letters: V vocabulary, K the longest context.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from chargen.inference.count_memory import FACTORS, MIX, CountMemory, Prediction
from chargen.inference.growing_counts import MIN_ORDER, RECENT

_MASK = (1 << 64) - 1


class CountSteps:
    """What follows the end of a text that grows by single tokens.

    Args:
        memory: the counts of the training text.
        grows: whether the counts grow with the text.
    """

    def __init__(self, memory: CountMemory, *, grows: bool) -> None:
        self._memory, self._grows = memory, grows
        self._last: deque[int] = deque(maxlen=max(1, memory.longest))
        self._after: list[dict[int, deque[int]]] = [{} for _ in memory.orders]
        self._contexts = self._hashed()

    def read(self, tokens: Iterable[int]) -> None:
        """Reads on."""
        for token in map(int, tokens):
            if self._grows:
                for order in range(MIN_ORDER, min(len(self._last), self._memory.longest) + 1):
                    recent = self._after[order].get(self._contexts[order])
                    if recent is None:
                        recent = self._after[order][self._contexts[order]] = deque(maxlen=RECENT)
                    recent.append(token)
            self._last.append(token)
            if self._grows:
                self._contexts = self._hashed()
        self._contexts = self._hashed()

    def _hashed(self) -> list[int]:
        """The hashes of the contexts of 0, ..., K tokens; see `count_memory.context_hashes`."""
        total, hashes = 0, [0]
        order = 0
        for order, token in enumerate(reversed(self._last), 1):
            total = (total + (token + 1) * FACTORS[order]) & _MASK
            hashes.append((((total ^ (total >> 29)) * MIX) & _MASK) >> 32)
        return hashes + hashes[-1:] * (self._memory.longest - order)

    def predict(self) -> Prediction:
        """The distribution of the next token, as of one position."""
        memory = self._memory
        likelihoods = np.full(memory.vocab_size, 1 / memory.vocab_size, np.float32)
        seen = np.zeros(memory.longest + 1, np.float32)
        kinds = np.zeros(memory.longest + 1, np.float32)
        for number, tokens, times, discount in self._counted():
            total = times.sum()
            likelihoods *= discount.sum() / total
            likelihoods[tokens] += (times - discount) / total
            seen[number], kinds[number] = total, len(tokens)
        return Prediction(likelihoods=likelihoods[None], seen=seen[None], kinds=kinds[None])

    def parts(self, token: int) -> list[float]:
        """What the contexts of 0, ..., K tokens add to the likelihood of a token; its sum.

        What is left to all tokens alike counts as the empty context's.
        """
        parts = [0.0] * (self._memory.longest + 1)
        left = 1 / self._memory.vocab_size
        for number, tokens, times, discount in self._counted():
            total = float(times.sum())
            share = float(discount.sum()) / total
            parts, left = [part * share for part in parts], left * share
            where = tokens == token
            parts[number] += float((times - discount)[where].sum()) / total
        parts[0] += left
        return parts

    def _counted(
        self,
    ) -> Iterator[
        tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]
    ]:
        """Of each context that was seen: its length, the tokens after it, counts and discounts."""
        for number, order in enumerate(self._memory.orders):
            context = self._contexts[number]
            place = int(order.contexts.searchsorted(np.uint32(context)))
            known = place < len(order.contexts) and int(order.contexts[place]) == context
            recent = self._after[number].get(context) if number <= len(self._last) else None
            if not known and not recent:
                continue
            start = order.starts[place] if known else 0
            end = order.starts[place + 1] if known else 0
            tokens: npt.NDArray[np.int64] = order.tokens[start:end].astype(np.int64)
            times = order.counts[start:end].astype(np.float32)
            if recent:
                tokens, times = _merged(tokens, times, recent)
            yield number, tokens, times, order.discounts[np.minimum(times, 3).astype(np.intp)]


def _merged(
    tokens: npt.NDArray[np.int64], times: npt.NDArray[np.float32], recent: Iterable[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    counts = dict(zip(tokens.tolist(), times.tolist(), strict=True))
    for token in recent:
        counts[token] = counts.get(token, 0.0) + 1.0
    return np.array(list(counts), np.int64), np.array(list(counts.values()), np.float32)
