"""Units that track something: searched in one part of a text, believed only on another.

Among hundreds of units, some follow any property by chance. So the best unit is chosen on the
first part of the text and judged on the last, and its score there must be one that properties
shifted in time (which keep their rhythm, but stand beside other text) hardly ever reach.

Yes-or-no properties are judged by the area under the ROC curve (Hanley and McNeil, 1982), numbers
by Spearman's rank correlation; p by circular shifts, corrected for the number of properties by
Holm (1979). Shape letters: T tokens, U units of all layers and states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.inference.batched_read import Progress, read_in_rows, unwatched
from chargen.inference.engine import Array, Stepper, TokenIds, check_finite
from chargen.inference.token_scores import token_logprobs
from chargen.insight.properties import Values
from chargen.insight.views import Grid
from chargen.model.unit_names import Unit
from chargen.text.tokenizer import Tokens

Numbers = npt.NDArray[np.float64]
MOST = 30_000
"""Tokens of a text that are looked at."""
_WARM_UP = 256
_RAREST = 20
"""Tokens that must have, and lack, a property in each part."""
_GAP = 100
"""Shortest shift: nearer ones are not independent."""
_AUC, _CORRELATION, _CHANCE = 0.8, 0.5, 0.01
"""From which score on, and below which p, a unit gets a name."""
_COLUMNS = 128


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The unit that follows a property best."""

    name: str
    """Of the property."""
    unit: Unit
    counts: bool
    """Whether the property is a number: then the scores are correlations, else AUC."""
    searched: float
    """Its score where it was chosen; too good, because it was chosen there."""
    score: float
    """Its score on the other part: from 0.5 to 1, or 0 to 1; below that, it fails there."""
    sign: int
    """-1: it is low where the property holds."""
    chance: float
    """p: how often shifted properties score so high, corrected for looking for several."""

    @property
    def believed(self) -> bool:
        """Whether it deserves a name."""
        return self.score >= (_CORRELATION if self.counts else _AUC) and self.chance < _CHANCE

    @property
    def measure(self) -> str:
        """What the score is."""
        return "correlation" if self.counts else "AUC"


def read_states(
    stepper: Stepper, ids: TokenIds | Tokens, *, progress: Progress = unwatched
) -> Array:
    """All units' values (T, U) after each token; U in the order of (L, S, H)."""
    size = stepper.zero_state().size
    found = np.empty((len(ids), size), np.float32)
    for one in read_in_rows(stepper, ids, warm_up=_WARM_UP, progress=progress):
        state = one.state[:, :, one.counts]  # (L, S, n, H)
        found[one.places] = np.moveaxis(state, 2, 0).reshape(len(one.places), size)
    check_finite(found)
    return found


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
    usable = {
        name: one for name, one in properties.items() if _varies(one, middle)
    }  # fmt: skip
    if not usable:
        return []
    ranked = _ranks(states[:middle])
    found, chances = [], []
    for name, (values, counts) in usable.items():
        own = _ranks(values[:middle, None])[:, 0]
        scores = _score(ranked, own, counts)
        best = int(np.argmax(np.abs(scores)))
        sign = 1 if scores[best] >= 0 else -1
        later = _ranks(states[middle:, best, None])[:, 0]
        labels = _ranks(values[middle:, None])[:, 0]
        held = sign * float(_score(later[:, None], labels, counts)[0])
        chances.append(_p_value(later, labels, sign))
        layer, rest = divmod(best, shape[1] * shape[2])
        state, index = divmod(rest, shape[2])
        offset = 0.0 if counts else 0.5
        found.append(
            (name, Unit(layer, index, state), counts, offset + abs(float(scores[best])),
             offset + held, sign)
        )  # fmt: skip
    corrected = holm(np.array(chances))
    return [
        Finding(name=name, unit=unit, counts=counts, searched=searched, score=score, sign=sign,
                chance=float(chance))
        for (name, unit, counts, searched, score, sign), chance in zip(
            found, corrected, strict=True
        )
    ]  # fmt: skip


def _varies(one: tuple[Values, bool], middle: int) -> bool:
    """Whether both parts have enough with and without it."""
    values, _ = one
    parts = values[:middle], values[middle:]
    return all(
        len(part) >= 2 * _RAREST
        and len(part) - np.unique(part, return_counts=True)[1].max() >= _RAREST
        for part in parts
    )


