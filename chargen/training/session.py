"""A run from its beginning, or from where it stopped, to its end: plan, train, record, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError, UsageError
from chargen.files import make_folder, sweep
from chargen.hints import any_of
from chargen.model.checkpoint import ModelFile
from chargen.model.claims import Claim
from chargen.model.runs import METRICS, MODEL, RUN, TRAINING
from chargen.model.stored_weights import Weights
from chargen.text.store import MIN_VALID
from chargen.text.tokenizer import Tokenizer, Tokens, token_lengths
from chargen.training.clock import RunClock
from chargen.training.device import begin_training, enough_memory, prepare_torch
from chargen.training.distillation import make_teacher
from chargen.training.distributed import ALONE, Ranks
from chargen.training.evaluate import evaluate
from chargen.training.events import (
    Finished,
    Planned,
    Recovered,
    Saved,
    StepDone,
    TrainEvent,
)
from chargen.training.kernels import Kernel, native_problem, planned_or_best
from chargen.training.network import RecurrentLM
from chargen.training.planner import Plan, make_plan
from chargen.training.run_folder import Recorder, Saver, run_lock
from chargen.training.snapshot import Snapshot, load_snapshot, restore
from chargen.training.trainer import Trainer
from chargen.training.verdict import TextSize, describe_failure, unigram_nats

_CARD_TOKENS = 1 << 16
"""Tokens of a text that are scored for a card, beside the run's own score."""
_TRIED_TOKENS = 1 << 11
"""Tokens that are scored first, to see how long the others would take."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The other text of a fine-tuning run: the base's own, so that it is not forgotten."""

    train: Tokens
    valid: Tokens


@dataclass(frozen=True, kw_only=True)
class RunText:
    """What a run reads."""

    tokenizer: Tokenizer
    train: Tokens
    """Tokens to learn."""
    valid: Tokens
    """Tokens to score; may be empty."""
    replay: Replay | None = None


def train_run(
    folder: Path,
    text: RunText,
    *,
    card: Mapping[str, Any],
    source: Mapping[str, Any],
    given: Mapping[str, Any],
    should_stop: Callable[[], bool],
    clock: RunClock,
    ranks: Ranks | None = None,
    claim: Claim | None = None,
    teacher: ModelFile | None = None,
) -> Iterator[TrainEvent]:
    """Plans, trains and records; yields every event after it was recorded.

    Args:
        folder: the run's folder; made when it is not there.
        text: what is read.
        card: what the model's card says about the corpus.
        source: where the corpus was and how it was read, for run.json.
        given: what the person asked for (see `make_plan`).
        should_stop: asked after every step.
        clock: made when the run's minutes began.
        ranks: the processes that train together; the first of them records. None is this alone.
        claim: the claim of the folder; None locks it now.
        teacher: the model to learn from, beside the text; its tokenizer is that of the text.

    Raises:
        UsageError: a setting is out of range, or another process has the run.
        ChargenError: training or writing failed.
    """
    ranks = ranks or ALONE
    recorder = Recorder(folder, text.tokenizer.to_state(), dict(card), source)

    def make() -> tuple[Plan, Trainer]:
        planned = ranks.broadcast_object(
            lambda: make_plan(
                given,
                vocab_size=text.tokenizer.vocab_size,
                train_tokens=len(text.train),
                valid_tokens=len(text.valid),
                processes=ranks.count,
                elapsed=clock() - clock.began,
                clock=clock,
                teacher=None if teacher is None else teacher.config,
            ).to_json()
        )
        plan = Plan.from_json(planned)
        trainer = make_trainer(plan, text, clock, ranks=ranks)
        if teacher is not None and trainer.teacher is not None:
            trainer.teacher.load_weights(teacher.weights)
        return plan, trainer

    return run_and_record(recorder, text, make, given, should_stop, ranks, claim)


def resume_run(
    folder: Path,
    snapshot: Snapshot,
    text: RunText,
    *,
    card: Mapping[str, Any],
    given: Mapping[str, Any],
    should_stop: Callable[[], bool],
    clock: RunClock,
    ranks: Ranks | None = None,
) -> Iterator[TrainEvent]:
    """Goes on from a snapshot as if nothing had happened; or, with a new length, from there on.

    Args:
        folder: the run's folder.
        snapshot: its state.
        text: what is read: the same as before, unless a changed corpus was allowed.
        card: what the model's card says about the corpus.
        given: nothing, or one of `minutes`, `steps` and `epochs`: a stretch of that length
            begins, with a warm-up and a decay of its own.
        should_stop: asked after every step.
        clock: made when this sitting began.
        ranks: the processes that train together, as many as there are now; None is this alone.

    Raises:
        UsageError: the run is over and no length was given; or another process has it.
        ChargenError: training or writing failed.
    """
    ranks = ranks or ALONE
    if snapshot.position["over"] and not given:
        lengths = any_of("--minutes", "--epochs", "--steps")
        raise UsageError(
            f"{folder}: this run is over ({snapshot.position['over']}); to go on from there say "
            f"for how long: {lengths}"
        )
    recorder = Recorder(
        folder, snapshot.tokenizer, dict(card), snapshot.text, resumed=snapshot.recorded
    )

    def make() -> tuple[Plan, Trainer]:
        if ranks.is_first and load_snapshot(folder / TRAINING).position != snapshot.position:
            raise UsageError(f"{folder}: another process went on with this run; try again")
        plan = _lengthened(snapshot, given, len(text.train))
        spent = snapshot.position["seconds"]
        trainer = make_trainer(plan, text, clock, spent=spent, ranks=ranks)
        restore(trainer, snapshot)
        plan = replace(plan, reasons=(*plan.reasons, *_other_kernel(plan, trainer)))
        if dict(card) != snapshot.card:
            trainer.recovery.loss_ema = 0.0  # another text: its losses are not comparable
        if given:
            trainer.begin_stretch(spent)
        return plan, trainer

    return run_and_record(recorder, text, make, given, should_stop, ranks)


