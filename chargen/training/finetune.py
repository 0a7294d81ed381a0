"""Fine-tuning: the trainer of `train`, begun from a model that already knows something.

A small text is read many times, so the plan is bounded by passes as well as by minutes, and what
would be learned by heart is held back: a lower rate, more dropout, layers near the input that learn
less (Howard and Ruder, 2018), early stopping by the new text's tail.
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
from chargen.files import make_folder
from chargen.model.checkpoint import ModelFile
from chargen.model.config import ModelConfig
from chargen.model.extend_weights import check_same
from chargen.text.tokenizer import Tokenizer, Tokens, token_lengths
from chargen.training.distributed import ALONE
from chargen.training.events import TrainEvent
from chargen.training.network import RecurrentLM
from chargen.training.planner import Plan, make_plan
from chargen.training.recovery import enough_memory
from chargen.training.run_folder import Recorder, kept
from chargen.training.session import (
    Replay,
    card_score,
    follow,
    make_trainer,
)

DEFAULT_MINUTES = 2.0
_RATE = 1 / 3
"""The highest rate for a text as familiar as the base's own, as a part of that of training."""
_FARTHEST = 2.0
"""The most that an unfamiliar text raises it to, in the same measure."""
_GENTLE = 0.5
"""The most where another text is not to be forgotten."""
_SLOPE = 1.7
_UNKNOWN = 2.0
"""How far a text is from a base that does not tell its own score."""
_WARMUP = 0.1
_PASSES = 20.0
"""Passes over a text of 20,000 tokens that are worth it; fewer of a longer one."""
_FEWEST = 3.0
_SMALL = 30_000
_PATIENCE = 10
_EVALUATIONS = 30
_DROPOUT = 0.4
"""The most: a base that was trained with less forgets more under more."""
_PULL = 1.0
"""Back to the base, where its text is not to be forgotten."""
_NEVER = -1e30
_DEFAULTS = {"warmup": _WARMUP, "patience": _PATIENCE, "ema": 0.1, "optimizer": "adamw"}


