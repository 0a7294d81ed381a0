"""Fine-tuning: the trainer of `train`, started from a model that already knows something.

A small text is read many times. So passes bound its plan as well as minutes, and learning by
heart is made harder: a lower rate, more dropout, layers near the input that learn less (Howard and
Ruder, 2018), early stopping on the end of the new text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from chargen.errors import UsageError
from chargen.model.checkpoint import ModelFile
from chargen.model.claims import Claim
from chargen.model.config import ModelConfig
from chargen.model.extend_weights import shape_difference
from chargen.text.tokenizer import token_lengths
from chargen.training.clock import RunClock
from chargen.training.distributed import ALONE
from chargen.training.events import TrainEvent
from chargen.training.network import RecurrentLM
from chargen.training.planner import Plan, describe_passes, flop_per_token, make_plan
from chargen.training.run_folder import Recorder
from chargen.training.session import RunText, card_score, make_trainer, run_and_record
from chargen.training.trainer import Trainer

DEFAULT_MINUTES = 2.0
_BASE_RATE = 1 / 3
"""Rate for a text as familiar as the base's own, as a multiple of the rate of training."""
_WIDTH_OF_RATE, _WIDTH_EXPONENT = 448, 1.5
"""The units that the rate was found for; a wider base gets less by this power of its width."""
_MAX_RATE = 2.0
"""Rate for the least familiar text, in the same measure."""
_MAX_RATE_WITH_REPLAY = 0.5
"""The same where another text must not be forgotten."""
_RATE_EXPONENT = 1.7
"""The rate rises with this power of the distance."""
_UNKNOWN_DISTANCE = 2.0
"""Distance of a text from a base that does not tell its own score."""
_PASSES_OVER_20_000 = 20.0
"""Passes over a text of 20,000 tokens that are worth it; fewer of a longer one."""
_MIN_PASSES = 3.0
_SMALL_TEXT_TOKENS = 30_000
_MAX_EVALUATIONS = 30
_SCORING_SHARE = 0.12
"""Of learning, what the scores on the way take."""
_MIN_SCORED_TOKENS, _MAX_SCORED_TOKENS = 8_192, 16_384
"""Fewer than these are read in too few rows to take less time."""
_MAX_DROPOUT = 0.4
"""A base that was trained with less dropout forgets more under more."""
_PASSES_OF_FULL_DROPOUT = 20.0
"""Passes over the text from which on dropout is as in training; there is none up to one tenth."""
_SLOW_FLOP_PER_TOKEN = 1.5e7
_ROWS_OF_SLOW_BASES = 16
"""Batch rows for a base that takes more than that: twice as many steps in the same time."""
_PULL_WITH_REPLAY = 1.0
"""`l2_to_base` where the base's text must not be forgotten."""
_BASE_SCORE_SHARE = 0.05
"""Of the minutes, what the base's own score may take."""
_USUAL_BPTT = 48
_NEVER = -1e30
"""Logit of a token that must not be predicted."""
_DEFAULTS = {"warmup": 0.1, "patience": 10, "ema": 0.1, "optimizer": "adamw"}