def _ranks(values: npt.NDArray[np.floating]) -> Numbers:
    """Ranks within each column (T, U), from 1; ties share their mean."""
    order = np.argsort(values, axis=0, kind="stable")
    found = np.empty(values.shape)
    places = np.arange(1, len(values) + 1, dtype=float)
    for column in range(values.shape[1]):
        rows = order[:, column]
        line = values[rows, column]
        begins = np.flatnonzero(np.append(True, line[1:] != line[:-1]))
        counts = np.diff(np.append(begins, len(line)))
        found[rows, column] = np.repeat(places[begins] + (counts - 1) / 2, counts)
    return found


def _score(ranks: Numbers, labels: Numbers, counts: bool) -> Numbers:
    """Of each column (T, U) against ranked labels (T,): Spearman's rho, or AUC minus a half."""
    if counts:
        centred = ranks - ranks.mean(0)
        own = labels - labels.mean()
        scale = np.sqrt((centred**2).sum(0) * (own**2).sum())
        return np.asarray((own @ centred) / np.where(scale == 0, np.inf, scale))
    has = labels > labels.min()
    many, few = int(has.sum()), int((~has).sum())
    return np.asarray((has @ ranks - many * (many + 1) / 2) / (many * few) - 0.5)


def _p_value(ranks: Numbers, labels: Numbers, sign: int) -> float:
    """How often a shifted property scores as high as it does in its place."""
    own, other = ranks - ranks.mean(), labels - labels.mean()
    # All circular shifts at once: the cross-correlation, by the convolution theorem.
    every = np.fft.irfft(np.fft.rfft(own) * np.conj(np.fft.rfft(other)), len(own)) * sign
    gap = min(_GAP, len(own) // 4)
    shifted = every[gap : len(own) - gap]
    return float((1 + np.count_nonzero(shifted >= every[0] * (1 - 1e-9))) / (1 + len(shifted)))


def holm(chances: Numbers) -> Numbers:
    """Several p values (K,), corrected for being several."""
    order = np.argsort(chances)
    raised = np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1))
    found = np.empty_like(chances)
    found[order] = np.minimum(1.0, raised)
    return found


def worth(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    units: list[Unit],
    means: list[float],
    *,
    progress: Progress = unwatched,
) -> list[float]:
    """Bits a token that a text costs more when a unit stays at its mean, for each of them."""
    base = token_logprobs(stepper, ids).mean(dtype=np.float64)
    found = []
    for number, (unit, mean) in enumerate(zip(units, means, strict=True)):
        holds = {unit.layer: ([unit.state], [unit.index], [mean])}
        held = token_logprobs(stepper, ids, holds=holds).mean(dtype=np.float64)
        found.append(float((base - held) / np.log(2)))
        progress((number + 1) / len(units))
    return found


def column_of(unit: Unit, shape: tuple[int, int, int]) -> int:
    """Where a unit stands in (T, U)."""
    return int(np.ravel_multi_index((unit.layer, unit.state, unit.index), shape))


def excerpt(
    findings: list[Finding],
    names: list[str],
    states: Array,
    properties: Mapping[str, tuple[Values, bool]],
    labels: tuple[str, ...],
    shape: tuple[int, int, int],
) -> Grid:
    """The named units over the part of the text, of those not searched, where most happens.

    Args:
        findings: those to show.
        names: how each is called.
        states: (T, U).
        properties: as for `find_units`.
        labels: the texts of the T tokens.
        shape: (L, S, H).
    """
    middle, width = len(states) // 2, min(_COLUMNS, len(states) - len(states) // 2)
    busy = np.zeros(len(states) - middle - width + 1)
    for one in findings:
        values = properties[one.name][0][middle:]
        cumulated = np.cumsum(np.append(0.0, values / max(1e-9, float(values.max()))))
        share = (cumulated[width:] - cumulated[:-width]) / width
        busy += np.minimum(share, 1 - share)
    first = middle + int(np.argmax(busy))
    rows = []
    for one in findings:
        values = one.sign * states[first : first + width, column_of(one.unit, shape)]
        own = one.sign * states[middle:, column_of(one.unit, shape)]
        low, high = np.quantile(own, [0.02, 0.98])
        rows.append((values - low) / max(1e-9, high - low))
    return Grid(
        values=np.array(rows, np.float32),
        row_labels=tuple(names),
        column_labels=labels[first : first + width],
        low=0.0,
        high=1.0,
        kind="sequential",
        title="units over text that they were not chosen on, each from its lowest to its highest",
        measure="activation",
        named=True,
    )
