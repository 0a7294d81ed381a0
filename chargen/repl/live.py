"""The heatmap that moves while text is written: a window of rows, kept as the engine computes them.

Shape letters: T tokens, H hidden_size.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from chargen.inference.engine import Array, Stepper
from chargen.insight.trace import Trace
from chargen.insight.views import Grid, ViewOptions, choose_units, pick, unit_map
from chargen.model.config import ModelConfig

HEAT_ROWS = 16
"""Rows of the screen that a heatmap takes at most."""
WINDOW = 256
"""Tokens that are remembered: more than a screen has columns, as a rule."""
_SETTLED = 32
"""Tokens from which the choice of units can be made."""


class LiveHeat:
    """The last tokens' values of one state or gate of one layer."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self.view, self.layer, self.order = "hidden", 0, "similar"
        self._rows: deque[tuple[int, Array]] = deque(maxlen=WINDOW)
        self._chosen: npt.NDArray[np.intp] | None = None

    def look(self, *, view: str, layer: int, order: str) -> None:
        """Show something else from here on."""
        self.view, self.layer, self.order = view, layer, order
        self.clear()

    def clear(self) -> None:
        """Forget everything: the text goes on from somewhere else."""
        self._rows.clear()
        self._chosen = None

    def fill(self, trace: Trace, nodes: list[int]) -> None:
        """Begin with what was computed before."""
        self.clear()
        values = pick(self.view, trace, self.layer)
        self._rows.extend(zip(nodes, values, strict=True))

    def stepped(self, node: int, stepper: Stepper, state: Array) -> None:
        """Keep what the engine has just computed."""
        cell = self._config.cell_row
        if self.view in cell.states:
            row = state[self.layer, cell.states.index(self.view)]
        else:
            row = stepper.layers[self.layer].gates[cell.gates.index(self.view)].copy()
        self._rows.append((node, row))

    def rewound(self, node: int) -> None:
        """Forget what was written after a node."""
        while self._rows and self._rows[-1][0] > node:
            self._rows.pop()

    def grid(self, node: int, count: int, rows: int, options: ViewOptions) -> Grid | None:
        """The last `count` tokens up to a node; None when there are none yet.

        Which units are shown is chosen once, so that a row stays the unit that it is.
        """
        known = [row for number, row in self._rows if number <= node][-count:]
        if not known or rows < 1:
            return None
        values = np.array(known)
        if self._chosen is None or len(self._chosen) != min(rows, values.shape[1]):
            chosen = choose_units(values, rows, self.order)
            self._chosen = chosen if len(known) >= _SETTLED else None
        else:
            chosen = self._chosen
        shown = replace(
            options, labels=options.labels[-len(known) :], layer=self.layer, chosen=chosen
        )
        return unit_map(self.view, self._config.cell_row, values, shown)