def make_tuning_plan(
    given: Mapping[str, Any],
    base: ModelConfig,
    *,
    train_tokens: int,
    valid_tokens: int,
    distance: float = _UNKNOWN,
) -> Plan:
    """A plan for a base of a given shape.

    The farther a text is from what the base knows, the higher the rate: what is near needs little
    change, and what is far is not reached by small steps (benchmarks/LOG.md).

    Args:
        given: as for `make_plan`; a shape must be the base's.
        base: the shape, with the grown vocabulary.
        train_tokens: how many tokens there are to learn.
        valid_tokens: how many there are to score.
        distance: bits that the text costs the base, beside those that the base's own costs it.

    Raises:
        UsageError: a setting is out of range, or asks for another shape.
    """
    problem = check_same(base, given)
    if problem is not None:
        raise UsageError(f"{problem}; leave it out, or train a model of its own")
    wishes = {**given, **base.to_json()}
    del wishes["vocab_size"]
    if not {"epochs", "steps"} & wishes.keys():
        wishes.setdefault("minutes", DEFAULT_MINUTES)
    wishes = {**_DEFAULTS, **wishes}
    if wishes.get("replay_share"):
        wishes.setdefault("l2_to_base", _PULL)
    plan = make_plan(
        wishes, vocab_size=base.vocab_size, train_tokens=train_tokens, valid_tokens=valid_tokens
    )
    train, changes = plan.train, dict[str, Any]()
    reasons = list(plan.reasons)
    about = len(reasons) - 1  # the passes
    if "learning_rate" not in given:
        rate = min(_FARTHEST, _RATE * max(1.0, distance) ** _SLOPE)
        if train.replay_share:
            rate = min(rate, _GENTLE)
        changes["learning_rate"] = float(f"{train.learning_rate * rate:.2g}")
        reasons.append(f"the text costs the base {distance:.1f} times what its own does")
    if "dropout" not in given:
        changes["dropout"] = min(train.dropout, _DROPOUT)
        planned, train = train.dropout, replace(train, dropout=changes["dropout"])
        told = f"dropout {planned:g}", f"dropout {train.dropout:g}"
        reasons[about] = reasons[about].replace(*told)
    own = 1 - train.replay_share
    lane = train.batch_size * train.bptt * own
    if train.minutes is not None:
        passes = max(_FEWEST, _PASSES * (20_000 / max(1, train_tokens)) ** 0.5)
        enough = math.ceil(passes * train_tokens / lane)
        if enough < train.steps:
            # The clock is no longer what ends it.
            changes |= {"steps": enough, "minutes": None}
            reasons[about] = (
                f"{passes:.0f} passes over so small a text are enough, "
                f"so dropout {train.dropout:g} and an early stop when its tail is no longer "
                "predicted better"
                if train_tokens < _SMALL
                else f"{passes:.0f} passes over the text are enough, so dropout {train.dropout:g}"
            )
    steps = changes.get("steps", train.steps)
    if "evaluations" not in given:
        changes["evaluations"] = max(1, min(_EVALUATIONS, steps // 4))
        changes["evaluation_tokens"] = max(2_048, min(16_384, max(2, valid_tokens)))
    return replace(plan, train=replace(train, **changes), reasons=tuple(reasons))


def finetune_run(
    folder: Path,
    *,
    base: ModelFile,
    tokenizer: Tokenizer,
    train: Tokens,
    valid: Tokens,
    replay: Replay | None,
    new_tokens: Sequence[int],
    card: Mapping[str, Any],
    text: Mapping[str, Any],
    given: Mapping[str, Any],
    should_stop: Callable[[], bool],
    started: float | None = None,
) -> Iterator[TrainEvent]:
    """Plan, fine-tune and record; yields every event after it was recorded.

    Args:
        folder: the run's folder; made when it is not there.
        base: the model to begin from, its vocabulary grown.
        tokenizer: the grown one.
        train: tokens to learn.
        valid: tokens to choose the best weights by.
        replay: the text of the base, of which a share of the lanes goes on reading.
        new_tokens: what the vocabulary grew by.
        card: what the model's card says of corpus and base.
        text: where the corpora were found and how they were read, for run.json.
        given: what the person asked for (see `make_tuning_plan`).
        should_stop: asked after every step.
        started: `time.monotonic()` when the run's minutes began; None is now.

    Raises:
        UsageError: a setting is out of range, or another process has the run.
        ChargenError: training or writing failed.
    """
    started = time.monotonic() if started is None else started
    recorder = Recorder(folder, tokenizer.to_state(), dict(card), text)
    make_folder(folder)
    with kept(folder, recorder, ALONE), enough_memory():
        network = RecurrentLM(base.config)
        network.load_weights(base.weights)
        lengths = token_lengths(tokenizer)
        before = card_score(network, valid, lengths)
        recorder.card["before"] = before
        if replay is not None:
            # As the base itself predicts it, which knows nothing of the new tokens.
            with torch.no_grad():
                network.head.bias[list(new_tokens)] = _NEVER
            recorder.card["old_text"] = {"before": card_score(network, replay.valid, lengths)}
        plan = make_tuning_plan(
            given,
            base.config,
            train_tokens=len(train),
            valid_tokens=len(valid),
            distance=_distance(before, base.card.get("validation")),
        )
        trainer = make_trainer(
            plan, tokenizer, train, valid, started, weights=base.weights, replay=replay
        )
        yield from follow(trainer, recorder, plan, tokenizer, should_stop, replay)


def _distance(before: Mapping[str, Any] | None, own: object) -> float:
    """What a text costs the base, beside what the base's own text costs it."""
    bits = own.get("bits_per_byte") if isinstance(own, dict) else None
    if before is None or not isinstance(bits, float) or not bits > 0:
        return _UNKNOWN
    return float(before["bits_per_byte"] / bits)
