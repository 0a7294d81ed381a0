"""`compare`: cells side by side on one text, at equal cost, trained and then measured alike.

Each contestant is a run of its own, so that nothing is lost when a comparison is stopped: begun
again, it keeps the finished ones and goes on with the one that was interrupted.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chargen.api import Model, load, validation_text
from chargen.errors import CorpusError, UsageError, unknown_name
from chargen.files import parse_json
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.inference.token_scores import token_logprobs
from chargen.insight.comparison import ComparedRun
from chargen.insight.horizon import measure_horizon
from chargen.model.config import CELLS, ModelConfig
from chargen.model.runs import (
    CHECKPOINTS,
    METRICS,
    MODEL,
    TRAINING,
    check_run_name,
    read_run,
    run_stem,
)
from chargen.model.score import make_score
from chargen.text.tokenizer import Tokens, token_lengths
from chargen.train_api import resume, train
from chargen.training.events import Evaluated, Finished, Planned, StepDone, TrainEvent

EQUAL = {
    "time": "the same minutes for each, and of each the size that suits them",
    "parameters": "the same minutes, and as many weights as the first one",
    "steps": "as many steps, of the same size, as the first one",
}
"""What can be equal."""
_SCORED = 1 << 17
"""Tokens of the validation part that are scored at the end."""
_LEAST = 64
_BLOCKS = 64
"""Pieces of the text whose scores tell what chance of the text there is."""
_WRITTEN = 1500


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """What is to be compared."""

    corpus: tuple[str, ...]
    cells: tuple[str, ...] = ("rnn", "rnn-relu", "gru", "lstm")
    seeds: int = 1
    equal: str = "time"
    run: str | None = None
    """What the runs' names begin with; None takes the corpus's name."""
    overwrite: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    """As for `train`, for all of them."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        for one in self.cells:
            if one not in CELLS:
                raise UsageError(unknown_name("cell", one, CELLS))
        if len(set(self.cells)) < len(self.cells) or not self.cells:
            raise UsageError(f"--cells {','.join(self.cells)}: name each cell once")
        if self.equal not in EQUAL:
            raise UsageError(unknown_name("equal", self.equal, EQUAL))
        if not 1 <= self.seeds <= 100:
            raise UsageError(f"--seeds {self.seeds}: must be from 1 to 100")
        if self.run is not None:
            check_run_name(self.run)
        if "-" in self.corpus:
            raise UsageError(
                "'-' (standard input) can be read only once; give a file to compare on"
            )

    def names(self) -> list[tuple[str, int, str]]:
        """Cell, seed and run of each contestant; all cells once before a seed comes again."""
        stem = self.run or f"compare-{run_stem(self.corpus)}"
        return [
            (cell, seed, f"{stem}-{cell}" + (f"-{seed}" if self.seeds > 1 else ""))
            for seed in range(self.seeds)
            for cell in self.cells
        ]


def compare(
    contest: ComparisonPlan,
    *,
    on_note: Callable[[str], None] = lambda note: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[ComparedRun]]:
    """Train and measure; yields all contestants whenever something changed.

    Args:
        contest: what to compare.
        on_note: is told what a person should know, a line each.
        should_stop: asked after every step; when true, the run is saved and all ends.

    Raises:
        UsageError: a setting is wrong, or a run of that name is another one.
        CorpusError: the corpus cannot be read, or is too short.
        ChargenError: training or writing failed.
    """
    found = [ComparedRun(cell=cell, seed=seed, run=run) for cell, seed, run in contest.names()]
    yield found
    for one in found:
        one.stage = "training"
        wished = _wishes(contest, one, found[0])
        for event in _events(contest, one, wished, on_note, should_stop):
            if isinstance(event, Planned) and event.valid_tokens < _LEAST:
                raise CorpusError(
                    f"the validation part has {event.valid_tokens} tokens: too few to compare by; "
                    "give a longer text"
                )
            _learn(one, event)
            yield found
        if should_stop():
            return
        one.stage = "measuring"
        yield found
        _measure(one)
        one.stage = "done"
        yield found


def _wishes(contest: ComparisonPlan, one: ComparedRun, first: ComparedRun) -> dict[str, Any]:
    """What this contestant is trained with, so that it is as equal to the first as was asked."""
    wished = {**contest.settings, "cell": one.cell, "seed": one.seed}
    shape = first.config
    if shape is None or one is first:
        return wished
    if contest.equal == "parameters":
        size = _as_many(shape, one.cell)
        width = size if shape.tied_head else shape.embedding_size
        return {**wished, "hidden_size": size, "embedding_size": width, "groups": shape.groups}
    if contest.equal == "steps":
        wished.pop("minutes", None)
        sizes = {"hidden_size": shape.hidden_size, "groups": shape.groups}
        return {**wished, "steps": first.steps, **sizes}
    return wished


def _as_many(shape: ModelConfig, cell: str) -> int:
    """Units with which another cell has as many weights, as nearly as may be."""
    sizes = range(8 * shape.groups, 8 * shape.hidden_size, shape.groups)

    def distance(size: int) -> int:
        width = size if shape.tied_head else shape.embedding_size
        other = replace(shape, cell=cell, hidden_size=size, embedding_size=width)
        return abs(other.num_parameters - shape.num_parameters)

    return min(sizes, key=distance)


