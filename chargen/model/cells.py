"""The table of cells: gates, states, and the names PyTorch gives them.

Only names and shapes; the equations are in sampling/stepper.py (numpy) and in torch itself.
Shape letters: H hidden_size, G gates, S states.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A row of `CELLS`."""

    name: str
    label: str
    gates: tuple[str, ...]
    """Names of the G blocks of H rows in weight_ih (G·H, in) and weight_hh (G·H, H), in order."""
    states: tuple[str, ...]
    """Names of the S vectors carried from step to step; the first is the output."""


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell(
            name="lstm",
            label="LSTM",
            gates=("input", "forget", "candidate", "output"),
            states=("hidden", "cell"),
        ),
        Cell(name="gru", label="GRU", gates=("reset", "update", "candidate"), states=("hidden",)),
        Cell(name="rnn", label="RNN (tanh)", gates=("candidate",), states=("hidden",)),
        Cell(name="rnn-relu", label="RNN (ReLU)", gates=("candidate",), states=("hidden",)),
    )
}