def _lengthened(snapshot: Snapshot, given: Mapping[str, Any], train_tokens: int) -> Plan:
    """The snapshot's plan, or a stretch of the length that was asked for."""
    plan, position = snapshot.plan, snapshot.position
    if not given:
        return plan
    train = plan.train
    if "minutes" in given:
        seconds_per_step = position["seconds"] / max(1, position["step"])
        steps = train.steps
        if seconds_per_step:
            steps = max(1, int(given["minutes"] * 60 / seconds_per_step))
    else:
        step_tokens = train.batch_size * train.bptt
        steps = given.get("steps") or math.ceil(given["epochs"] * train_tokens / step_tokens)
    longer = replace(train, steps=max(1, steps), minutes=given.get("minutes"))
    return replace(plan, train=longer, reasons=(f"goes on from step {position['step']:,}",))


def _planned_kernel(plan: Plan) -> Kernel:
    return Kernel(plan.train.kernel, bf16=plan.train.precision == "bf16")


def _other_kernel(plan: Plan, trainer: Trainer) -> list[str]:
    """In words: that the run goes on with another kernel than it began with, and why."""
    planned, used = _planned_kernel(plan).label, trainer.network.kernel.label
    if planned == used:
        return []
    problem = native_problem(trainer.device.type, plan.train.kernel)
    why = f": {problem}" if problem else ""
    return [f"goes on with the kernel {used}, because {planned} is not on this machine{why}"]


def make_trainer(
    plan: Plan,
    text: RunText,
    clock: RunClock,
    *,
    spent: float = 0.0,
    weights: Weights | None = None,
    ranks: Ranks = ALONE,
) -> Trainer:
    """A trainer before its first step: from random weights, or from those of a base.

    `spent` are the seconds of earlier sittings. A teacher of the plan still needs its weights.
    """
    begin_training()
    device = prepare_torch(plan.train)
    kernel = _planned_kernel(plan)
    network = RecurrentLM(
        plan.model,
        dropout=plan.train.dropout,
        dropout_masks=plan.train.dropout_masks,
        embedding_dropout=plan.train.embedding_dropout,
        kernel=planned_or_best(plan.model.cell, device.type, kernel),
    ).to(device)
    if weights is not None:
        network.load_weights(weights)
    return Trainer(
        network,
        plan.train,
        text.train,
        text.valid,
        token_lengths(text.tokenizer),
        clock=clock,
        started=clock.began - spent,
        replay=None if text.replay is None else text.replay.train,
        ranks=ranks,
        eos_id=text.tokenizer.eos_id,
        teacher=None if plan.teacher is None else make_teacher(plan.teacher, device, kernel),
    )


def run_and_record(
    recorder: Recorder,
    text: RunText,
    make: Callable[[], tuple[Plan, Trainer]],
    given: Mapping[str, Any],
    should_stop: Callable[[], bool],
    ranks: Ranks,
    claim: Claim | None = None,
) -> Iterator[TrainEvent]:
    """Trains; records and saves what the trainer does, and yields its events.

    Of several processes, the first records; the others take the same steps, and give their part of
    what is saved.

    Args:
        recorder: writes the run's folder.
        text: what is read.
        make: makes plan and trainer, once the folder is this run's.
        given: what the person asked for.
        should_stop: asked after every step.
        ranks: the processes that train together.
        claim: the claim of the folder; None locks it now.
    """
    folder, shown = recorder.folder, recorder.shown
    if ranks.is_first:
        make_folder(folder)
    with run_lock(folder, recorder, ranks, claim), enough_memory():
        plan, trainer = make()
        ranks.check_same(len(text.train), len(text.valid), trainer.step, trainer.steps)
        saver = Saver(trainer, recorder)
        if ranks.is_first:
            sweep(folder, (MODEL, TRAINING, METRICS, RUN))
            planned = Planned(
                folder=shown,
                model=plan.model,
                train=plan.train,
                reasons=plan.reasons,
                tokenizer=text.tokenizer,
                train_tokens=trainer.batches.length,
                valid_tokens=len(trainer.valid),
                teacher=plan.teacher,
            )
            recorder.record(planned)
            yield planned
        (saves_first,) = ranks.broadcast(not saver.waits_for_a_model)
        if saves_first:
            yield from saver.save()
        for event in trainer.run():
            if isinstance(event, Finished):
                before = recorder.card.get("before")
                if text.replay is not None:
                    _score_replay(recorder, trainer, text.replay, event.weights)
                event = replace(event, verdict=_verdict(event, trainer, text, given, before))
            problem = None
            if ranks.is_first:
                if not isinstance(event, StepDone):
                    yield from _returned(recorder, trainer)
                try:
                    recorder.record(event)
                except ChargenError as error:
                    if isinstance(event, Finished):
                        raise _rescued(recorder, event, error) from error
                    problem = str(error)
            if isinstance(event, Finished):
                interrupted = event.reason == "interrupted"
                yield from saver.flush() if interrupted else saver.save(over=event.reason)
            yield event
            if problem is not None:
                yield Saved(step=trainer.step, problem=problem, seconds=trainer.seconds())
            if isinstance(event, StepDone):
                # Before the score that an interruption ends with: that score is not in the plan.
                stop = should_stop() if ranks.is_first else False
                save = ranks.is_first and (stop or saver.is_due())
                if ranks.count > 1:  # what all processes know now was requested before this step
                    (save, stop), trainer.requests = trainer.agreed, (save, stop)
                if save:
                    if ranks.is_first:
                        yield from _returned(recorder, trainer)
                    yield from saver.save()
                trainer.stop_requested = stop


