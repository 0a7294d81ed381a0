"""The ways to score a text, in one table, and which way is the fastest.

Every way reads a text once, from a zero state to its end, and gives nats per token, perplexity and
bits per byte. They differ in engine and in what the model learns meanwhile:

- `numpy` in float32, without torch; a long text in batch rows, whose scores differ by rounding;
- `torch` on the GPU or in the CPU's bfloat16 where there is one, in batch rows;
- `online` lets a copy of the model learn from what it has read (dynamic evaluation).

torch is imported where a way needs it, and not before. Training scores its network by the same
functions (training/evaluate.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError, CorpusError, UsageError, unknown_name
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.inference.memory_file import Memory
from chargen.inference.remembering import remembered_scores
from chargen.inference.token_scores import predictions, total_nats
from chargen.model.score import Score, make_score
from chargen.model.stored_weights import Weights
from chargen.text.rows import Positions
from chargen.text.tokenizer import Tokenizer, Tokens, token_lengths

_MAX_NUMPY_PRODUCTS = 2e11
"""Products of a text with the weights from which torch is faster, its import included."""
_TOKENS_PER_READ = 1 << 16


class Learner(Protocol):
    """A model that learns while it reads one text, given in any number of pieces."""

    def read(self, ids: Tokens) -> float:
        """Reads on and learns: the nats that these tokens (N,) cost before they were learned."""

    def predictions(self, ids: Tokens) -> Iterator[tuple[Positions, Array]]:
        """Reads a text and learns: what follows each token, from before that was learned."""

    def weights(self) -> Weights:
        """The weights as they are now."""


def online_learner(stepper: Stepper) -> Learner:
    """A copy of a model that learns while it reads (`/learn`, `eval --dynamic`); loads torch."""
    from chargen.training.evaluate import OnlineLearner

    return OnlineLearner(stepper.config, stepper.weights)


def _numpy_nats(stepper: Stepper, ids: TokenIds | Tokens) -> float:
    return total_nats(stepper, ids)


def _torch_nats(stepper: Stepper, ids: TokenIds | Tokens) -> float:
    from chargen.training.evaluate import nats_of_long_text

    return nats_of_long_text(stepper.config, stepper.weights, ids)


def _online_nats(stepper: Stepper, ids: TokenIds | Tokens) -> float:
    learner, nats = online_learner(stepper), 0.0
    for start in range(0, len(ids), _TOKENS_PER_READ):
        nats += learner.read(ids[start : start + _TOKENS_PER_READ])
    return nats


WAYS: dict[str, Callable[[Stepper, TokenIds | Tokens], float]] = {
    "numpy": _numpy_nats,
    "torch": _torch_nats,
    "online": _online_nats,
}
"""From a model and the ids (N,) of a text to the nats that the tokens after the first cost."""


@dataclass(frozen=True, kw_only=True)
class MemoryScores:
    """A text scored by network and counts together, and by each alone."""

    together: Score
    network: Score
    counts: Score

    def to_json(self) -> dict[str, float | int]:
        """The score of both together, and the nats per token of each alone."""
        return {
            **self.together.to_json(),
            "network_nats_per_token": self.network.nats_per_token,
            "counts_nats_per_token": self.counts.nats_per_token,
        }


DYNAMIC = ("counts", "weights", "both")
"""What may learn while a text is read: the counts, the weights of the network, or both."""


def score_with_memory(
    stepper: Stepper,
    memory: Memory,
    tokenizer: Tokenizer,
    ids: TokenIds | Tokens,
    dynamic: str | None = None,
) -> MemoryScores:
    """Scores a text by network and counts.

    Args:
        stepper: the model.
        memory: its memory.
        tokenizer: the model's.
        ids: the text (N,), of at least two tokens.
        dynamic: a row of `DYNAMIC`: what learns while it is read; None: nothing.

    Raises:
        CorpusError: the text has fewer than two tokens.
    """
    _check_length(ids)
    ids = np.asarray(ids)
    parts = predictions(stepper, ids)
    if dynamic in ("weights", "both"):
        parts = online_learner(stepper).predictions(ids)
    scores = remembered_scores(parts, memory, ids, grows=dynamic in ("counts", "both"))
    counts: npt.NDArray[np.int64] = np.bincount(ids[1:], minlength=stepper.config.vocab_size)
    lengths = token_lengths(tokenizer)
    together, network, counted = (
        make_score(float(nats.sum()), counts, lengths)
        for nats in (scores.together, scores.network, scores.counts)
    )
    return MemoryScores(together=together, network=network, counts=counted)


def _check_length(ids: TokenIds | Tokens) -> None:
    if len(ids) < 2:
        size = "1 token" if len(ids) == 1 else f"{len(ids)} tokens"
        raise CorpusError(f"a text of {size} cannot be scored: give at least two")


def score(
    stepper: Stepper, tokenizer: Tokenizer, ids: TokenIds | Tokens, way: str = "auto"
) -> Score:
    """Scores a text.

    `auto` takes torch where that is faster. Its bfloat16 moved the nats per token by less than a
    millionth (benchmarks/LOG.md).

    Args:
        stepper: the model.
        tokenizer: the model's.
        ids: the text (N,), which may lie in a memory map.
        way: a row of `WAYS`, or `auto`.

    Raises:
        CorpusError: the text has fewer than two tokens.
        UsageError: there is no such way.
        ChargenError: the model's numbers overflow.
    """
    if way == "auto":
        products = len(ids) * stepper.config.num_parameters
        way = "numpy" if products < _MAX_NUMPY_PRODUCTS else "torch"
    if way not in WAYS:
        raise UsageError(unknown_name("way", str(way), ("auto", *WAYS)))
    _check_length(ids)
    nats = WAYS[way](stepper, ids)
    if not math.isfinite(nats):
        raise ChargenError("the model's numbers overflowed: its weights are too large to score")
    counts: npt.NDArray[np.int64] = np.bincount(ids[1:], minlength=stepper.config.vocab_size)
    return make_score(nats, counts, token_lengths(tokenizer))
