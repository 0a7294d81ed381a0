"""How well a model predicts a text, by the shortest way; and models that learn while they read.

torch is imported where a text takes long, or is learned from, and not before.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from chargen.api import Model
from chargen.errors import CorpusError
from chargen.inference.engine import check_finite
from chargen.model.checkpoint import Weights
from chargen.model.score import Score, make_score
from chargen.text.tokenizer import Tokens, token_lengths

_LONG = 2e11
"""Products of a text with a model's weights that take longer without torch."""
_READ_AT_ONCE = 1 << 16


class Learner(Protocol):
    """A model that changes as it reads one text, in as many pieces as there come."""

    def read(self, ids: Tokens) -> float:
        """Read on, and learn: the nats that these tokens (N,) cost before they were learned."""

    def weights(self) -> Weights:
        """The weights as they are now."""


def adapter(model: Model) -> Learner:
    """What lets a model learn while it reads (`chargen eval --dynamic`, `/learn`); loads torch."""
    from chargen.training.evaluate import OnlineLearner

    return OnlineLearner(model.config, model.file.weights)


def score(model: Model, ids: Tokens) -> Score:
    """`Model.score_tokens`, and through torch where that takes long.

    There products are in bfloat16 where the machine has it; that moved the nats per token by less
    than a millionth (benchmarks/LOG.md).

    Args:
        model: which reads.
        ids: the text (N,).

    Raises:
        CorpusError: it has fewer than two tokens.
        ChargenError: the model's numbers overflow.
    """
    if len(ids) < 2 or len(ids) * model.config.num_parameters < _LONG:
        return model.score_tokens(ids)
    from chargen.training.evaluate import score_long_text

    found = score_long_text(model.config, model.file.weights, ids, token_lengths(model.tokenizer))
    check_finite(np.array(found.nats_per_token))
    return found


def score_online(model: Model, ids: Tokens) -> Score:
    """How well a model predicts a text when it learns from what it has read so far.

    Args:
        model: which stays as it is.
        ids: the text (N,).

    Raises:
        CorpusError: it has fewer than two tokens.
    """
    if len(ids) < 2:
        raise CorpusError(f"a text of {len(ids)} tokens cannot be scored: give at least two")
    reader, nats = adapter(model), 0.0
    for start in range(0, len(ids), _READ_AT_ONCE):
        nats += reader.read(ids[start : start + _READ_AT_ONCE])
    predicted = np.bincount(ids[1:], minlength=model.config.vocab_size)
    return make_score(nats, predicted, token_lengths(model.tokenizer))
