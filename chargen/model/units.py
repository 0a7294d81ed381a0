"""Single units of a model, and how people write them: `L2:41`, or `L2:41.cell`.

Layers count from 1, as people count them; units from 0, as arrays do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chargen.errors import UsageError
from chargen.model.config import ModelConfig

_SPELLED = re.compile(r"[Ll](\d{1,6}):(\d{1,9})(?:\.(\w+))?")


@dataclass(frozen=True, order=True)
class Unit:
    """One number of a state."""

    layer: int
    """From 0."""
    index: int
    """From 0 to hidden_size - 1."""
    state: int = 0
    """Which of the cell's states; 0 is the output, `hidden`."""

    def spelled(self, config: ModelConfig) -> str:
        """As `parse_unit` reads it."""
        state = f".{config.cell_row.states[self.state]}" if self.state else ""
        return f"L{self.layer + 1}:{self.index}{state}"


def parse_unit(text: str, config: ModelConfig) -> Unit:
    """The unit that a person wrote.

    Raises:
        UsageError: it is not spelled so, or the model has no such unit.
    """
    found = _SPELLED.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"unit '{text}': write it as L1:41 (layer 1, unit 41), or L1:41.cell")
    layer, index, name = int(found[1]), int(found[2]), found[3] or "hidden"
    states = config.cell_row.states
    if not 1 <= layer <= config.num_layers:
        raise UsageError(f"unit '{text}': the model has layers 1 to {config.num_layers}")
    if index >= config.hidden_size:
        raise UsageError(f"unit '{text}': its layers have units 0 to {config.hidden_size - 1}")
    if name not in states:
        raise UsageError(f"unit '{text}': its states are {', '.join(states)}")
    return Unit(layer - 1, index, states.index(name))
