"""Finds units that track a property of the text, and tests them on text not used for the search.

Among hundreds of units, some follow any property by chance. So the best unit is chosen on the
first half of the text and tested on the second half. Its score there must be higher than nearly all
scores of the same property shifted in time: a shifted property has the same rhythm, but belongs to
other text.

Yes-or-no properties are scored by the area under the ROC curve (Hanley and McNeil, 1982), numbers
by Spearman's rank correlation; p values come from circular shifts, corrected for the number of
properties by Holm (1979). Shape letters: T tokens, U units of all layers and states, L layers,
S states, H hidden_size, K p values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from chargen.inference.batched_read import ProgressCallback, ignore_progress, read_in_rows
from chargen.inference.engine import Array, Stepper, TokenIds, check_finite
from chargen.inference.token_scores import token_logprobs
from chargen.insight.plot import Numbers
from chargen.insight.properties import Values
from chargen.insight.views import Grid
from chargen.model.unit_names import Unit
from chargen.text.tokenizer import Tokens

MAX_TOKENS = 30_000
"""Tokens of a text that are searched and tested on."""
_WARM_UP_TOKENS = 256
_MIN_TOKENS_PER_SIDE = 20
"""Tokens that must have, and lack, a property in each half."""
_MIN_SHIFT_TOKENS = 100
"""Shorter shifts are not independent."""
_MIN_AUC, _MIN_CORRELATION, _MAX_P_VALUE = 0.8, 0.5, 0.01
"""A unit with at least this score, and a p value below this, gets a name."""
_EXCERPT_COLUMNS = 128


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The unit that follows a property best."""

    name: str
    """The property."""
    unit: Unit
    counts: bool
    """Whether the property is a number: then the scores are correlations, else AUC."""
    search_score: float
    """Its score on the first half, on which it was chosen; therefore too high."""
    score: float
    """Its score on the second half: AUC 0.5 to 1, correlation 0 to 1; lower if it fails."""
    sign: int
    """1: the unit is high where the property is true; -1: it is low there."""
    p_value: float
    """How often shifted properties score at least as high, corrected for several tests."""

    @property
    def significant(self) -> bool:
        """Whether score and p value are good enough for a name."""
        min_score = _MIN_CORRELATION if self.counts else _MIN_AUC
        return self.score >= min_score and self.p_value < _MAX_P_VALUE

    @property
    def measure(self) -> str:
        """The name of the score."""
        return "correlation" if self.counts else "AUC"


def read_states(
    stepper: Stepper, ids: TokenIds | Tokens, *, progress: ProgressCallback = ignore_progress
) -> Array:
    """All units' values (T, U) after each token; U in the order of (L, S, H).

    Raises:
        ChargenError: the model's numbers overflow.
    """
    size = stepper.zero_state().size
    values = np.empty((len(ids), size), np.float32)
    for step in read_in_rows(stepper, ids, warm_up=_WARM_UP_TOKENS, progress=progress):
        state = np.moveaxis(step.state[:, :, step.counts], 2, 0)  # (n, L, S, H)
        values[step.counted_positions] = state.reshape(len(state), size)
    check_finite(values)
    return values


def find_units(
    states: Array, properties: Mapping[str, tuple[Values, bool]], shape: tuple[int, int, int]
) -> list[Finding]:
    """The best unit for each property that the text has enough of.

    Args:
        states: (T, U) of `read_states`.
        properties: (T,) by name, and whether it is a number.
        shape: (L, S, H), what U stands for.
    """
    middle = len(states) // 2
    usable = {name: row for name, row in properties.items() if _varies(row[0], middle)}
    if not usable:
        return []
    ranked = _ranks(states[:middle])
    findings, p_values = [], []
    for name, (values, counts) in usable.items():
        scores = _score(ranked, _ranks(values[:middle, None])[:, 0], counts)
        best = int(np.argmax(np.abs(scores)))
        sign = 1 if scores[best] >= 0 else -1
        test_ranks = _ranks(states[middle:, best, None])[:, 0]
        test_labels = _ranks(values[middle:, None])[:, 0]
        test_score = sign * float(_score(test_ranks[:, None], test_labels, counts)[0])
        p_values.append(_p_value(test_ranks, test_labels, sign))
        layer, state, index = map(int, np.unravel_index(best, shape))
        offset = 0.0 if counts else 0.5
        findings.append(
            Finding(
                name=name,
                unit=Unit(layer, index, state),
                counts=counts,
                search_score=offset + abs(float(scores[best])),
                score=offset + test_score,
                sign=sign,
                p_value=p_values[-1],
            )
        )
    corrected = holm(np.array(p_values))
    return [
        replace(finding, p_value=float(p_value))
        for finding, p_value in zip(findings, corrected, strict=True)
    ]


def _varies(values: Values, middle: int) -> bool:
    """Whether both halves of (T,) have enough tokens with and without a property."""
    return all(
        len(half) >= 2 * _MIN_TOKENS_PER_SIDE
        and len(half) - np.unique(half, return_counts=True)[1].max() >= _MIN_TOKENS_PER_SIDE
        for half in (values[:middle], values[middle:])
    )