def _events(
    contest: ComparisonPlan,
    one: ComparedRun,
    wished: dict[str, Any],
    on_note: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> Iterator[TrainEvent]:
    """A run's events: from its beginning, from where it stopped, or none for a finished one."""
    folder = CHECKPOINTS / one.run
    if (folder / TRAINING).is_file() and not contest.overwrite:
        known = read_run(folder)
        if not _is_same(known, wished, contest.corpus):
            raise UsageError(
                f"{folder}: a run with other settings; choose another --run NAME, or add "
                "--overwrite"
            )
        _remember(one, folder)
        if known.get("status") in ("done", "early stop") and (folder / MODEL).is_file():
            on_note(f"{one.run}: kept as it is, finished before")
            one.share = 1.0
            return
        on_note(f"{one.run}: goes on from where it stopped")
        yield from resume(folder, on_note=on_note, should_stop=should_stop)
        return
    yield from train(
        contest.corpus, run=one.run, overwrite=contest.overwrite, on_note=on_note,
        should_stop=should_stop, **wished,
    )  # fmt: skip


def _remember(one: ComparedRun, folder: Path) -> None:
    """What the run's own records say of its course so far."""
    one.config = load(folder).config if (folder / MODEL).is_file() else None
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        try:
            value = parse_json(line)
        except ValueError:
            continue
        if not isinstance(value, dict) or not is_number(value.get("seconds")):
            continue
        if value.get("event") == "evaluation" and is_number(value.get("bits_per_byte")):
            one.seconds.append(float(value["seconds"]))
            one.curve.append(float(value["bits_per_byte"]))
            one.bits_per_byte = min(one.curve)
        elif value.get("event") == "step" and is_number(value.get("tokens")):
            one.advance(int(value["step"]), value["tokens"], float(value["seconds"]))


def is_number(value: Any) -> bool:
    """Whether a record's value is what it should be."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same(known: Mapping[str, Any], wished: Mapping[str, Any], corpus: Sequence[str]) -> bool:
    """Whether a run that is there is the one that would be made."""
    there = {**known.get("train", {}), **known.get("model", {})}
    text = known.get("text", {})
    names = [Path(one).name for one in text.get("corpus", [])] if isinstance(text, dict) else []
    about_text = {one: wished[one] for one in wished if one in text and wished[one] is not None}
    rest = {
        one: value for one, value in wished.items() if one in there and value is not None
    }  # fmt: skip
    return (
        names == [Path(one).name for one in corpus]
        and all(text[one] == value for one, value in about_text.items())
        and all(there[one] == value for one, value in rest.items())
    )


def _learn(one: ComparedRun, event: TrainEvent) -> None:
    """Take in what an event says."""
    if isinstance(event, Planned):
        one.config = event.model
    elif isinstance(event, StepDone):
        one.share = event.step / max(1, event.steps)
        one.advance(event.step, event.tokens, event.seconds)
    elif isinstance(event, Evaluated):
        one.seconds.append(event.seconds)
        one.curve.append(event.score.bits_per_byte)
        one.bits_per_byte = min(one.curve)
    elif isinstance(event, Finished):
        one.steps, one.share = event.step, 1.0


def _measure(one: ComparedRun) -> None:
    """Score, writing speed, memory horizon and gradient reach, as they are of the best weights."""
    from chargen.insight.gradients import measure_gradient_norms

    model = load(CHECKPOINTS / one.run)
    one.config = model.config
    ids = validation_text(model)
    if ids is None or len(ids) < _LEAST:
        raise CorpusError(
            f"the validation part has too few tokens to compare; give {_LEAST} or more"
        )
    ids = ids[:_SCORED]
    _score(one, model, ids)
    one.characters_per_second = _writing_speed(model)
    one.horizon = measure_horizon(model.stepper, ids).horizon
    reach = measure_gradient_norms(model.config, model.file.weights, ids)
    one.half_life, one.verdict = reach.half_life, reach.verdict


def _score(one: ComparedRun, model: Model, ids: Tokens) -> None:
    nats = -token_logprobs(model.stepper, ids).astype(np.float64)
    lengths = token_lengths(model.tokenizer)
    predicted = np.bincount(ids[1:], minlength=model.config.vocab_size)
    one.bits_per_byte = make_score(float(nats.sum()), predicted, lengths).bits_per_byte
    bounds = np.arange(_BLOCKS + 1) * len(nats) // _BLOCKS
    sizes = lengths[0][np.asarray(ids[1:], np.int64)]
    one.blocks = np.array(
        [
            nats[low:high].sum() / np.log(2) / max(1, int(sizes[low:high].sum()))
            for low, high in itertools.pairwise(bounds)
        ]
    )


def _writing_speed(model: Model) -> float:
    began = time.perf_counter()
    steps = generate(
        model.stepper, model.tokenizer, np.empty(0, np.int64), SampleConfig(length=_WRITTEN, seed=0)
    )
    count = sum(len(step.text) for step in steps)
    return count / (time.perf_counter() - began)
