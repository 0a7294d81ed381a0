"""Tells when a run has learned nothing worth having, why, and what helps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.hints import option, ways
from chargen.model.score import Score
from chargen.model.stored_weights import Weights
from chargen.text.tokenizer import Tokens

_FEW_STEPS = 30
_COUNTED_TOKENS = 1 << 21
"""Tokens of each part that are counted at most."""
_FEW_BATCHES = 10
"""A text of fewer batches is short."""
_MAX_WEIGHTS_PER_TOKEN = 50
"""A model with more weights for each token of its text has a short text."""
_LONGER = 4
"""A run that learned too little is advised to be at least so many times as long."""


def unigram_nats(train: Tokens, valid: Tokens, vocab_size: int) -> float:
    """Nats per token of the validation part by the counts of the training part, plus one each."""
    counts = np.bincount(np.asarray(train[:_COUNTED_TOKENS]), minlength=vocab_size) + 1.0
    logprobs = np.log(counts / counts.sum())
    return float(-logprobs[np.asarray(valid[:_COUNTED_TOKENS])].mean())


@dataclass(frozen=True, kw_only=True)
class TextSize:
    """How long the text is, in what decides whether it is long enough."""

    characters: int
    tokens: int
    tokens_per_step: int
    weights: int
    """Numbers that the model learned."""

    @classmethod
    def of(
        cls,
        train: Tokens,
        characters: npt.NDArray[np.int64],
        tokens_per_step: int,
        weights: Weights,
    ) -> TextSize:
        """The size of a text (N,), given the characters (V,) that each token stands for."""
        counted = train[:_COUNTED_TOKENS]
        share = len(train) / max(1, len(counted))
        return cls(
            characters=int(characters[np.asarray(counted)].sum() * share),
            tokens=len(train),
            tokens_per_step=tokens_per_step,
            weights=sum(array.size for array in weights.values()),
        )

    @property
    def is_short(self) -> bool:
        """Whether it has only a few batches, or far fewer tokens than the model has weights."""
        few = self.tokens < _FEW_BATCHES * self.tokens_per_step
        return few or self.weights > _MAX_WEIGHTS_PER_TOKEN * self.tokens


def describe_failure(
    score: Score | None,
    unigram: float | None,
    *,
    steps: int,
    minutes: float | None,
    nats_before: float | None = None,
    steps_before: int = 0,
    asked: Mapping[str, float] | None = None,
    stopped_early: bool = False,
    text: TextSize | None = None,
) -> str | None:
    """One line about a run that learned next to nothing; None if it learned something.

    Args:
        score: of the whole validation part.
        unigram: nats per token by counting single tokens (`unigram_nats`).
        steps: that were taken in the present stretch.
        minutes: of the same stretch; None if steps or epochs decided.
        nats_before: per token of the model that was fine-tuned; None for a run from nothing.
        steps_before: that were taken in earlier stretches.
        asked: what a person said of the length: `minutes`, `epochs` or `steps`, and how many.
        stopped_early: whether the run ended because its score no longer improved.
        text: the training part's size; None if nobody knows it.
    """
    if nats_before is not None and score is not None and score.nats_per_token < nats_before:
        return None  # a few steps are enough for a model that begins with another's weights
    asked = {"minutes": minutes} if minutes is not None else asked or {"steps": max(1, steps)}
    if minutes is not None and steps < _FEW_STEPS and not stopped_early:
        times = max(_LONGER, math.ceil(2 * _FEW_STEPS / max(1, steps)))
        return (
            f"only {steps} step{'' if steps == 1 else 's'} in {minutes:g} "
            f"minute{'' if minutes == 1 else 's'}: too few to "
            "learn from; other programs keep this machine busy, or the model is too large for "
            f"it{ways(_longer(asked, times))}"
        )
    if score is None or unigram is None or score.nats_per_token < unigram:
        return None
    causes: list[str] = []
    helps: list[str | tuple[str, str | None]] = []
    if not stopped_early:
        causes.append(f"too few steps ({steps_before + steps:,})")
        helps.append(_longer(asked, _LONGER))
    if text is not None and text.is_short:
        causes.append(
            f"too short a text ({text.characters:,} characters for {text.weights:,} weights)"
        )
        helps.append("give more text")
    else:
        causes.append("too irregular a text")
    early = "; it stopped early, because more steps did not help" if stopped_early else ""
    return (
        f"the model predicts no better than counts of single tokens ({score.nats_per_token:.2f} "
        f"against {unigram:.2f} nats): {', or '.join(causes)}{early}{ways(*helps)}"
    )


def _longer(asked: Mapping[str, float], times: int) -> tuple[str, str | None]:
    """The way out of a run that was too short: so many times the length that was asked for."""
    ((name, length),) = asked.items()
    return "train longer, for example with", option(f"--{name}", float(f"{times * length:.4g}"))
