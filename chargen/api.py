"""`load` a model, and write, score or trace with it. Imports no torch.

The commands call these functions too. Those that train are in train_api.py.
"""

from __future__ import annotations

import numbers
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import (
    ModelFileError,
    UnseenWarning,
    UsageError,
    unknown_name,
)
from chargen.inference.batched_read import ProgressCallback, ignore_progress
from chargen.inference.engine import Stepper, TokenIds
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate, generate_batch
from chargen.inference.many import WrittenText, write_many
from chargen.inference.memory_file import Memory, load_memory, memory_path
from chargen.inference.particles import check_alone, write_looking_ahead
from chargen.inference.remembering import DEFAULT_MEMORY, MEMORY_MODES, MemoryReader
from chargen.inference.writer import Step
from chargen.insight.trace import Trace, record
from chargen.model.bases import is_base
from chargen.model.checkpoint import ModelFile, load_model
from chargen.model.runs import locate_model
from chargen.model.score import Score
from chargen.own_corpus import copy_index
from chargen.scoring import MemoryScores, score, score_with_memory
from chargen.text.corpus_tokenizer import (
    begun_by,
    first_label,
    label_id,
    labels_of,
    parse_mixture,
)
from chargen.text.overlap import CopyIndex
from chargen.text.tokenizer import UNKNOWN_POLICIES, Tokenizer, Tokens
from chargen.text.unseen import unseen_lines


