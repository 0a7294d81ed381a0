"""The library: `load` a model and write, score or trace with it; `train` one.

The commands call these same functions. torch is imported by `train` alone.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError, CorpusError
from chargen.insight.trace import Trace, record
from chargen.model.file import ModelFile, load_model
from chargen.model.runs import TRAINING, choose_folder, locate_model, locate_run, read_run
from chargen.model.score import Score, make_score
from chargen.sampling.config import SampleConfig
from chargen.sampling.generator import Step, generate, generate_batch
from chargen.sampling.scoring import total_nats
from chargen.sampling.stepper import Stepper, TokenIds
from chargen.text.corpus import DOCUMENT_MODES
from chargen.text.prepare import (
    TextOptions,
    options_from_json,
    options_to_json,
    prepare,
    prepare_again,
    training_part,
)
from chargen.text.store import Tokens, TokenStore
from chargen.text.tokenizer import Tokenizer, token_lengths
from chargen.training.config import check_settings
from chargen.training.events import Planned, TrainEvent


class Model:
    """A model, ready to write."""

    def __init__(self, file: ModelFile, path: Path | None = None) -> None:
        self.file = file
        self.path = path
        self.config = file.config
        self.card = file.card
        self.tokenizer: Tokenizer = file.build_tokenizer()
        self.stepper = Stepper(file.config, file.weights)

    def encode(self, text: str, unknown: str = "nearest") -> TokenIds:
        """Ids (N,) of a text.

        Raises:
            UsageError: `unknown` is `error` and a character has no token.
        """
        return self.tokenizer.encode(text, unknown)

    def generate(
        self, prompt: str = "", *, unknown: str = "nearest", **settings: Any
    ) -> Iterator[Step]:
        """Write after a prompt, step by step; joined, the steps' texts are the continuation.

        Args:
            prompt: read first; empty begins as a document begins.
            unknown: what becomes of characters never seen: `nearest`, `skip` or `error`.
            settings: fields of `SampleConfig`. Without a seed, one is drawn.

        Raises:
            UsageError: a setting is out of range.
        """
        config = SampleConfig(**_seeded(settings))
        return generate(self.stepper, self.tokenizer, self.encode(prompt, unknown), config)

    def generate_batch(
        self, prompt: str, count: int, *, unknown: str = "nearest", **settings: Any
    ) -> Iterator[tuple[int, Step]]:
        """Write several texts side by side: (number of the text, step).

        Raises:
            UsageError: a setting is out of range.
        """
        config = SampleConfig(**_seeded(settings))
        ids = self.encode(prompt, unknown)
        return generate_batch(self.stepper, self.tokenizer, ids, config, count)

    def score(self, text: str | bytes) -> Score:
        """How well the model predicts a text, read once from a zero state to its end.

        Raises:
            CorpusError: it has fewer than two tokens.
        """
        return self.score_tokens(self.tokenizer.encode(text))

    def score_tokens(self, ids: TokenIds | Tokens) -> Score:
        """`score` of ids (N,), which may lie in a memory map.

        Raises:
            CorpusError: fewer than two.
        """
        if len(ids) < 2:
            raise CorpusError(f"a text of {len(ids)} tokens cannot be scored: give at least two")
        nats = total_nats(self.stepper, ids)
        if not math.isfinite(nats):
            raise ChargenError("the model's numbers overflowed: its weights are too large to score")
        predicted = np.bincount(ids[1:], minlength=self.config.vocab_size)
        return make_score(nats, predicted, token_lengths(self.tokenizer))

    def trace(self, text: str, unknown: str = "nearest") -> Trace:
        """Everything that goes on inside while a text is read."""
        return record(self.stepper, self.encode(text, unknown))


def load(model: str | os.PathLike[str] | None = None) -> Model:
    """Load a model file, a run folder, or a run below ./checkpoints; None is the newest run.

    Raises:
        ModelFileError: there is none, or it is damaged or not ours.
    """
    path = locate_model(None if model is None else os.fspath(model))
    return Model(load_model(path), path)


def training_text(model: Model) -> TokenStore | None:
    """The text that a model was trained on, as ids; None where it is not on this machine."""
    card = model.card
    try:
        written = read_run(model.path.parent).get("text") if model.path else None
        options = options_from_json(written) if isinstance(written, dict) else None
    except CorpusError:
        options = None
    if options is None:  # a file that travelled: read as most are
        documents, split = card.get("documents"), card.get("split")
        fraction = split.get("valid_fraction") if isinstance(split, dict) else None
        if documents not in DOCUMENT_MODES or not isinstance(fraction, float):
            return None
        kind = model.file.tokenizer.kind
        options = TextOptions(tokenizer=kind, documents=documents, valid_fraction=fraction)
    return training_part(options, model.tokenizer, card)


def draw_seed() -> int:
    """A seed for who gave none."""
    return int.from_bytes(os.urandom(4), "little")


def _seeded(settings: dict[str, Any]) -> dict[str, Any]:
    if settings.get("seed") is None:
        return {**settings, "seed": draw_seed()}
    return settings


def train(
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    *,
    run: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    should_stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Iterator[TrainEvent]:
    """Train a model and keep its run folder up to date; yields events while it goes.

    Args:
        corpus: files, folders, `builtin:NAME`, `hf:DATASET`; nothing is the built-in corpus.
        run: name of the run below `checkpoints`; None makes one from the corpus's name.
        out: a folder instead of `checkpoints`; without `run`, the run's own folder.
        overwrite: replace a run of that name.
        on_note: is told what a person should know, a line each.
        should_stop: asked after every step; when true, the run is saved and ends.
        settings: fields of `TextOptions`, `ModelConfig` and `TrainConfig`, and `epochs`; what is
            left out, or None, is planned.

    Raises:
        UsageError: a setting is unknown or out of range, or the run exists.
        CorpusError: the corpus cannot be read, or is too short.
        ChargenError: training or writing failed.
    """
    started = time.monotonic()
    names = [corpus] if isinstance(corpus, str | os.PathLike) else corpus
    spelled = tuple(os.fspath(one) for one in names)
    given = {name: value for name, value in settings.items() if value is not None}
    text_fields = {one.name for one in fields(TextOptions)}
    about_text = {name: given.pop(name) for name in text_fields & given.keys()}
    if about_text.get("valid") is not None:
        about_text["valid"] = os.fspath(about_text["valid"])
    check_settings(given)
    options = TextOptions(corpus=spelled, **about_text)
    folder = choose_folder(spelled, run=run, out=out, overwrite=overwrite)
    prepared = prepare(options)
    from chargen.training.session import train_run  # torch, once all else is in order

    events = train_run(
        folder,
        tokenizer=prepared.tokenizer,
        train=prepared.train,
        valid=prepared.valid,
        card=prepared.card,
        text=options_to_json(options),
        given=given,
        should_stop=should_stop,
        started=started,
    )
    yield from _with_notes(events, prepared.notes, on_note)


def resume(
    run: str | os.PathLike[str] | None = None,
    *,
    allow_changed_corpus: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    should_stop: Callable[[], bool] = lambda: False,
    minutes: float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
) -> Iterator[TrainEvent]:
    """Go on with a run: exactly where it stopped, or, with a length, that much longer.

    Args:
        run: a run's folder, or its name below `checkpoints`; None is the newest.
        allow_changed_corpus: if the corpus changed since, take it as it is now.
        on_note: is told what a person should know, a line each.
        should_stop: asked after every step; when true, the run is saved and ends.
        minutes: train for so long from here, with a warm-up and a decay of its own; or
        epochs: so many passes; or
        steps: so many steps.

    Raises:
        ModelFileError: there is no such run, or its state is damaged.
        CorpusError: the corpus changed or is gone, and is not in the cache.
        UsageError: the run is over and no length was given; or another process has it.
        ChargenError: training or writing failed.
    """
    started = time.monotonic()
    lengths = {"minutes": minutes, "epochs": epochs, "steps": steps}
    given = {name: value for name, value in lengths.items() if value is not None}
    check_settings(given)
    folder = locate_run(None if run is None else os.fspath(run))
    from chargen.training.session import resume_run
    from chargen.training.snapshot import load_snapshot

    snapshot = load_snapshot(folder / TRAINING)
    tokenizer = snapshot.build_tokenizer()
    options = options_from_json(snapshot.text)
    prepared = prepare_again(options, tokenizer, snapshot.card, allow_changed=allow_changed_corpus)
    events = resume_run(
        folder,
        snapshot,
        tokenizer=tokenizer,
        train=prepared.train,
        valid=prepared.valid,
        card=prepared.card,
        given=given,
        should_stop=should_stop,
        started=started,
    )
    yield from _with_notes(events, prepared.notes, on_note)


def _with_notes(
    events: Iterator[TrainEvent], notes: Sequence[str], on_note: Callable[[str], None]
) -> Iterator[TrainEvent]:
    """The events; what is to be said of the text is said once the plan is made."""
    for event in events:
        if isinstance(event, Planned):
            for note in notes:
                on_note(note)
        yield event
