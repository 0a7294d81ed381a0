"""How often each gate is shut or open (Karpathy, Johnson and Li, 2015).

A gate below 0.1 is left-saturated, above 0.9 right-saturated. A forget gate that is always open
belongs to an integrator, one that is always shut to a unit that only sees the present. Cells
without gates have their states looked at instead: near the ends of tanh, or at a rectifier's zero.

Shape letters: L layers, H hidden_size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chargen.inference.batched_read import Progress, read_in_rows, unwatched
from chargen.inference.engine import Array, Stepper, TokenIds, check_finite
from chargen.insight.plot import Figure, Numbers, Plot, Series
from chargen.insight.views import CLOSED, GATED, OPEN
from chargen.model.config import Cell
from chargen.text.tokenizer import Tokens

_WARM_UP = 256
_MOST = 1 << 16
"""Tokens of a long text that are read."""
_MOSTLY = 0.5
"""A gate stays open, or shut, when it is so for more than this share of the time."""


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """One gate of all units, over a text."""

    name: str
    """The gate; or a state, of a cell without gates."""
    left: Numbers = field(repr=False)
    """(L, H): share of the time below 0.1 (of a state: at its lower end)."""
    right: Numbers = field(repr=False)
    """(L, H): share of the time above 0.9."""
    mean: Numbers = field(repr=False)
    """(L, H): its mean."""


def measure_saturation(
    stepper: Stepper, ids: TokenIds | Tokens, *, progress: Progress = unwatched
) -> list[Saturation]:
    """Read a text (T,) and count, for every gate that the cell has."""
    ids = ids[:_MOST]
    config = stepper.config
    names = watched(config.cell_row)
    shape = (len(names), config.num_layers, config.hidden_size)
    left, right, total = (np.zeros(shape) for _ in range(3))
    for one in read_in_rows(stepper, ids, warm_up=_WARM_UP, progress=progress):
        for layer in range(config.num_layers):
            gates = one.gates(layer)
            for row, name in enumerate(names):
                if name == "hidden":
                    values = one.state[layer, 0, one.counts]
                else:
                    values = gates[config.cell_row.gates.index(name)][one.counts]
                low, high = _ends(config.cell, name)
                left[row, layer] += (values < low).sum(0)
                right[row, layer] += (values > high).sum(0)
                total[row, layer] += values.sum(0)
    check_finite(total)
    count = max(1, len(ids))
    return [
        Saturation(name=name, left=left[row] / count, right=right[row] / count,
                   mean=total[row] / count)
        for row, name in enumerate(names)
    ]  # fmt: skip


def watched(cell: Cell) -> list[str]:
    """What can saturate: the gates, or the hidden state of a cell without any."""
    return [one for one in cell.gates if one in GATED] or ["hidden"]


def _ends(cell: str, name: str) -> tuple[float, float]:
    if name in GATED:
        return CLOSED, OPEN
    # A rectifier has a lower end only; tanh is as near to its ends as a gate at 0.1 and 0.9 is.
    return (1e-6, np.inf) if cell == "rnn-relu" else (-0.8, 0.8)


def summary(found: list[Saturation], cell: Cell) -> list[str]:
    """Each layer and gate in words."""
    lines = []
    for one in found:
        for layer in range(len(one.left)):
            opened, shut = (
                _share(part[layer], _MOSTLY) for part in (one.right, one.left)
            )  # fmt: skip
            head = f"layer {layer + 1}: "
            if one.name in GATED:
                lines.append(
                    f"{head}{opened:.0%} of {one.name} gates stay open (above {OPEN} most of the "
                    f"time), {shut:.0%} stay shut (below {CLOSED}); on average they are "
                    f"{one.mean[layer].mean():.0%} open"
                )
            elif cell.name == "rnn-relu":
                dead = _share(one.left[layer], 1.0)
                lines.append(
                    f"{head}no gates; its units are zero for {one.left[layer].mean():.0%} of the "
                    f"time, and {dead:.0%} of them always"
                )
            else:
                ends = one.left[layer] + one.right[layer]
                lines.append(
                    f"{head}no gates; its units are near -1 or +1 for {ends.mean():.0%} of the "
                    "time, where their gradient is small"
                )
    return lines


def _share(values: Array | Numbers, least: float) -> float:
    """How many of the units are there for this share of the time."""
    return float((values >= least).mean())


def saturation_figure(found: list[Saturation], cell: Cell) -> Figure:
    """A scatter a gate: each unit by how often it is shut and how often open."""
    gated = found[0].name in GATED
    lower, upper = ("shut", "open") if gated else ("at the lower end", "at the upper end")
    return Figure(
        title=f"How often {'gates are shut and open' if gated else 'units are at their ends'}; "
        "a point is a unit",
        plots=tuple(
            Plot(
                series=tuple(
                    Series(
                        name=f"layer {layer + 1}",
                        x=one.left[layer],
                        y=one.right[layer],
                        labels=tuple(f"L{layer + 1}:{unit}" for unit in range(one.left.shape[1])),
                    )
                    for layer in range(len(one.left))
                ),
                title=one.name,
                x_label=lower,
                y_label=f"share of time {upper}",
                points=True,
                x_range=(0.0, 1.0),
                y_range=(0.0, 1.0),
            )
            for one in found
        ),
        notes=tuple(summary(found, cell)),
    )
