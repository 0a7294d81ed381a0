"""One run from plan to finished model file: planner, network, trainer and recorder put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from chargen.errors import ChargenError
from chargen.files import make_folder
from chargen.text.store import Tokens
from chargen.text.tokenizer import Tokenizer, token_lengths
from chargen.training.events import Finished, Planned, TrainEvent
from chargen.training.kernels import Kernel
from chargen.training.network import RecurrentLM
from chargen.training.planner import make_plan
from chargen.training.recorder import Recorder
from chargen.training.trainer import Trainer, prepare_torch


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

    Raises:
        UsageError: a setting is out of range.
        ChargenError: training or writing failed.
    """
    started = time.monotonic() if started is None else started
    recorder = Recorder(folder, tokenizer.to_state(), dict(card), text)
    with _tidy(folder, recorder), _enough_memory():
        make_folder(folder)
        plan = make_plan(
            given,
            vocab_size=tokenizer.vocab_size,
            train_tokens=len(train),
            valid_tokens=len(valid),
        )
        device = prepare_torch(plan.train)
        network = RecurrentLM(
            plan.model,
            dropout=plan.train.dropout,
            embedding_dropout=plan.train.embedding_dropout,
            kernel=Kernel(plan.train.kernel, half=plan.train.precision == "bf16"),
        ).to(device)
        lengths = token_lengths(tokenizer)
        trainer = Trainer(network, plan.train, train, valid, lengths, started=started)
        planned = Planned(
            model=plan.model,
            train=plan.train,
            reasons=plan.reasons,
            tokenizer=tokenizer,
            train_tokens=len(train),
            valid_tokens=len(valid),
        )
        recorder.record(planned)
        yield planned
        for event in trainer.run():
            recorder.record(event)
            yield event
            if isinstance(event, Finished):
                break
            trainer.stop_requested = should_stop()


@contextmanager
def _tidy(folder: Path, recorder: Recorder) -> Iterator[None]:
    """Whatever happens: files closed, no empty folder left, and the process as it was."""
    try:
        yield
    finally:
        recorder.close()
        torch.set_flush_denormal(False)
        with suppress(OSError):
            folder.rmdir()  # which fails, as it should, when anything was saved


@contextmanager
def _enough_memory() -> Iterator[None]:
    """The several ways in which memory runs out become one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch reports it on CPU as a plain RuntimeError, known by its text alone.
        text = str(error).lower()
        if isinstance(error, MemoryError) or "memory" in text or "invalid buffer size" in text:
            raise ChargenError(
                "not enough memory for this model; choose a smaller --hidden-size, --batch-size "
                "or --bptt"
            ) from error
        raise
