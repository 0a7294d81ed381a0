"""A run from its beginning, or from where it stopped, to its end: all of this room put together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError, UsageError
from chargen.files import make_folder, sweep
from chargen.model.checkpoint import Weights
from chargen.model.runs import METRICS, MODEL, RUN, TRAINING
from chargen.text.store import MIN_VALID
from chargen.text.tokenizer import Tokenizer, Tokens, token_lengths
from chargen.training.device import prepare_torch
from chargen.training.distributed import ALONE, Ranks
from chargen.training.evaluate import evaluate
from chargen.training.events import Finished, Planned, Saved, StepDone, TrainEvent
from chargen.training.kernels import Kernel, candidates
from chargen.training.network import RecurrentLM
from chargen.training.planner import Plan, make_plan
from chargen.training.recovery import enough_memory
from chargen.training.run_folder import Recorder, Saver, kept
from chargen.training.snapshot import Snapshot, load_snapshot, restore
from chargen.training.trainer import Trainer

_CARD_TOKENS = 1 << 16
"""Tokens of a text that are scored for a card beside the run's own score."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The other text of a fine-tuning run: the base's own, so that it is not forgotten."""

    train: Tokens
    valid: Tokens


def train_run(
    folder: Path,
    *,
    tokenizer: Tokenizer,
    train: Tokens,
    valid: Tokens,
    card: Mapping[str, Any],
    text: Mapping[str, Any],
    given: Mapping[str, Any],
    should_stop: Callable[[], bool],
    started: float | None = None,
    ranks: Ranks | None = None,
) -> Iterator[TrainEvent]:
    """Plan, train and record; yields every event after it was recorded.

    Args:
        folder: the run's folder; made when it is not there.
        tokenizer: made for the corpus.
        train: tokens to learn.
        valid: tokens to score; may be empty.
        card: what the model's card says of the corpus.
        text: where the corpus was found and how it was read, for run.json.
        given: what the person asked for (see `make_plan`).
        should_stop: asked after every step.
        started: `time.monotonic()` when the run's minutes began; None is now.
        ranks: the processes that train together, the first of which records; None is this alone.

    Raises:
        UsageError: a setting is out of range, or another process has the run.
        ChargenError: training or writing failed.
    """
    ranks = ranks or ALONE
    started = time.monotonic() if started is None else started
    recorder = Recorder(folder, tokenizer.to_state(), dict(card), text)
    if ranks.is_first:
        make_folder(folder)
    with kept(folder, recorder, ranks), enough_memory():
        plan = Plan.from_json(
            ranks.told(
                lambda: make_plan(
                    given,
                    vocab_size=tokenizer.vocab_size,
                    train_tokens=len(train),
                    valid_tokens=len(valid),
                    processes=ranks.count,
                ).to_json()
            )
        )
        trainer = make_trainer(plan, tokenizer, train, valid, started, ranks=ranks)
        yield from follow(trainer, recorder, plan, tokenizer, should_stop)


def resume_run(
    folder: Path,
    snapshot: Snapshot,
    *,
    tokenizer: Tokenizer,
    train: Tokens,
    valid: Tokens,
    card: Mapping[str, Any],
    given: Mapping[str, Any],
    should_stop: Callable[[], bool],
    started: float,
    replay: Replay | None = None,
    ranks: Ranks | None = None,
) -> Iterator[TrainEvent]:
    """Go on from a snapshot as if nothing had happened; or, with a new length, from there on.

    Args:
        folder: the run's folder.
        snapshot: its state.
        tokenizer: of the snapshot.
        train: tokens to learn, the same as before unless a changed corpus was allowed.
        valid: tokens to score, likewise.
        card: what the model's card says of the corpus.
        given: nothing, or one of `minutes`, `steps` and `epochs`: a stretch of that length
            begins, with a warm-up and a decay of its own.
        should_stop: asked after every step.
        started: `time.monotonic()` when this sitting began.
        replay: the other text of a fine-tuning run.
        ranks: the processes that train together, as many as there are now; None is this alone.

    Raises:
        UsageError: the run is over and no length was given; or another process has it.
        ChargenError: training or writing failed.
    """
    ranks = ranks or ALONE
    if snapshot.position["over"] and not given:
        raise UsageError(
            f"{folder}: this run is over ({snapshot.position['over']}); to go on from there say "
            "for how long: --minutes, --epochs or --steps"
        )
    recorder = Recorder(
        folder, snapshot.tokenizer, dict(card), snapshot.text, resumed=snapshot.recorded
    )
    with kept(folder, recorder, ranks), enough_memory():
        if ranks.is_first and load_snapshot(folder / TRAINING).position != snapshot.position:
            raise UsageError(f"{folder}: another process went on with this run; try again")
        plan = _lengthened(snapshot, given, len(train))
        began = started - snapshot.position["seconds"]
        trainer = make_trainer(plan, tokenizer, train, valid, began, replay=replay, ranks=ranks)
        restore(trainer, snapshot)
        if dict(card) != snapshot.card:
            trainer.healing.usual = 0.0  # another text: what was usual is no measure
        if given:
            trainer.begin_stretch(snapshot.position["seconds"])
        yield from follow(trainer, recorder, plan, tokenizer, should_stop, replay)


def _lengthened(snapshot: Snapshot, given: Mapping[str, Any], train_tokens: int) -> Plan:
    plan, position = snapshot.plan, snapshot.position
    if not given:
        return plan
    train = plan.train
    lane = train.batch_size * train.bptt
    if "minutes" in given:
        pace = position["seconds"] / max(1, position["step"])
        steps = max(1, int(given["minutes"] * 60 / pace)) if pace else train.steps
    else:
        steps = given.get("steps") or math.ceil(given["epochs"] * train_tokens / lane)
    longer = replace(train, steps=max(1, steps), minutes=given.get("minutes"))
    return replace(plan, train=longer, reasons=(f"goes on from step {position['step']:,}",))


def make_trainer(
    plan: Plan,
    tokenizer: Tokenizer,
    train: Tokens,
    valid: Tokens,
    started: float,
    *,
    weights: Weights | None = None,
    replay: Replay | None = None,
    ranks: Ranks = ALONE,
) -> Trainer:
    """A trainer before its first step: from random weights, or from those of a base."""
    device = prepare_torch(plan.train)
    kernel = Kernel(plan.train.kernel, bf16=plan.train.precision == "bf16")
    there = candidates(plan.model.cell, device.type, "auto", "auto")
    network = RecurrentLM(
        plan.model,
        dropout=plan.train.dropout,
        dropout_masks=plan.train.dropout_masks,
        embedding_dropout=plan.train.embedding_dropout,
        # A run may have been begun on another machine.
        kernel=kernel if kernel in there else there[0],
    ).to(device)
    if weights is not None:
        network.load_weights(weights)
    return Trainer(
        network,
        plan.train,
        train,
        valid,
        token_lengths(tokenizer),
        started=started,
        replay=None if replay is None else replay.train,
        ranks=ranks,
    )


def follow(
    trainer: Trainer,
    recorder: Recorder,
    plan: Plan,
    tokenizer: Tokenizer,
    should_stop: Callable[[], bool],
    replay: Replay | None = None,
) -> Iterator[TrainEvent]:
    """Record and save what the trainer does, and pass it on."""
    if not trainer.ranks.is_first:
        yield from _accompany(trainer)
        return
    sweep(recorder.folder, (MODEL, TRAINING, METRICS, RUN))
    planned = Planned(
        model=plan.model,
        train=plan.train,
        reasons=plan.reasons,
        tokenizer=tokenizer,
        train_tokens=trainer.stream.length,
        valid_tokens=len(trainer.valid),
    )
    saver = Saver(trainer, recorder)
    recorder.record(planned)
    yield planned
    ranks = trainer.ranks
    (now,) = ranks.decided(not saver.waits_for_a_model)
    if now:
        yield saver.save()
    for event in trainer.run():
        problem = None
        if isinstance(event, Finished) and replay is not None:
            kept = trainer.network.to_weights()  # a finished run may go on, from its last ones
            trainer.network.load_weights(event.weights)
            after = card_score(trainer.network, replay.valid, trainer.lengths)
            trainer.network.load_weights(kept)
            recorder.card["old_text"] = {**recorder.card.get("old_text", {}), "after": after}
        try:
            recorder.record(event)
        except ChargenError as error:
            if isinstance(event, Finished):
                raise
            problem = str(error)
        if isinstance(event, Finished):
            yield saver.save(over=event.reason) if event.reason != "interrupted" else saver.flush()
        yield event
        if isinstance(event, Finished):
            return
        if problem is not None:
            yield Saved(step=trainer.step, problem=problem, seconds=trainer.seconds())
        if isinstance(event, StepDone):
            # Before the score that an interruption ends with: it is no part of the plan.
            stop = should_stop()
            save = stop or saver.is_due()
            if ranks.count > 1:  # what all know now was wished before this step
                (save, stop), trainer.wishes = trainer.agreed, (save, stop)
            if save:
                yield saver.save()
            trainer.stop_requested = stop


def _accompany(trainer: Trainer) -> Iterator[TrainEvent]:
    """What every process but the first does: the same steps, and its part of what is saved."""
    (begins,) = trainer.ranks.decided(False)
    if begins:
        trainer.states_of_all_lanes()
    for event in trainer.run():
        if isinstance(event, Finished) and event.reason != "interrupted":
            trainer.states_of_all_lanes()
        yield event
        if isinstance(event, StepDone):
            save, stop = trainer.agreed
            if save:
                trainer.states_of_all_lanes()
            trainer.stop_requested = stop


def card_score(
    network: RecurrentLM, tokens: Tokens, lengths: npt.NDArray[np.int64]
) -> dict[str, float] | None:
    """What a network scores on a text, for a card; None where there is nothing to score."""
    if len(tokens) < MIN_VALID:
        return None
    score = evaluate(network, tokens, lengths, _CARD_TOKENS)
    return score.to_json() if math.isfinite(score.nats_per_token) else None
