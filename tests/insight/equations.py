"""The textbook equations in float64, independent of both engines; displays are checked by them."""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(model, x, state):
    """One step from an embedded token x and a state (L, S, H): gates by layer, state, logits."""
    weights = {name: value.astype(np.float64) for name, value in model.weights.items()}
    cell, gates, after = model.config.cell, [], np.array(state, np.float64)
    for layer, before in enumerate(state):
        name = f"layers.{layer}."
        a = weights[name + "weight_ih"] @ x + weights[name + "bias_ih"]
        b = weights[name + "weight_hh"] @ before[0] + weights[name + "bias_hh"]
        if cell == "lstm":
            i, f, g, o = np.split(a + b, 4)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            after[layer, 1] = f * before[1] + i * g
            after[layer, 0] = o * np.tanh(after[layer, 1])
            gates.append({"input": i, "forget": f, "candidate": g, "output": o})
        elif cell == "gru":
            (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
            r, z = sigmoid(ar + br), sigmoid(az + bz)
            n = np.tanh(an + r * bn)
            after[layer, 0] = (1 - z) * n + z * before[0]
            gates.append({"reset": r, "update": z, "candidate": n})
        else:
            total = a + b
            after[layer, 0] = np.tanh(total) if cell == "rnn" else np.maximum(total, 0)
            gates.append({"candidate": after[layer, 0].copy()})
        x = after[layer, 0]
    head = weights.get("head.weight", weights["embedding.weight"])
    return gates, after, head @ x + weights["head.bias"]


def embedded(model, token):
    return model.weights["embedding.weight"][token].astype(np.float64)


def zero_state(model):
    return np.zeros(model.config.state_shape)


def nats(logits, token):
    """The negative log-probability of a token under these logits."""
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[token])


def read(model, ids, state=None):
    """The state and the logits after each token."""
    now = zero_state(model) if state is None else np.array(state, np.float64)
    states, rows = [], []
    for token in ids:
        _, now, logits = step(model, embedded(model, token), now)
        states.append(now)
        rows.append(logits)
    return states, rows
