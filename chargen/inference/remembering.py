"""Predicting with network and counts together: whole texts, and token by token while writing.

Shape letters: T tokens, V vocabulary, N rows that are written side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.inference.count_memory import predict, rows_at_once
from chargen.inference.count_steps import CountSteps
from chargen.inference.engine import Array, TokenIds, log_softmax
from chargen.inference.growing_counts import TextGrowth
from chargen.inference.memory_file import Memory
from chargen.text.tokenizer import Tokens

MEMORY_MODES = ("off", "text", "session")
"""What writing remembers: nothing, the training text, or that and what was read and written."""
DEFAULT_MEMORY = "text"


@dataclass(frozen=True, kw_only=True)
class TokenScores:
    """What each token of a text after the first costs, in nats: (T - 1,) each."""

    together: npt.NDArray[np.float64]
    network: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]


def remembered_scores(
    parts: Iterator[tuple[npt.NDArray[np.intp], Array]],
    memory: Memory,
    ids: TokenIds | Tokens,
    *,
    grows: bool = False,
) -> TokenScores:
    """Scores a text (T,) by the network, by the counts, and by both.

    Args:
        parts: positions (n,) and the network's log-likelihoods (n, V) of what follows them, as of
            `token_scores.predictions`.
        memory: the counts.
        ids: the text.
        grows: whether the counts grow with what was read before each token.
    """
    ids = np.asarray(ids)
    scores = [np.zeros(max(0, len(ids) - 1)) for _ in range(3)]
    growth = TextGrowth(ids, memory.counts.longest)
    size = rows_at_once(memory.counts.vocab_size)
    gate = memory.gate(grows=grows)
    for positions, network in _blocks(parts, size):
        after = positions + 1
        hashes = [order[after] for order in growth.hashes]
        counted = predict(memory.counts, hashes, growth.before(after) if grows else None)
        rows, targets = np.arange(len(after)), ids[after].astype(np.int64)
        scores[0][positions] = -gate.mix(network, counted)[rows, targets]
        scores[1][positions] = -network[rows, targets]
        scores[2][positions] = -np.log(np.maximum(counted.likelihoods[rows, targets], 1e-30))
    return TokenScores(together=scores[0], network=scores[1], counts=scores[2])


def _blocks(
    parts: Iterator[tuple[npt.NDArray[np.intp], Array]], size: int
) -> Iterator[tuple[npt.NDArray[np.intp], Array]]:
    """Joins predictions to blocks of about `size` positions, which are worked on at once."""
    waiting: list[tuple[npt.NDArray[np.intp], Array]] = []
    count = 0
    for positions, logprobs in parts:
        waiting.append((positions, logprobs.astype(np.float32)))
        count += len(positions)
        if count >= size:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(
    parts: Sequence[tuple[npt.NDArray[np.intp], Array]],
) -> tuple[npt.NDArray[np.intp], Array]:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


class MemoryReader:
    """Mixes the counts into the logits while texts are written.

    Args:
        memory: the counts.
        rows: how many texts are written side by side.
        grows: whether the counts grow with what is read and written.
    """

    def __init__(self, memory: Memory, rows: int = 1, *, grows: bool) -> None:
        self._gate = memory.gate(grows=grows)
        self._counts, self._grows = memory.counts, grows
        self._steps = [CountSteps(memory.counts, grows=grows) for _ in range(rows)]

    def restart(self, row: int) -> None:
        """Begins another text in the place of one; forgets what was read of that one."""
        self._steps[row] = CountSteps(self._counts, grows=self._grows)

    def read(self, tokens: Iterable[int], row: int = 0) -> None:
        """Reads on in one of the texts."""
        self._steps[row].read(tokens)

    def mix(self, logits: Array) -> Array:
        """The log-likelihoods of network and counts together: (V,) or (N, V), like the logits."""
        network = log_softmax(np.atleast_2d(logits))
        rows = [
            self._gate.mix(network[row : row + 1], steps.predict())
            for row, steps in enumerate(self._steps)
        ]
        return np.asarray(np.concatenate(rows).reshape(logits.shape), np.float32)
