"""Tells when a run has learned nothing worth having, and why."""

from __future__ import annotations

import numpy as np

from chargen.hints import option, ways
from chargen.model.score import Score
from chargen.text.tokenizer import Tokens

_FEW_STEPS = 30
_COUNTED_TOKENS = 1 << 21
"""Tokens of each part that are counted at most."""


def unigram_nats(train: Tokens, valid: Tokens, vocab_size: int) -> float:
    """Nats per token of the validation part by the counts of the training part, plus one each."""
    counts = np.bincount(np.asarray(train[:_COUNTED_TOKENS]), minlength=vocab_size) + 1.0
    logprobs = np.log(counts / counts.sum())
    return float(-logprobs[np.asarray(valid[:_COUNTED_TOKENS])].mean())


def describe_failure(
    score: Score | None, unigram: float | None, *, steps: int, minutes: float | None
) -> str | None:
    """One line about a run that learned next to nothing; None if it learned something.

    Args:
        score: of the whole validation part.
        unigram: nats per token by counting single tokens (`unigram_nats`).
        steps: that were taken.
        minutes: that were asked for; None if steps were.
    """
    longer = ways(("train longer with", option("--minutes")))
    if minutes is not None and steps < _FEW_STEPS:
        return (
            f"only {steps} step{'' if steps == 1 else 's'} in {minutes:g} minutes: too few to "
            "learn from; other programs keep this machine busy, or the model is too large for "
            f"it{longer}"
        )
    if score is None or unigram is None or score.nats_per_token < unigram:
        return None
    return (
        f"the model predicts no better than counts of single tokens ({score.nats_per_token:.2f} "
        f"against {unigram:.2f} nats): too few steps ({steps:,}), or too irregular a text{longer}"
    )
