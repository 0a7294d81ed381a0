"""The heatmap while text is written: which values does it show, and of which units?

`LiveHeat` keeps the values that the engine computed for the last tokens, so a new picture computes
nothing again. It draws nothing: it returns a `Grid`. Shape letters: T tokens, H hidden_size.
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
_MAX_TOKENS = 256
"""Tokens whose values are kept: more than most screens have columns."""
_MIN_CHOICE_TOKENS = 32
"""From this many tokens on, the chosen units stay the same."""


class LiveHeat:
    """The values of one state or gate of one layer, for the last tokens."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self.view, self.layer, self.order = "hidden", 0, "similar"
        self._rows: deque[tuple[int, Array]] = deque(maxlen=_MAX_TOKENS)
        """Nodes and their values (H,)."""
        self._chosen: npt.NDArray[np.intp] | None = None

    def set_view(self, *, view: str, layer: int, order: str) -> None:
        """Chooses what to show and drops all values.

        Args:
            view: a row of `VIEWS` that is a map of units.
            layer: from 0.
            order: a row of `ORDERS`.
        """
        self.view, self.layer, self.order = view, layer, order
        self.clear()

    def clear(self) -> None:
        """Drops all values and the choice of units."""
        self._rows.clear()
        self._chosen = None

    def fill(self, trace: Trace, nodes: list[int]) -> None:
        """Replaces the values by those of a trace; `nodes` are the nodes of its tokens."""
        self.clear()
        values = pick(self.view, trace, self.layer)
        self._rows.extend(zip(nodes, values, strict=True))

    def add_step(self, node: int, stepper: Stepper, state: Array) -> None:
        """Adds the values of the step that the engine has just computed.

        Args:
            node: the node of the step.
            stepper: has the gates of that step.
            state: the state (L, S, H) after it.
        """
        cell = self._config.cell_row
        if self.view in cell.states:
            row = state[self.layer, cell.states.index(self.view)]
        else:
            row = stepper.layers[self.layer].gates[cell.gates.index(self.view)].copy()
        self._rows.append((node, row))

    def drop_after(self, node: int) -> None:
        """Drops the values of the nodes after a node."""
        while self._rows and self._rows[-1][0] > node:
            self._rows.pop()

    def grid(self, node: int, count: int, rows: int, options: ViewOptions) -> Grid | None:
        """Returns the heatmap of the last tokens up to a node.

        The units are chosen once, when there are enough tokens; so a row keeps its unit.

        Args:
            node: the last node to show.
            count: how many tokens at most.
            rows: how many units at most.
            options: the labels of the tokens, and the tokenizer.

        Returns:
            None when there is nothing to show or no room.
        """
        recent = [row for row_node, row in self._rows if row_node <= node][-count:]
        if not recent or rows < 1:
            return None
        values = np.array(recent)
        if self._chosen is None or len(self._chosen) != min(rows, values.shape[1]):
            chosen = choose_units(values, rows, self.order)
            self._chosen = chosen if len(recent) >= _MIN_CHOICE_TOKENS else None
        else:
            chosen = self._chosen
        shown = replace(
            options, labels=options.labels[-len(recent) :], layer=self.layer, chosen=chosen
        )
        return unit_map(self.view, self._config.cell_row, values, shown)
