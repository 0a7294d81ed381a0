"""`compare`: trains several cells on one text at equal cost, and measures them in the same way.

Each cell and seed is a separate run. A stopped comparison that is started again with the same plan
keeps the finished runs and continues the interrupted run. How the result is ranked and worded is
in `chargen.insight.comparison`; how it is shown, in `chargen.terminal`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chargen.api import Model, load
from chargen.errors import ChargenError, CorpusError, UsageError, unknown_name
from chargen.files import is_plain_number, parse_json, write_json
from chargen.hints import option, ways
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.inference.token_scores import token_logprobs
from chargen.insight.comparison import ComparedRun
from chargen.insight.horizon import measure_horizon
from chargen.model.config import CELLS, ModelConfig
from chargen.model.runs import (
    CHECKPOINTS,
    COMPARISON,
    FINISHED,
    METRICS,
    MODEL,
    TRAINING,
    check_run_name,
    read_run,
    run_stem,
)
from chargen.model.score import make_score
from chargen.own_corpus import validation_text
from chargen.text.tokenizer import Tokens, token_lengths
from chargen.train_api import resume, train
from chargen.training.events import (
    Evaluated,
    Finished,
    Planned,
    Saved,
    StepDone,
    TrainEvent,
)

EQUAL = {
    "time": "the same minutes for each cell, with the model size that fits them",
    "parameters": "the same minutes for each cell, with as many weights as the first cell",
    "steps": "as many steps, and the same hidden size, as the first cell",
}
"""What can be equal for all cells."""
_MAX_SCORED_TOKENS = 1 << 17
"""Tokens of the validation part that are scored at the end."""
_MIN_VALID_TOKENS = 64
_SCORE_BLOCKS = 64
"""Blocks of the text that are also scored one by one; their spread gives the error of the score."""
_WRITTEN_TOKENS = 1500
"""Tokens that are written to measure the writing speed."""


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """What to compare, and how."""

    corpus: tuple[str, ...]
    """CORPUS arguments, as for `train`."""
    cells: tuple[str, ...] = ("rnn", "rnn-relu", "gru", "lstm")
    seeds: int = 1
    """Runs of each cell; their seeds are 0, 1, ..."""
    equal: str = "time"
    """What is equal for all cells: a key of `EQUAL`."""
    run: str | None = None
    """The beginning of the runs' names; None takes the name of the corpus."""
    overwrite: bool = False
    """Replace existing runs instead of continuing them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `train`, for all runs."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read.

        Raises:
            UsageError: a cell, `equal`, `seeds`, `run` or `corpus` is wrong.
        """
        for cell in self.cells:
            if cell not in CELLS:
                raise UsageError(unknown_name("cell", cell, CELLS))
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

    def runs(self) -> list[ComparedRun]:
        """The runs before they begin: each cell with the first seed, then with the next."""
        stem = self.run or f"compare-{run_stem(self.corpus)}"
        return [
            ComparedRun(
                cell=cell, seed=seed, run=f"{stem}-{cell}" + (f"-{seed}" if self.seeds > 1 else "")
            )
            for seed in range(self.seeds)
            for cell in self.cells
        ]


def compare(
    plan: ComparisonPlan,
    *,
    on_note: Callable[[str], None] = lambda note: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[ComparedRun]]:
    """Train and measure; yields the list of all runs whenever something in it has changed.

    Args:
        plan: what to compare.
        on_note: receives messages for a person, one line each.
        should_stop: called after every step; if it returns true, the run is saved and the
            comparison ends.

    Raises:
        UsageError: a setting is wrong, or a run of that name has other settings.
        CorpusError: the corpus cannot be read, or is too short.
        ChargenError: training or writing failed.
    """
    runs = plan.runs()
    yield runs
    for compared in runs:
        compared.stage = "training"
        settings = _settings_of(plan, compared, runs[0])
        for event in _train(plan, compared, settings, on_note, should_stop):
            if isinstance(event, Planned) and event.valid_tokens < _MIN_VALID_TOKENS:
                raise _too_few_tokens(event.valid_tokens)
            _apply_event(compared, event)
            if isinstance(event, Evaluated | Saved):
                _mark(compared, runs)
            yield runs
        _mark(compared, runs)  # also a run that an earlier comparison finished
        if should_stop():
            return
        compared.stage = "measuring"
        yield runs
        _measure(compared)
        compared.stage = "done"
        yield runs


