"""The result of a comparison: which cell predicts best, by how much, and how sure that is.

It has the compared runs, their ranking, and the verdict as a sentence with its uncertainty. It does
not know how the runs are trained or shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chargen.files import finite_or_none
from chargen.insight.confidence import CONFIDENCE, margin, margin_of_difference
from chargen.insight.plot import Numbers
from chargen.model.config import CELLS, ModelConfig


@dataclass(kw_only=True)
class ComparedRun:
    """One run of a comparison, with all that is measured so far."""

    cell: str
    seed: int
    run: str
    stage: str = "waiting"
    """`waiting`, `training`, `measuring`, `done`."""
    share: float = 0.0
    """Share of the training that is done."""
    seconds: list[float] = field(default_factory=list)
    """Training time at each point of `curve`."""
    curve: list[float] = field(default_factory=list)
    """Bits per byte of the validation part at these times."""
    config: ModelConfig | None = None
    steps: int = 0
    tokens_per_second: float = 0.0
    bits_per_byte: float = math.nan
    blocks: Numbers = field(default_factory=lambda: np.empty(0), repr=False)
    """Bits per byte of each block of the text: how much the score varies over the text."""
    characters_per_second: float = 0.0
    """Speed of writing."""
    timed_from: tuple[float, float] | None = None
    """Tokens and seconds at the first step; the speed counts from there."""
    horizon: float = math.nan
    """Memory horizon in tokens."""
    half_life: float = math.nan
    """Steps in which the gradient halves."""
    verdict: str = ""
    """`vanishing`, `healthy` or `exploding`: what the gradient does."""

    def advance(self, step: int, tokens: float, seconds: float) -> None:
        """Records a training step, and the speed since the first one."""
        self.steps = step
        if self.timed_from is None:
            self.timed_from = tokens, seconds
        first_tokens, first_seconds = self.timed_from
        if seconds > first_seconds:
            self.tokens_per_second = (tokens - first_tokens) / (seconds - first_seconds)

    def snapshot(self) -> ComparedRun:
        """A copy for another thread: its lists do not grow while the run goes on."""
        return replace(self, seconds=list(self.seconds), curve=list(self.curve))

    def to_json(self) -> dict[str, Any]:
        """Plain values; None for a number that is not finite."""
        assert self.config is not None
        return {
            "cell": self.cell,
            "seed": self.seed,
            "run": self.run,
            "bits_per_byte": finite_or_none(self.bits_per_byte),
            "steps": self.steps,
            "tokens_per_second": self.tokens_per_second,
            "hidden_size": self.config.hidden_size,
            "parameters": self.config.num_parameters,
            "megabytes": self.config.num_parameters * 4 / 1e6,
            "characters_per_second": self.characters_per_second,
            "horizon": finite_or_none(self.horizon),
            "half_life": finite_or_none(self.half_life),
            "gradient": self.verdict,
            "seconds": self.seconds,
            "curve": self.curve,
        }


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """A cell with the finished runs of all its seeds: one line of the ranking."""

    cell: str
    runs: tuple[ComparedRun, ...]

    @property
    def bits_per_byte(self) -> float:
        """The mean over the seeds."""
        return self.mean("bits_per_byte")

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; NaN with a single one."""
        if len(self.runs) < 2:
            return math.nan
        return float(np.std([run.bits_per_byte for run in self.runs], ddof=1))

    def mean(self, name: str) -> float:
        """The mean over the seeds of an attribute of the runs."""
        return float(np.mean([getattr(run, name) for run in self.runs]))


def rankings(runs: Sequence[ComparedRun]) -> list[Ranking]:
    """The cells with finished runs, the best first."""
    finished: dict[str, list[ComparedRun]] = {run.cell: [] for run in runs}
    for run in runs:
        if run.stage == "done":
            finished[run.cell].append(run)
    rows = [Ranking(cell=cell, runs=tuple(done)) for cell, done in finished.items() if done]
    return sorted(rows, key=lambda row: row.bits_per_byte)


def verdict(runs: Sequence[ComparedRun], how: str) -> str:
    """A sentence: which cell predicts best, by how much, and how sure that is.

    The margin is a confidence interval by Student's t: over several seeds, from the scores of the
    seeds; with one seed each, from the differences over the blocks of the text.

    Args:
        runs: the compared runs.
        how: under which condition, in words.
    """
    ranked = rankings(runs)
    if not ranked:
        return "nothing was finished, so nothing can be said"
    best = ranked[0]
    label = CELLS[best.cell].label
    if len(ranked) == 1:
        return f"{label}: {best.bits_per_byte:.3f} bits a byte {how}"
    second = ranked[1]
    gap = second.bits_per_byte - best.bits_per_byte
    seeds = min(len(best.runs), len(second.runs))
    if seeds > 1:
        scores = [[run.bits_per_byte for run in row.runs] for row in (best, second)]
        around = margin_of_difference(*scores)
        source = f"over {seeds} seeds"
    else:
        around = margin(second.runs[0].blocks - best.runs[0].blocks)
        source = "by this text; one seed each; --seeds 3 would show what chance adds"
    source = f"{CONFIDENCE:.0%} confidence by Student's t, {source}"
    other = CELLS[second.cell].label
    if gap > around:
        return (
            f"{label} predicts best {how}: {best.bits_per_byte:.3f} bits a byte, {gap:.3f} ± "
            f"{around:.3f} fewer than {other} ({source})"
        )
    return (
        f"{label} and {other} cannot be told apart {how}: {best.bits_per_byte:.3f} and "
        f"{second.bits_per_byte:.3f} bits a byte, {gap:.3f} ± {around:.3f} apart ({source})"
    )