class Model:
    """A model, ready to write. It may be used by several threads, copied, and pickled.

    Args:
        file: what was read from a model file.
        path: the file; None for a model that was never saved.
    """

    def __init__(self, file: ModelFile, path: Path | None = None) -> None:
        self.file = file
        self.path = path
        self.config = file.config
        self.card = file.card
        self.tokenizer: Tokenizer = file.build_tokenizer()
        self.memory_problem: str | None = None
        """Why the memory beside the model could not be read; None where it was, or is not there."""
        self._memory: Memory | None = None
        self._memory_read = False
        self._copies: CopyIndex | None = None
        self._copies_sought = False
        self._begin_with({label: 1 / len(self.labels) for label in self.labels})

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or what another process gets, is made anew from the file's content."""
        return _rebuilt, (self.file, self.path, self.mixture)

    @property
    def vocab_size(self) -> int:
        """How many tokens the model knows."""
        return self.config.vocab_size

    @property
    def memory(self) -> Memory | None:
        """The counts beside the network; None for a model without them (see `memory_problem`)."""
        if not self._memory_read:
            self._memory_read = True
            path = None if self.path is None else memory_path(self.path)
            if path is not None and path.exists():
                try:
                    self._memory = load_memory(path, self.file)
                except ModelFileError as error:
                    self.memory_problem = f"{error}; going on without it"
        return self._memory

    @property
    def copies(self) -> CopyIndex | None:
        """What finds copies from the training text; None where that text is not here."""
        if not self._copies_sought:
            self._copies_sought = True
            self._copies = copy_index(self)
        return self._copies

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of documents that the model learned; most models have none."""
        return labels_of(self.tokenizer)

    def labelled(self, label: str) -> Model:
        """The same model, whose texts begin with a label; they begin with all alike by default.

        Args:
            label: one of `labels`, or several with weights (`austen:0.7,poe:0.3`), whose
                embeddings are averaged.

        Raises:
            UsageError: there is no such label, or a weight is no number above 0.
        """
        return _rebuilt(self.file, self.path, parse_mixture(label, self.tokenizer))

    def _begin_with(self, mixture: dict[str, float]) -> None:
        self.mixture = mixture
        """The share of each label with which texts begin."""
        if mixture:
            self.tokenizer = begun_by(self.tokenizer, next(iter(mixture)))
        self.stepper = self.fresh_stepper()

    def fresh_stepper(self) -> Stepper:
        """A stepper of the weights of the file."""
        weights = self.file.weights
        if len(self.mixture) > 1:
            # Labels are never drawn, so the row of one of them can hold the mean.
            embedding = weights["embedding.weight"].copy()
            rows = [label_id(self.tokenizer, name) for name in self.mixture]
            shares = np.array(list(self.mixture.values()), np.float32)
            embedding[rows[0]] = shares @ embedding[rows]
            weights = {**weights, "embedding.weight": embedding}
        return Stepper(self.config, weights)

    @property
    def stepper(self) -> Stepper:
        """The model's stepper in this thread: all share the weights, none shares buffers."""
        own: Stepper | None = getattr(self._steppers, "own", None)
        if own is None:
            own = self._steppers.own = self._stepper.fresh()
        return own

    @stepper.setter
    def stepper(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._steppers = threading.local()
        self._steppers.own = stepper

    def encode(self, text: str, unknown: str = "nearest") -> TokenIds:
        """Ids (N,) of a text; warns (`UnseenWarning`) of characters that the model never saw.

        Raises:
            UsageError: `unknown` is `error` and a character has no token.
        """
        return self._read(text, unknown)

    def _read(self, text: str | bytes, unknown: str = "nearest", *, callers: int = 1) -> TokenIds:
        """Ids (N,) of a text; the warning names the line that called the calling method.

        Args:
            text: what is read.
            unknown: what happens to characters that the model never saw.
            callers: how many functions of chargen are between that line and this one.
        """
        if not isinstance(text, str | bytes):
            raise UsageError(f"the text is a {type(text).__name__}; give a str")
        if unknown not in UNKNOWN_POLICIES:
            raise UsageError(unknown_name("unknown", str(unknown), UNKNOWN_POLICIES))
        ids = self.tokenizer.encode(text, unknown)
        for line in unseen_lines(self.tokenizer, [text], unknown):
            warnings.warn(line, UnseenWarning, stacklevel=2 + callers)
        return ids

    def generate(
        self,
        prompt: str = "",
        *,
        unknown: str = "nearest",
        memory: str = DEFAULT_MEMORY,
        progress: ProgressCallback = ignore_progress,
        **settings: Any,
    ) -> Iterator[Step]:
        """Writes after a prompt, step by step; joined, the steps' texts are the continuation.

        Args:
            prompt: read first; without one, the text begins as a document begins.
            unknown: what happens to characters that the model never saw: `nearest`, `skip` or
                `error`.
            memory: a row of `MEMORY_MODES`: `off`, `text` (the counts of the training text) or
                `session` (these, growing with the prompt and what is written).
            progress: called with the share of the prompt that is read, from 0 to 1.
            settings: fields of `SampleConfig`. Without a seed, one is drawn.

        Raises:
            UsageError: a setting is unknown or out of range, or what is asked of the text cannot
                be done with this model.
        """
        config = _sample_config(settings)
        ids = self._read(prompt, unknown)
        if config.lookahead:
            texts = self._look_ahead(ids, config, 1, memory, progress)
            return (step for _, step in texts)
        return generate(
            self.stepper,
            self.tokenizer,
            ids,
            config,
            memory=self.memory_reader(memory),
            copies=self._copies_for(config),
            progress=progress,
        )

    def generate_batch(
        self,
        prompt: str,
        count: int,
        *,
        unknown: str = "nearest",
        memory: str = DEFAULT_MEMORY,
        progress: ProgressCallback = ignore_progress,
        **settings: Any,
    ) -> Iterator[tuple[int, Step]]:
        """Writes several texts side by side: (number of the text, step); see `generate`.

        Raises:
            UsageError: a setting is unknown or out of range.
        """
        config = _sample_config(settings)
        _check_count(count)
        ids = self._read(prompt, unknown)
        if config.lookahead:
            return self._look_ahead(ids, config, count, memory, progress)
        return generate_batch(
            self.stepper,
            self.tokenizer,
            ids,
            config,
            count,
            memories=self._memories(memory),
            copies=self._copies_for(config),
            progress=progress,
        )

    def generate_many(
        self,
        prompts: Iterable[str],
        count: int = 1,
        *,
        unknown: str = "nearest",
        memory: str = DEFAULT_MEMORY,
        **settings: Any,
    ) -> Iterator[WrittenText]:
        """Writes `count` whole texts after each of many prompts, side by side.

        The texts come in the order of their prompts, each as soon as it and all before it are
        ready. Prompts are read as they are needed, at most 256 texts ahead, so a million of them
        take no more memory than a few. Prompt p of the same seed draws the same whatever the other
        prompts are; the first draws as `generate` does.

        If reading the prompts raises an error, the texts after those before it come first.

        Args:
            prompts: any iterable; one may come slowly, but all rows wait for it.
            count: how many texts after each prompt.
            unknown: as of `generate`.
            memory: as of `generate`; every text has its own.
            settings: fields of `SampleConfig`. Without a seed, one is drawn for all.

        Raises:
            UsageError: a setting is unknown or out of range, or a prompt is no text.
        """
        config = _sample_config(settings)
        _check_count(count)
        if isinstance(prompts, str | bytes) or not isinstance(prompts, Iterable):
            kind = type(prompts).__name__
            raise UsageError(f"prompts is a {kind}; give a list of texts, or what yields them")
        # Between this line and the one that asks for a text are this expression, and three
        # functions of many.py.
        read = ((prompt, self._read(prompt, unknown, callers=4)) for prompt in prompts)
        return write_many(
            self.stepper,
            self.tokenizer,
            read,
            config,
            count,
            memories=self._memories(memory),
            copies=self._copies_for(config),
        )

    def _memories(self, mode: str) -> Callable[[int], MemoryReader] | None:
        """Makes what mixes the counts in, for so many texts; None without counts."""
        return None if self.memory_reader(mode) is None else partial(self._reader, mode)

    def _copies_for(self, config: SampleConfig) -> CopyIndex | None:
        """The index of the training text, where something that is asked for needs it."""
        needed = config.max_copy or config.rhyme or config.syllables
        return self.copies if needed else None

    def _look_ahead(
        self,
        ids: TokenIds,
        config: SampleConfig,
        count: int,
        memory: str,
        progress: ProgressCallback,
    ) -> Iterator[tuple[int, Step]]:
        """The steps of texts that are written one after the other, each looking ahead."""
        check_alone(config)
        if memory == "session":
            raise UsageError("lookahead cannot be combined with memory 'session'; use text")
        self.memory_reader(memory)  # refuses an unknown mode before anything is written

        def steps(number: int) -> Iterator[Step]:
            reader = self.memory_reader(memory, config.lookahead)
            return write_looking_ahead(
                self.stepper, self.tokenizer, ids, config, number, reader, progress
            )

        return ((number, step) for number in range(count) for step in steps(number))

    def memory_reader(self, mode: str, rows: int = 1) -> MemoryReader | None:
        """What mixes the counts in while `rows` texts are written; None without counts.

        Raises:
            UsageError: there is no such mode.
        """
        if mode not in MEMORY_MODES:
            raise UsageError(unknown_name("memory", str(mode), MEMORY_MODES))
        if mode == "off" or self.memory is None:
            return None
        return self._reader(mode, rows)

    def _reader(self, mode: str, rows: int) -> MemoryReader:
        assert self.memory is not None
        return MemoryReader(self.memory, rows, grows=mode == "session")

    def score(self, text: str | bytes, way: str = "numpy") -> Score:
        """How well the model predicts a text, read once from a zero state to its end.

        Args:
            text: what is scored.
            way: a row of `chargen.scoring.WAYS`, or `auto`; `numpy` loads no torch.

        Raises:
            CorpusError: the text has fewer than two tokens.
            ChargenError: there is no such way, or the model's numbers overflow.
        """
        ids = np.concatenate([first_label(self.tokenizer), self._read(text)])
        return self.score_tokens(ids, way)

    def score_with_memory(self, text: str | bytes, dynamic: str | None = None) -> MemoryScores:
        """How well network and counts predict a text, together and each alone.

        Args:
            text: what is scored.
            dynamic: what learns while it is read: `counts`, `weights` or `both`; None: nothing.

        Raises:
            UsageError: the model has no memory.
            CorpusError: the text has fewer than two tokens.
        """
        if self.memory is None:
            raise UsageError(self.memory_problem or "this model has no memory of counts")
        ids = np.concatenate([first_label(self.tokenizer), self._read(text)])
        return score_with_memory(self.stepper, self.memory, self.tokenizer, ids, dynamic)

    def score_tokens(self, ids: TokenIds | Tokens, way: str = "numpy") -> Score:
        """`score` of ids (N,), which may lie in a memory map.

        Raises:
            UsageError: these are not ids of the model.
        """
        array = np.asarray(ids)
        whole = array.dtype.kind in "ui" and array.ndim == 1
        if not whole or (len(array) and not 0 <= array.min() <= array.max() < self.vocab_size):
            raise UsageError(
                f"ids must be whole numbers below {self.vocab_size}, in an array of one dimension"
            )
        return score(self.stepper, self.tokenizer, ids, way)

    def trace(self, text: str, unknown: str = "nearest") -> Trace:
        """Everything that goes on inside while a text is read."""
        return record(self.stepper, self._read(text, unknown))


def _rebuilt(file: ModelFile, path: Path | None, mixture: dict[str, float]) -> Model:
    model = Model(file, path)
    if mixture != model.mixture:
        model._begin_with(mixture)
    return model


def load(model: str | os.PathLike[str] | None = None) -> Model:
    """Loads a model file, a run folder, a run below ./checkpoints, or a model in the box.

    None is the newest run, and where there is none, `english`.

    Raises:
        ModelFileError: there is none, or it is damaged or not ours.
    """
    path = locate_model(None if model is None else os.fspath(model))
    try:
        return Model(load_model(path), path)
    except ModelFileError as error:
        if not is_base(path):
            raise
        raise ModelFileError(f"{error}; install chargen again, or name a run") from error


def draw_seed() -> int:
    """A random seed, for whoever gave none."""
    return int.from_bytes(os.urandom(4), "little")


def _check_count(count: Any) -> None:
    if not isinstance(count, numbers.Integral) or count < 1:
        raise UsageError(f"count {count!r}: must be a whole number, at least 1")


def _sample_config(settings: dict[str, Any]) -> SampleConfig:
    names = {field.name for field in fields(SampleConfig)}
    for name in settings.keys() - names:
        raise UsageError(unknown_name("setting", name, names))
    if settings.get("seed") is None:
        settings = {**settings, "seed": draw_seed()}
    return SampleConfig(**settings)
