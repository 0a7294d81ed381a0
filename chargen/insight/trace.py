"""Trace: everything that the engine computes while it reads a text, as plain arrays.

Shape letters: T time, L layers, S states, G gates, H hidden_size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chargen.inference.engine import Array, Clamps, Stepper, TokenIds, log_softmax
from chargen.model.config import Cell


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What the model computed. Index t is the moment after token t was read."""

    cell: Cell
    """Has the names of the gates and states below."""
    token_ids: TokenIds = field(repr=False)
    """(T,)"""
    states: Array = field(repr=False)
    """(T, L, S, H); the names of S are `cell.states`."""
    gates: Array = field(repr=False)
    """(T, L, G, H); the names of G are `cell.gates`."""
    logprobs: Array = field(repr=False)
    """(T, V): log-probabilities of the next token."""


def record(
    stepper: Stepper,
    ids: TokenIds,
    state: Array | None = None,
    clamps: Sequence[Clamps] | None = None,
) -> Trace:
    """Reads a text step by step and keeps everything: about 4·T·(L·(S+G)·H + V) bytes.

    Args:
        stepper: the model.
        ids: the text (T,).
        state: the state before it (L, S, H); None: zeros.
        clamps: for each token, the units that are clamped in its step.
    """
    config = stepper.config
    layers, states, size = config.state_shape
    cell = config.cell_row
    now = stepper.zero_state() if state is None else state.copy()
    trace = Trace(
        cell=cell,
        token_ids=ids,
        states=np.empty((len(ids), layers, states, size), np.float32),
        gates=np.empty((len(ids), layers, len(cell.gates), size), np.float32),
        logprobs=np.empty((len(ids), config.vocab_size), np.float32),
    )
    for time, token in enumerate(ids):
        step_clamps = clamps[time] if clamps else None
        trace.logprobs[time] = log_softmax(stepper.step(int(token), now, now, step_clamps))
        trace.states[time] = now
        for layer in range(layers):
            trace.gates[time, layer] = stepper.layers[layer].gates
    return trace
