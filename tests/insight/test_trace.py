"""Recorded gates and states, compared with torch.nn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chargen.api import Model
from tests.conftest import SHAPES, make_model


@pytest.mark.parametrize(("cell", "layers"), SHAPES)
def test_gates_and_states_equal_those_of_torch(cell, layers):
    file = make_model(cell, layers)
    model = Model(file)
    text = "abcabc hgfe\n" * 4
    trace = model.trace(text)
    size = file.config.hidden_size
    assert trace.gates.shape == (len(text), layers, len(file.config.cell_row.gates), size)
    weights = {name: torch.from_numpy(value) for name, value in file.weights.items()}
    state = torch.zeros(layers, 2, size)
    for time, token in enumerate(trace.token_ids):
        x = weights["embedding.weight"][int(token)]
        for layer in range(layers):
            matrices = [weights[f"layers.{layer}.{part}"] for part in ("weight_ih", "weight_hh")]
            bias = [weights[f"layers.{layer}.{part}"] for part in ("bias_ih", "bias_hh")]
            a = (matrices[0] @ x + bias[0]).view(-1, size)
            b = (matrices[1] @ state[layer, 0] + bias[1]).view(-1, size)
            if cell == "lstm":
                i, f, o = ((a + b)[k].sigmoid() for k in (0, 1, 3))
                g = (a + b)[2].tanh()
                c = f * state[layer, 1] + i * g
                gates, state[layer, 0], state[layer, 1] = [i, f, g, o], o * c.tanh(), c
            elif cell == "gru":
                r, z = ((a + b)[k].sigmoid() for k in (0, 1))
                n = (a[2] + r * b[2]).tanh()
                gates, state[layer, 0] = [r, z, n], (1 - z) * n + z * state[layer, 0]
            else:
                n = (a + b)[0].tanh() if cell == "rnn" else (a + b)[0].relu()
                gates, state[layer, 0] = [n], n
            x = state[layer, 0]
            assert np.allclose(trace.gates[time, layer], torch.stack(gates), atol=1e-4)
            states = state[layer, : trace.states.shape[2]]
            assert np.allclose(trace.states[time, layer], states, atol=1e-4)
    assert np.allclose(np.exp(trace.logprobs).sum(-1), 1, atol=1e-4)
