"""The library: `load` a model, and write, score or trace with it. Imports no torch.

The commands call these same functions. Those that train are in learning.py.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError, CorpusError
from chargen.inference.engine import Stepper, TokenIds
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import Step, generate, generate_batch
from chargen.inference.token_scores import total_nats
from chargen.insight.trace import Trace, record
from chargen.model.checkpoint import ModelFile, load_model
from chargen.model.runs import locate_model, read_run
from chargen.model.score import Score, make_score
from chargen.text.corpus import DOCUMENT_MODES
from chargen.text.dataset import TextOptions, options_from_json, reopen_store
from chargen.text.store import TokenStore
from chargen.text.tokenizer import Tokenizer, Tokens, token_lengths


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
    found = _own_text(model)
    return None if found is None else found[0]


def validation_text(model: Model) -> Tokens | None:
    """The part of its corpus that a model was validated on, as ids; None where it is not here."""
    found = _own_text(model)
    return None if found is None or not len(found[1]) else found[1]


def _own_text(model: Model) -> tuple[TokenStore, Tokens] | None:
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
    return reopen_store(options, model.tokenizer, card)


def draw_seed() -> int:
    """A seed for who gave none."""
    return int.from_bytes(os.urandom(4), "little")


def _seeded(settings: dict[str, Any]) -> dict[str, Any]:
    if settings.get("seed") is None:
        return {**settings, "seed": draw_seed()}
    return settings
