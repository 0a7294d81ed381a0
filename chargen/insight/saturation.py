"""How often each gate is shut or open (Karpathy, Johnson and Li, 2015).

A gate below 0.1 is left-saturated, above 0.9 right-saturated. A unit whose forget gate is always
open is an integrator; a unit whose forget gate is always shut sees only the present. For cells
without gates, the hidden states are counted instead: near the ends of tanh, or at zero for a
rectifier.

Shape letters: L layers, H hidden_size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chargen.inference.batched_read import ProgressCallback, ignore_progress, read_in_rows
from chargen.inference.engine import Stepper, TokenIds, check_finite
from chargen.insight.plot import Figure, Numbers, Plot, Series
from chargen.insight.views import CLOSED, GATED, OPEN
from chargen.model.config import Cell
from chargen.text.tokenizer import Tokens

_WARM_UP_TOKENS = 256
_MAX_TOKENS = 1 << 16
"""Tokens of a long text that are read."""
_STAYS_SHARE = 0.5
"""Share of the time from which on a gate is said to stay open, or to stay shut."""


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """One gate of all units, over a text."""

    name: str
    """The gate; or `hidden`, of a cell without gates."""
    left: Numbers = field(repr=False)
    """(L, H): share of the time below 0.1 (of a state: at its lower end)."""
    right: Numbers = field(repr=False)
    """(L, H): share of the time above 0.9 (of a state: at its upper end)."""
    mean: Numbers = field(repr=False)
    """(L, H): its mean."""


def measure_saturation(
    stepper: Stepper, ids: TokenIds | Tokens, *, progress: ProgressCallback = ignore_progress
) -> list[Saturation]:
    """Reads a text (T,) and counts how often every gate of the cell is shut and open.

    Raises:
        ChargenError: the model's numbers overflow.
    """
    ids = ids[:_MAX_TOKENS]
    config = stepper.config
    names = watched(config.cell_row)
    shape = (len(names), config.num_layers, config.hidden_size)
    left, right, total = (np.zeros(shape) for _ in range(3))
    for step in read_in_rows(stepper, ids, warm_up=_WARM_UP_TOKENS, progress=progress):
        for layer in range(config.num_layers):
            gates = step.gates(layer)
            for row, name in enumerate(names):
                if name == "hidden":
                    values = step.state[layer, 0, step.counts]
                else:
                    values = gates[config.cell_row.gates.index(name)][step.counts]
                low, high = _ends(config.cell, name)
                left[row, layer] += (values < low).sum(0)
                right[row, layer] += (values > high).sum(0)
                total[row, layer] += values.sum(0)
    check_finite(total)
    count = max(1, len(ids))
    return [
        Saturation(
            name=name, left=left[row] / count, right=right[row] / count, mean=total[row] / count
        )
        for row, name in enumerate(names)
    ]


def watched(cell: Cell) -> list[str]:
    """What can saturate: the gates, or the hidden state of a cell without gates."""
    return [name for name in cell.gates if name in GATED] or ["hidden"]


def _ends(cell: str, name: str) -> tuple[float, float]:
    """The limits beyond which a gate or a hidden state counts as saturated."""
    if name in GATED:
        return CLOSED, OPEN
    # A rectifier has a lower end only; tanh is as near to its ends as a gate at 0.1 and 0.9 is.
    return (1e-6, np.inf) if cell == "rnn-relu" else (-0.8, 0.8)


def describe_saturation(gates: list[Saturation], cell: Cell) -> list[str]:
    """Each layer and gate in words."""
    return [_describe(gate, layer, cell) for gate in gates for layer in range(len(gate.left))]


def _describe(gate: Saturation, layer: int, cell: Cell) -> str:
    left, right = gate.left[layer], gate.right[layer]
    if gate.name in GATED:
        shut, open_ = (_share_of_units(shares, _STAYS_SHARE) for shares in (left, right))
        return (
            f"layer {layer + 1}: {open_:.0%} of {gate.name} gates stay "
            f"open (above {OPEN} most of the time), {shut:.0%} stay "
            f"shut (below {CLOSED}); on average they are {gate.mean[layer].mean():.0%} open"
        )
    if cell.name == "rnn-relu":
        return (
            f"layer {layer + 1}: no gates; its units are zero for {left.mean():.0%} of the time, "
            f"and {_share_of_units(left, 1.0):.0%} of them always"
        )
    return (
        f"layer {layer + 1}: no gates; its units are near -1 or +1 for "
        f"{(left + right).mean():.0%} of the time, where their gradient is small"
    )


def _share_of_units(shares: Numbers, minimum: float) -> float:
    """The share of the units (H,) whose share of the time is at least `minimum`."""
    return float((shares >= minimum).mean())


def saturation_figure(gates: list[Saturation], cell: Cell) -> Figure:
    """A scatter plot for each gate: a point for each unit, by how often it is shut and open."""
    gated = gates[0].name in GATED
    lower, upper = ("shut", "open") if gated else ("at the lower end", "at the upper end")
    subject = "gates are shut and open" if gated else "units are at their ends"
    plots = []
    for gate in gates:
        series = tuple(
            Series(
                name=f"layer {layer + 1}",
                x=left,
                y=right,
                labels=tuple(f"L{layer + 1}:{unit}" for unit in range(len(left))),
            )
            for layer, (left, right) in enumerate(zip(gate.left, gate.right, strict=True))
        )
        plots.append(
            Plot(
                series=series,
                title=gate.name,
                x_label=lower,
                y_label=f"share of time {upper}",
                points=True,
                x_range=(0.0, 1.0),
                y_range=(0.0, 1.0),
            )
        )
    return Figure(
        title=f"How often {subject}; a point is a unit",
        plots=tuple(plots),
        notes=tuple(describe_saturation(gates, cell)),
    )