def _returned(recorder: Recorder, trainer: Trainer) -> Iterator[TrainEvent]:
    """Makes the run's folder anew if somebody renamed or removed it, and tells so."""
    with suppress(ChargenError):  # the save that follows fails too, and reports it
        if recorder.return_to_folder():
            what = f"{recorder.folder} was moved or removed; the run is kept there anew"
            yield Recovered(step=trainer.step, what=what, seconds=trainer.seconds())


def _rescued(recorder: Recorder, event: Finished, error: ChargenError) -> ChargenError:
    """The error of a run whose last save failed, after its model was saved elsewhere."""
    try:
        path = recorder.rescue(event)
    except ChargenError as second:
        return ChargenError(f"{error}; nor can the model be kept elsewhere: {second}")
    return ChargenError(f"{error}; the finished model is in {path}: move it to where it is safe")


def _verdict(
    event: Finished,
    trainer: Trainer,
    text: RunText,
    given: Mapping[str, Any],
    before: Mapping[str, float] | None,
) -> str | None:
    """Why a run that came to its end learned next to nothing; None if it learned something.

    Args:
        event: the end.
        trainer: what ran.
        text: what was read.
        given: what a person asked for.
        before: what the model scored that the run began with; None for a run from nothing.
    """
    if event.reason == "interrupted" or not trainer.ranks.is_first:
        return None
    unigram = None
    if len(text.valid) and len(text.train):
        unigram = unigram_nats(text.train, text.valid, text.tokenizer.vocab_size)
    lengths = {name: given[name] for name in ("epochs", "steps") if name in given}
    return describe_failure(
        event.score,
        unigram,
        steps=event.step - trainer.stretch_start,
        minutes=trainer.config.minutes,
        nats_before=None if before is None else before["nats_per_token"],
        steps_before=trainer.stretch_start,
        asked=lengths or {"steps": trainer.config.steps},
        stopped_early=event.reason == "early stop",
        text=TextSize.of(
            text.train, trainer.lengths[1], trainer.batches.tokens_per_step, event.weights
        ),
    )


def _score_replay(recorder: Recorder, trainer: Trainer, replay: Replay, weights: Weights) -> None:
    """Notes in the card what the final weights score on the base's own text."""
    last_weights = trainer.network.to_weights()  # a finished run may go on from its last weights
    trainer.network.load_weights(weights)
    after = card_score(trainer.network, replay.valid, trainer.lengths)
    trainer.network.load_weights(last_weights)
    recorder.card["old_text"] = {**recorder.card.get("old_text", {}), "after": after}


def card_score(
    network: RecurrentLM,
    tokens: Tokens,
    lengths: npt.NDArray[np.int64],
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, float] | None:
    """What a network scores on a text, for a card; None where there is nothing to score.

    Args:
        network: the network.
        tokens: the text (N,).
        lengths: (2, V) of `token_lengths`.
        seconds: the time that it may take; a slow machine scores fewer tokens. None: any time.
        clock: seconds.
    """
    if len(tokens) < MIN_VALID:
        return None
    limit = _CARD_TOKENS
    if seconds is not None and len(tokens) > _TRIED_TOKENS:
        began = clock()
        score = evaluate(network, tokens, lengths, _TRIED_TOKENS)
        affordable = int(_TRIED_TOKENS * seconds / max(1e-9, clock() - began))
        limit = min(limit, affordable)
    if limit > _TRIED_TOKENS or seconds is None or len(tokens) <= _TRIED_TOKENS:
        score = evaluate(network, tokens, lengths, limit)
    return score.to_json() if math.isfinite(score.nats_per_token) else None