def _settings_of(plan: ComparisonPlan, compared: ComparedRun, first: ComparedRun) -> dict[str, Any]:
    """The settings of a run, with `plan.equal` taken from the first run."""
    settings = {**plan.settings, "cell": compared.cell, "seed": compared.seed}
    shape = first.config
    if shape is None or compared is first:
        return settings
    if plan.equal == "parameters":
        size = _hidden_size_for(shape, compared.cell)
        width = size if shape.tied_head else shape.embedding_size
        return {**settings, "hidden_size": size, "embedding_size": width, "groups": shape.groups}
    if plan.equal == "steps":
        settings.pop("minutes", None)
        sizes = {"hidden_size": shape.hidden_size, "groups": shape.groups}
        return {**settings, "steps": first.steps, **sizes}
    return settings


def _hidden_size_for(shape: ModelConfig, cell: str) -> int:
    """The hidden size that gives another cell the closest number of weights."""
    sizes = range(8 * shape.groups, 8 * shape.hidden_size, shape.groups)

    def difference(size: int) -> int:
        width = size if shape.tied_head else shape.embedding_size
        other = replace(shape, cell=cell, hidden_size=size, embedding_size=width)
        return abs(other.num_parameters - shape.num_parameters)

    return min(sizes, key=difference)


def _train(
    plan: ComparisonPlan,
    compared: ComparedRun,
    settings: dict[str, Any],
    on_note: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> Iterator[TrainEvent]:
    """Begin or continue a run; yields its events, or none if it is finished."""
    folder = CHECKPOINTS / compared.run
    if (folder / TRAINING).is_file() and not plan.overwrite:
        record = read_run(folder)
        if not _is_same_run(record, settings, plan.corpus):
            raise UsageError(
                f"{folder}: a run with other settings"
                + ways(("choose another", option("--run", "NAME")), ("add", option("--overwrite")))
            )
        _restore(compared, folder)
        if record.get("status") in FINISHED and (folder / MODEL).is_file():
            on_note(f"{compared.run}: already finished, kept as it is")
            compared.share = 1.0
            return
        on_note(f"{compared.run}: continues where it stopped")
        yield from resume(folder, on_note=on_note, should_stop=should_stop)
        return
    yield from train(
        plan.corpus, run=compared.run, overwrite=plan.overwrite, on_note=on_note,
        should_stop=should_stop, memory=False, **settings,
    )  # fmt: skip


def _mark(compared: ComparedRun, runs: Sequence[ComparedRun]) -> None:
    """Notes in the run's folder which comparison it belongs to: the latest, if there are two."""
    path, content = CHECKPOINTS / compared.run / COMPARISON, {"runs": [run.run for run in runs]}
    with suppress(ChargenError, OSError, ValueError):  # a full disk does not end a comparison
        if not path.exists() or parse_json(path.read_text(encoding="utf-8")) != content:
            write_json(path, content)


def _restore(compared: ComparedRun, folder: Path) -> None:
    """Read the history of a run from its folder; damaged lines are left out."""
    compared.config = load(folder).config if (folder / MODEL).is_file() else None
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if not isinstance(record, dict) or not is_plain_number(record.get("seconds")):
            continue
        seconds = float(record["seconds"])
        if record.get("event") == "evaluation" and is_plain_number(record.get("bits_per_byte")):
            _add_score(compared, seconds, float(record["bits_per_byte"]))
        elif record.get("event") == "step" and is_plain_number(record.get("tokens")):
            compared.advance(int(record["step"]), record["tokens"], seconds)


def _is_same_run(
    record: Mapping[str, Any], settings: Mapping[str, Any], corpus: Sequence[str]
) -> bool:
    """Whether the record of a run agrees with the corpus and with every setting that is given.

    A setting that the record does not have, or whose value is None (planned), agrees.
    """
    text = record.get("text", {})
    recorded_corpus = text.get("corpus", []) if isinstance(text, dict) else []
    if [Path(name).name for name in recorded_corpus] != [Path(name).name for name in corpus]:
        return False
    given = {name: value for name, value in settings.items() if value is not None}
    return all(
        recorded[name] == value
        for recorded in (text, {**record.get("train", {}), **record.get("model", {})})
        for name, value in given.items()
        if name in recorded
    )


def _apply_event(compared: ComparedRun, event: TrainEvent) -> None:
    """Bring a run up to date with an event of its training."""
    if isinstance(event, Planned):
        compared.config = event.model
    elif isinstance(event, StepDone):
        compared.share = event.step / max(1, event.steps)
        compared.advance(event.step, event.tokens, event.seconds)
    elif isinstance(event, Evaluated):
        _add_score(compared, event.seconds, event.score.bits_per_byte)
    elif isinstance(event, Finished):
        compared.steps, compared.share = event.step, 1.0


def _add_score(compared: ComparedRun, seconds: float, bits_per_byte: float) -> None:
    compared.seconds.append(seconds)
    compared.curve.append(bits_per_byte)
    compared.bits_per_byte = min(compared.curve)


def _measure(compared: ComparedRun) -> None:
    """Measure score, writing speed, memory horizon and gradient norms of the best weights."""
    from chargen.insight.gradients import measure_gradient_norms

    model = load(CHECKPOINTS / compared.run)
    compared.config = model.config
    ids = validation_text(model)
    if ids is None or len(ids) < _MIN_VALID_TOKENS:
        raise _too_few_tokens(0 if ids is None else len(ids))
    ids = ids[:_MAX_SCORED_TOKENS]
    _score(compared, model, ids)
    compared.characters_per_second = _writing_speed(model)
    compared.horizon = measure_horizon(model.stepper, ids).horizon
    norms = measure_gradient_norms(model.config, model.file.weights, ids)
    compared.half_life, compared.verdict = norms.half_life, norms.verdict


def _score(compared: ComparedRun, model: Model, ids: Tokens) -> None:
    """Score the text (N,) as a whole, and each of its blocks, in bits per byte."""
    nats = -token_logprobs(model.stepper, ids).astype(np.float64)
    lengths = token_lengths(model.tokenizer)
    predicted = np.bincount(ids[1:], minlength=model.config.vocab_size)
    compared.bits_per_byte = make_score(float(nats.sum()), predicted, lengths).bits_per_byte
    bounds = np.arange(_SCORE_BLOCKS + 1) * len(nats) // _SCORE_BLOCKS
    sizes = lengths[0][np.asarray(ids[1:], np.int64)]
    compared.blocks = np.array(
        [
            nats[low:high].sum() / np.log(2) / max(1, int(sizes[low:high].sum()))
            for low, high in itertools.pairwise(bounds)
        ]
    )


def _writing_speed(model: Model) -> float:
    """Characters a second that the model writes."""
    began = time.perf_counter()
    steps = generate(
        model.stepper,
        model.tokenizer,
        np.empty(0, np.int64),
        SampleConfig(length=_WRITTEN_TOKENS, seed=0),
    )
    count = sum(len(step.text) for step in steps)
    return count / (time.perf_counter() - began)


def _too_few_tokens(count: int) -> CorpusError:
    return CorpusError(
        f"the validation part has too few tokens ({count}; a comparison needs at least "
        f"{_MIN_VALID_TOKENS}); give a longer text"
    )