def _ranks(values: npt.NDArray[np.floating]) -> Numbers:
    """Ranks within each column (T, U), from 1; ties share their mean."""
    order = np.argsort(values, axis=0, kind="stable")
    ranks = np.empty(values.shape)
    numbers = np.arange(1, len(values) + 1, dtype=float)
    for column in range(values.shape[1]):
        rows = order[:, column]
        ascending = values[rows, column]
        begins = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))
        counts = np.diff(np.append(begins, len(ascending)))
        ranks[rows, column] = np.repeat(numbers[begins] + (counts - 1) / 2, counts)
    return ranks


def _score(ranks: Numbers, labels: Numbers, counts: bool) -> Numbers:
    """Scores of each column (T, U) against ranked labels (T,): Spearman's rho, or AUC - 0.5."""
    if counts:
        centred, centred_labels = ranks - ranks.mean(0), labels - labels.mean()
        scale = np.sqrt((centred**2).sum(0) * (centred_labels**2).sum())
        return np.asarray((centred_labels @ centred) / np.where(scale == 0, np.inf, scale))
    has = labels > labels.min()
    with_it, without_it = int(has.sum()), int((~has).sum())
    wins = has @ ranks - with_it * (with_it + 1) / 2
    return np.asarray(wins / (with_it * without_it) - 0.5)


def _p_value(ranks: Numbers, labels: Numbers, sign: int) -> float:
    """How often a shifted property scores at least as high as the property itself."""
    centred, centred_labels = ranks - ranks.mean(), labels - labels.mean()
    length = len(centred)
    # All circular shifts at once: the cross-correlation, by the convolution theorem.
    spectrum = np.fft.rfft(centred) * np.conj(np.fft.rfft(centred_labels))
    by_shift = np.fft.irfft(spectrum, length) * sign
    gap = min(_MIN_SHIFT_TOKENS, length // 4)
    shifted = by_shift[gap : length - gap]
    at_least = np.count_nonzero(shifted >= by_shift[0] * (1 - 1e-9))
    return float((1 + at_least) / (1 + len(shifted)))


def holm(p_values: Numbers) -> Numbers:
    """Several p values (K,), corrected for being several (Holm, 1979)."""
    order = np.argsort(p_values)
    raised = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(1.0, raised)
    return corrected


def ablation_costs(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    units: list[Unit],
    means: list[float],
    *,
    progress: ProgressCallback = ignore_progress,
) -> list[float]:
    """The cost of ablating each unit: how many more bits a token costs with the unit clamped.

    Args:
        stepper: the model.
        ids: the text.
        units: the units, each ablated alone.
        means: the value to which each unit is clamped.
        progress: called with the share that is done.
    """
    free = token_logprobs(stepper, ids).mean(dtype=np.float64)
    costs = []
    for number, (unit, mean) in enumerate(zip(units, means, strict=True)):
        clamps = {unit.layer: ([unit.state], [unit.index], [mean])}
        ablated = token_logprobs(stepper, ids, clamps=clamps).mean(dtype=np.float64)
        costs.append(float((free - ablated) / np.log(2)))
        progress((number + 1) / len(units))
    return costs


def column_of(unit: Unit, shape: tuple[int, int, int]) -> int:
    """The column of a unit in (T, U)."""
    return int(np.ravel_multi_index((unit.layer, unit.state, unit.index), shape))


def excerpt_grid(
    findings: list[Finding],
    names: list[str],
    states: Array,
    properties: Mapping[str, tuple[Values, bool]],
    labels: tuple[str, ...],
    shape: tuple[int, int, int],
) -> Grid:
    """The given units over a part of the second half in which their properties vary most.

    Args:
        findings: those to show.
        names: the label of each.
        states: (T, U).
        properties: as for `find_units`.
        labels: the texts of the T tokens.
        shape: (L, S, H).
    """
    middle = len(states) // 2
    width = min(_EXCERPT_COLUMNS, len(states) - middle)
    variation = np.zeros(len(states) - middle - width + 1)
    for finding in findings:
        values = properties[finding.name][0][middle:]
        cumulated = np.cumsum(np.append(0.0, values / max(1e-9, float(values.max()))))
        share = (cumulated[width:] - cumulated[:-width]) / width
        variation += np.minimum(share, 1 - share)
    first = int(np.argmax(variation))
    rows = []
    for finding in findings:
        values = finding.sign * states[middle:, column_of(finding.unit, shape)]
        low, high = np.quantile(values, [0.02, 0.98])
        rows.append((values[first : first + width] - low) / max(1e-9, high - low))
    return Grid(
        values=np.array(rows, np.float32),
        row_labels=tuple(names),
        column_labels=labels[middle + first : middle + first + width],
        low=0.0,
        high=1.0,
        kind="sequential",
        title="units over text that they were not chosen on, each from its lowest to its highest",
        measure="activation",
        named=True,
    )
