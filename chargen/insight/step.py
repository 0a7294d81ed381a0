"""One time step in the order of its equations, with the values of each.

The weights are those that torch names, not the folded weights of the engine, so the code reads like
a textbook. inference/engine.py lists all modules that have the cell equations.

Shape letters: L layers, S states, H hidden_size, I input size of a layer, G gates, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from chargen.inference.engine import Array, Stepper, TokenIds, check_finite
from chargen.insight.views import Grid

_GRID_COLUMNS = 80


@dataclass(frozen=True, kw_only=True)
class Line:
    """One equation and its result."""

    name: str
    formula: str
    meaning: str
    """What it means, in a few words."""
    values: Array = field(repr=False)
    """(H,); of the combined input, (I + H,)."""
    gate: bool = False
    """Between 0 and 1; otherwise signed."""
    inputs: int = 0
    """How many of the first values are inputs and not units."""


@dataclass(frozen=True, kw_only=True)
class StepBreakdown:
    """A step of all layers, and what the model expects after it."""

    layers: tuple[tuple[Line, ...], ...]
    """The lines of each layer, in the order of the equations."""
    logits: Array = field(repr=False)
    """(V,)"""
    probabilities: Array = field(repr=False)
    """(V,)"""


def break_down_step(stepper: Stepper, token: int, state: Array) -> StepBreakdown:
    """The step that reads a token from a state (L, S, H), equation by equation.

    Raises:
        ChargenError: the model's numbers overflow.
    """
    config, weights = stepper.config, stepper.weights
    x = weights["embedding.weight"][token]
    layers = []
    for layer, before in enumerate(state):
        parts = (
            np.split(weights[f"layers.{layer}.{part}"], config.groups)
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        inputs = np.split(x, config.groups) if layer else [x] * config.groups
        states = np.split(before, config.groups, axis=1)
        groups = zip(inputs, states, zip(*parts, strict=True), strict=True)
        by_group = [_CELLS[config.cell](*group) for group in groups]
        lines = [_join_groups(line_of_groups) for line_of_groups in zip(*by_group, strict=True)]
        layers.append((_input_line(x, before[0], layer), *lines))
        x = lines[-1].values
    head = weights["embedding.weight"] if config.tied_head else weights["head.weight"]
    logits = head @ x + weights["head.bias"]
    check_finite(logits)
    likelihoods = np.exp(logits - logits.max())
    return StepBreakdown(
        layers=tuple(layers),
        logits=logits,
        probabilities=(likelihoods / likelihoods.sum()).astype(np.float32),
    )


def _sigmoid(values: Array) -> Array:
    return (1 / (1 + np.exp(-values))).astype(np.float32)


def _input_line(x: Array, h: Array, layer: int) -> Line:
    below = "the token's embedding" if layer == 0 else f"layer {layer}'s hidden state"
    return Line(
        name="input and state",
        formula="[x, h]",
        meaning=f"{below} x; the state h from before",
        values=np.concatenate([x, h]),
        inputs=len(x),
    )


def _join_groups(lines: tuple[Line, ...]) -> Line:
    """The same line of all groups of a layer as one line."""
    return replace(lines[0], values=np.concatenate([line.values for line in lines]))


Parts = tuple[Array, ...]
"""weight_ih (G·H, I), weight_hh (G·H, H), bias_ih and bias_hh (G·H,)."""


def _lstm(x: Array, before: Array, parts: Parts) -> tuple[Line, ...]:
    weight_ih, weight_hh, bias_ih, bias_hh = parts
    h, c = before
    sums = weight_ih @ x + bias_ih + weight_hh @ h + bias_hh
    i, f, g, o = sums.reshape(4, -1)
    forget, candidate, write, read = _sigmoid(f), np.tanh(g), _sigmoid(i), _sigmoid(o)
    cell = forget * c + write * candidate
    return (
        Line(name="forget gate", formula="f = σ(Wf·x + Uf·h + bf)", values=forget, gate=True,
             meaning="keeps this much of each cell (1: all)"),
        Line(name="candidate", formula="g = tanh(Wg·x + Ug·h + bg)", values=candidate,
             meaning="what could be written"),
        Line(name="input gate", formula="i = σ(Wi·x + Ui·h + bi)", values=write, gate=True,
             meaning="how much of the candidate is written"),
        Line(name="cell state", formula="c' = f·c + i·g", values=cell,
             meaning="the memory: what stays and what is new"),
        Line(name="output gate", formula="o = σ(Wo·x + Uo·h + bo)", values=read, gate=True,
             meaning="how much of the memory shows"),
        Line(name="hidden state", formula="h' = o·tanh(c')", values=read * np.tanh(cell),
             meaning="what the prediction sees"),
    )  # fmt: skip


def _gru(x: Array, before: Array, parts: Parts) -> tuple[Line, ...]:
    weight_ih, weight_hh, bias_ih, bias_hh = parts
    h = before[0]
    from_x = (weight_ih @ x + bias_ih).reshape(3, -1)
    from_h = (weight_hh @ h + bias_hh).reshape(3, -1)
    reset, update = _sigmoid(from_x[0] + from_h[0]), _sigmoid(from_x[1] + from_h[1])
    candidate = np.tanh(from_x[2] + reset * from_h[2])
    return (
        Line(name="reset gate", formula="r = σ(Wr·x + Ur·h + br)", values=reset, gate=True,
             meaning="what the candidate may see of the past"),
        Line(name="update gate", formula="z = σ(Wz·x + Uz·h + bz)", values=update, gate=True,
             meaning="keeps this much of each unit (1: all)"),
        Line(name="candidate", formula="n = tanh(Wn·x + bn + r·(Un·h + dn))", values=candidate,
             meaning="what could be written"),
        Line(name="hidden state", formula="h' = (1 - z)·n + z·h",
             values=(1 - update) * candidate + update * h,
             meaning="the new memory; the prediction sees it"),
    )  # fmt: skip


def _rnn(x: Array, before: Array, parts: Parts) -> tuple[Line, ...]:
    weight_ih, weight_hh, bias_ih, bias_hh = parts
    hidden = np.tanh(weight_ih @ x + bias_ih + weight_hh @ before[0] + bias_hh)
    return (
        Line(name="hidden state", formula="h' = tanh(W·x + U·h + b)", values=hidden,
             meaning="all of it is written anew in every step"),
    )  # fmt: skip


def _relu(x: Array, before: Array, parts: Parts) -> tuple[Line, ...]:
    weight_ih, weight_hh, bias_ih, bias_hh = parts
    hidden = np.maximum(weight_ih @ x + bias_ih + weight_hh @ before[0] + bias_hh, 0)
    return (
        Line(name="hidden state", formula="h' = max(0, W·x + U·h + b)", values=hidden,
             meaning="all of it is written anew in every step"),
    )  # fmt: skip


_CELLS: dict[str, Callable[[Array, Array, Parts], tuple[Line, ...]]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn": _rnn,
    "rnn-relu": _relu,
}


def states_before_tokens(stepper: Stepper, ids: TokenIds) -> Array:
    """The state before each token (T,) of a text, from a zero state: (T, L, S, H)."""
    now = stepper.zero_state()
    states = np.empty((len(ids), *now.shape), np.float32)
    for time, token in enumerate(ids):
        states[time] = now
        stepper.step(int(token), now, now)
    return states


def to_columns(line: Line, columns: int) -> Array:
    """A line's values as at most so many columns, each a value from -1 to 1.

    A column has one unit or a few neighbours. Several gates become their mean. Several signed
    values become their root mean square, with the sign of the value furthest from zero; where
    values go beyond 1, they are scaled so that the furthest is 1.
    """
    values = np.nan_to_num(line.values)
    count = len(values)
    edges = np.arange(min(columns, count) + 1) * count // min(columns, count)
    groups = [values[low:high] for low, high in itertools.pairwise(edges)]
    if line.gate:
        return np.array([group.mean() for group in groups], np.float32)
    signs = np.array([np.sign(group[np.abs(group).argmax()]) for group in groups])
    sizes = np.array([np.sqrt((group**2).mean()) for group in groups])
    scaled = signs * sizes / max(1.0, float(np.abs(values).max()))
    return np.asarray(scaled, np.float32)


def most_active(line: Line, count: int) -> list[tuple[str, float]]:
    """Names and values of the units that are furthest from zero.

    In the line of the combined input, `x3` is input 3 and `h3` is unit 3.
    """
    values = np.nan_to_num(line.values)

    def name(index: int) -> str:
        if not line.inputs:
            return str(index)
        return f"x{index}" if index < line.inputs else f"h{index - line.inputs}"

    order = np.argsort(-np.abs(values), kind="stable")[:count]
    return [(name(int(index)), float(line.values[index])) for index in order]


def most_likely_tokens(breakdown: StepBreakdown, count: int) -> npt.NDArray[np.intp]:
    """Ids of the most likely next tokens, the most likely first."""
    return np.argsort(-breakdown.probabilities, kind="stable")[:count]


def step_grid(breakdown: StepBreakdown, title: str, notes: tuple[str, ...] = ()) -> Grid:
    """All lines as strips of their units."""
    rows, labels = [], []
    several_layers = len(breakdown.layers) > 1
    for layer, lines in enumerate(breakdown.layers):
        for line in lines:
            strip = to_columns(line, _GRID_COLUMNS)
            columns = np.linspace(0, len(strip) - 1, _GRID_COLUMNS).round().astype(int)
            rows.append(strip[columns])
            labels.append(f"L{layer + 1} {line.formula}" if several_layers else line.formula)
    return Grid(
        values=np.array(rows, np.float32),
        row_labels=tuple(labels),
        column_labels=("",) * _GRID_COLUMNS,
        low=-1.0,
        high=1.0,
        kind="diverging",
        title=title,
        measure="activation",
        layout="strips",
        notes=notes,
    )