def make_finetune_plan(
    given: Mapping[str, Any],
    base: ModelConfig,
    *,
    train_tokens: int,
    valid_tokens: int,
    distance: float = _UNKNOWN_DISTANCE,
    clock: Callable[[], float] = time.perf_counter,
) -> Plan:
    """A plan for a base of a given shape.

    The less familiar a text is to the base, the higher the rate: a familiar text needs little
    change, and small steps do not reach an unfamiliar one (benchmarks/LOG.md).

    Args:
        given: as for `make_plan`; a shape must be the base's.
        base: the shape, with the extended vocabulary.
        train_tokens: number of tokens to learn.
        valid_tokens: number of tokens to score.
        distance: bits that the text costs the base, divided by those that its own text costs it.
        clock: as for `make_plan`.

    Raises:
        UsageError: a setting is out of range, or asks for another shape.
    """
    problem = shape_difference(base, given)
    if problem is not None:
        raise UsageError(f"{problem}; leave it out, or train a model of its own")
    settings = {**given, **base.to_json()}
    del settings["vocab_size"]
    if not {"epochs", "steps"} & settings.keys():
        settings.setdefault("minutes", DEFAULT_MINUTES)
    settings = {**_DEFAULTS, **settings}
    if "batch_size" not in settings and flop_per_token(base) > _SLOW_FLOP_PER_TOKEN:
        rows = max(1, train_tokens // (4 * settings.get("bptt", _USUAL_BPTT)))
        settings["batch_size"] = min(_ROWS_OF_SLOW_BASES, rows)
    if settings.get("replay_share"):
        settings.setdefault("l2_to_base", _PULL_WITH_REPLAY)
    plan = make_plan(
        settings,
        vocab_size=base.vocab_size,
        train_tokens=train_tokens,
        valid_tokens=valid_tokens,
        clock=clock,
    )
    train, changes = plan.train, dict[str, Any]()
    reasons = list(plan.reasons[:-1])  # the last one tells the passes, which may change here
    step_tokens = train.batch_size * train.bptt
    if "learning_rate" not in given:
        rate = min(_MAX_RATE, _BASE_RATE * max(1.0, distance) ** _RATE_EXPONENT)
        if train.replay_share:
            rate = min(rate, _MAX_RATE_WITH_REPLAY)
        narrower = min(1.0, _WIDTH_OF_RATE / base.group_size) ** _WIDTH_EXPONENT
        changes["learning_rate"] = float(f"{train.learning_rate * rate * narrower:.2g}")
    if "dropout" not in given:
        share = train.steps * step_tokens / train_tokens / _PASSES_OF_FULL_DROPOUT
        share = min(1.0, max(0.0, (share - 0.1) / 0.9))
        changes["dropout"] = round(min(train.dropout, _MAX_DROPOUT) * share, 2)
        train = replace(train, dropout=changes["dropout"])
    passes_reason = describe_passes(train.steps * step_tokens / train_tokens, train.dropout)
    if train.minutes is not None:
        passes = max(_MIN_PASSES, _PASSES_OVER_20_000 * (20_000 / max(1, train_tokens)) ** 0.5)
        text_share = 1 - train.replay_share
        enough = math.ceil(passes * train_tokens / (step_tokens * text_share))
        if enough < train.steps:
            # The passes end the run, not the clock.
            changes |= {"steps": enough, "minutes": None}
            passes_reason = f"{passes:.0f} passes over the text are enough"
            passes_reason += f", so dropout {train.dropout:g}"
            if train_tokens < _SMALL_TEXT_TOKENS:
                passes_reason += ", and it stops early when the score of its tail gets no better"
    reasons.append(passes_reason)
    if "learning_rate" in changes:
        reasons.append(f"the text costs the base {distance:.1f} times what its own does")
    steps = changes.get("steps", train.steps)
    if "evaluations" not in given:
        # Reading forward costs a third of learning; it is done once or twice a score.
        affordable = int(_SCORING_SHARE * steps * step_tokens * 3 / 2)
        scores = max(2, min(_MAX_EVALUATIONS, affordable // _MIN_SCORED_TOKENS))
        scores = max(1, min(scores, steps // 4))
        changes["evaluations"] = scores
        changes["evaluation_tokens"] = max(
            _MIN_SCORED_TOKENS, min(_MAX_SCORED_TOKENS, affordable // scores)
        )
    return replace(plan, train=replace(train, **changes), reasons=tuple(reasons))


def finetune_run(
    folder: Path,
    text: RunText,
    *,
    base: ModelFile,
    new_tokens: Sequence[int],
    card: Mapping[str, Any],
    source: Mapping[str, Any],
    given: Mapping[str, Any],
    should_stop: Callable[[], bool],
    clock: RunClock,
    claim: Claim | None = None,
) -> Iterator[TrainEvent]:
    """Plans, fine-tunes and records; yields every event after it was recorded.

    Args:
        folder: the run's folder; made when it is not there.
        text: what is read, by the extended tokenizer.
        base: the model to begin from, its vocabulary extended.
        new_tokens: the tokens that the vocabulary was extended by.
        card: what the model's card says about corpus and base.
        source: where the corpora were and how they were read, for run.json.
        given: what the person asked for (see `make_finetune_plan`).
        should_stop: asked after every step.
        clock: made when the run's minutes began.
        claim: the claim of the folder; None locks it now.

    Raises:
        UsageError: a setting is out of range, or another process has the run.
        ChargenError: training or writing failed.
    """
    recorder = Recorder(folder, text.tokenizer.to_state(), dict(card), source)

    def make() -> tuple[Plan, Trainer]:
        network = RecurrentLM(base.config)
        network.load_weights(base.weights)
        lengths = token_lengths(text.tokenizer)
        minutes = given.get("minutes", DEFAULT_MINUTES)
        fixed = {"epochs", "steps"} & given.keys()
        seconds = None if fixed else minutes * 60 * _BASE_SCORE_SHARE
        before = card_score(network, text.valid, lengths, seconds, clock)
        recorder.card["before"] = before
        if text.replay is not None:
            # As the base itself predicts it, which knows none of the new tokens.
            with torch.no_grad():
                network.head.bias[list(new_tokens)] = _NEVER
            recorder.card["old_text"] = {
                "before": card_score(network, text.replay.valid, lengths, seconds, clock)
            }
        plan = make_finetune_plan(
            given,
            base.config,
            train_tokens=len(text.train),
            valid_tokens=len(text.valid),
            distance=_distance(before, base.card.get("validation")),
            clock=clock,
        )
        trainer = make_trainer(plan, text, clock, weights=base.weights)
        trainer.score_first()
        return plan, trainer

    return run_and_record(recorder, text, make, given, should_stop, ALONE, claim)


def _distance(before: Mapping[str, Any] | None, base_score: object) -> float:
    """Bits that the text costs the base, divided by those that the base's own text costs it."""
    bits = base_score.get("bits_per_byte") if isinstance(base_score, dict) else None
    if before is None or not isinstance(bits, float) or not bits > 0:
        return _UNKNOWN_DISTANCE
    return float(before["bits_per_byte"] / bits)
