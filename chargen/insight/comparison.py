"""What came of a comparison: contestants, rankings, and a sentence with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.model.config import CELLS, ModelConfig

Numbers = npt.NDArray[np.float64]


@dataclass(kw_only=True)
class ComparedRun:
    """One run, as far as it is known by now."""

    cell: str
    seed: int
    run: str
    stage: str = "waiting"
    """`waiting`, `training`, `measuring`, `done`."""
    share: float = 0.0
    """Of the training."""
    seconds: list[float] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)
    """Bits a byte of the validation part after so many seconds."""
    config: ModelConfig | None = None
    steps: int = 0
    tokens_per_second: float = 0.0
    bits_per_byte: float = math.nan
    blocks: Numbers = field(default_factory=lambda: np.empty(0), repr=False)
    """Bits a byte of each block of the text: what chance of the text there is."""
    characters_per_second: float = 0.0
    """Writing."""
    begun: tuple[float, float] | None = None
    """Tokens and seconds at the first step that counts: those before it warm up."""
    horizon: float = math.nan
    half_life: float = math.nan
    verdict: str = ""
    """Of the gradient."""

    def advance(self, step: int, tokens: float, seconds: float) -> None:
        """Take in a training step; the speed is that after the first ones."""
        self.steps = step
        if self.begun is None:
            self.begun = tokens, seconds
        first_tokens, first_seconds = self.begun
        if seconds > first_seconds:
            self.tokens_per_second = (tokens - first_tokens) / (seconds - first_seconds)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""

        def finite(value: float) -> float | None:
            return value if math.isfinite(value) else None

        assert self.config is not None
        return {
            "cell": self.cell,
            "seed": self.seed,
            "run": self.run,
            "bits_per_byte": finite(self.bits_per_byte),
            "steps": self.steps,
            "tokens_per_second": self.tokens_per_second,
            "hidden_size": self.config.hidden_size,
            "parameters": self.config.num_parameters,
            "megabytes": self.config.num_parameters * 4 / 1e6,
            "characters_per_second": self.characters_per_second,
            "horizon": finite(self.horizon),
            "half_life": finite(self.half_life),
            "gradient": self.verdict,
            "seconds": self.seconds,
            "curve": self.curve,
        }


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """A cell over all its seeds."""

    cell: str
    runs: tuple[ComparedRun, ...]

    @property
    def bits_per_byte(self) -> float:
        """The mean over the seeds."""
        return float(np.mean([one.bits_per_byte for one in self.runs]))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; NaN with a single one."""
        if len(self.runs) < 2:
            return math.nan
        return float(np.std([one.bits_per_byte for one in self.runs], ddof=1))

    def mean(self, name: str) -> float:
        """Of a figure of the runs."""
        return float(np.mean([getattr(one, name) for one in self.runs]))


def rankings(found: Sequence[ComparedRun]) -> list[Ranking]:
    """The cells whose runs are done, the best first."""
    cells = dict.fromkeys(one.cell for one in found)
    rows = [
        Ranking(
            cell=cell, runs=tuple(one for one in found if one.cell == cell and one.stage == "done")
        )
        for cell in cells
    ]
    return sorted((one for one in rows if one.runs), key=lambda one: one.bits_per_byte)


def verdict(found: Sequence[ComparedRun], how: str) -> str:
    """One plain sentence: which cell predicts best, by how much, and how sure that is.

    Args:
        found: the contestants.
        how: under which condition, in words.
    """
    ranked = rankings(found)
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
        error = math.sqrt(best.spread**2 / len(best.runs) + second.spread**2 / len(second.runs))
        source = f"over {seeds} seeds"
    else:
        difference = second.runs[0].blocks - best.runs[0].blocks
        error = float(difference.std(ddof=1) / math.sqrt(len(difference)))
        source = "by this text; one seed each, so --seeds 3 would tell what chance adds"
    other = CELLS[second.cell].label
    if gap <= 2 * error:
        return (
            f"{label} and {other} cannot be told apart {how}: {best.bits_per_byte:.3f} and "
            f"{second.bits_per_byte:.3f} bits a byte, {gap:.3f} ± {2 * error:.3f} apart ({source})"
        )
    return (
        f"{label} predicts best {how}: {best.bits_per_byte:.3f} bits a byte, {gap:.3f} ± "
        f"{2 * error:.3f} fewer than {other} ({source})"
    )
