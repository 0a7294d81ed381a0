"""How far back the gradient of a loss reaches, and which inputs a prediction depends on.

The loss of one token is traced back through every step before it. The gradient that remains k
steps earlier shows how much training can learn from that loss at that step. In a plain RNN it
vanishes (Hochreiter, 1991; Bengio, Simard and Frasconi, 1994); gates let it through. This file
needs torch; its cell equations are those of torch's single cells (inference/engine.py lists all
modules that have the equations).

Shape letters: T time, K steps back, B positions traced side by side, L layers, S states,
H hidden_size, E embedding, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chargen.inference.batched_read import ProgressCallback, ignore_progress, step_rows
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.insight.plot import Figure, Numbers, Plot, Series
from chargen.model.config import ModelConfig
from chargen.model.stored_weights import Weights
from chargen.text.rows import Positions
from chargen.text.tokenizer import Tokens

MAX_STEPS_BACK = 200
MAX_POSITIONS = 256
"""Positions of the text whose losses are traced back."""
_MAX_ROWS = 32
"""Positions that are traced side by side, as batch rows."""
_WARM_UP_TOKENS = 256
"""Tokens read before the traced ones, without gradients, so that the state is not zero there."""
_FITTED_STEPS = 100
"""Steps back that the half-life is fitted to."""
_MIN_SHOWN_SHARE = 1e-8
"""Pictures leave out gradients below this share of the largest one."""
_MIN_HEALTHY_HALF_LIFE = 7.5
"""Steps. With a shorter half-life, less than a ten-thousandth remains 100 steps back."""

_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_CELLS: dict[str, Callable[..., Any]] = {
    "lstm": torch.lstm_cell,
    "gru": torch.gru_cell,
    "rnn": torch.rnn_tanh_cell,
    "rnn-relu": torch.rnn_relu_cell,
}


@dataclass(frozen=True, kw_only=True)
class GradientNorms:
    """Norms of the gradient of one token's loss, k = 0 .. K steps before it.

    Means over the positions of a text.
    """

    layers: Numbers = field(repr=False)
    """(K + 1, L): with respect to each layer's state (all S vectors of it) as the next step reads
    it; at k = 0, as the head reads it."""
    state: Numbers = field(repr=False)
    """(K + 1,): with respect to the state of all layers together."""
    inputs: Numbers = field(repr=False)
    """(K + 1,): with respect to the embedded token."""
    positions: int
    """How many positions the means are over."""

    @property
    def half_life(self) -> float:
        """Steps in which the norm halves: a line fitted to its logarithm over the first 100.

        Infinite where the norm does not shrink.
        """
        curve = self.state[1 : 1 + _FITTED_STEPS]
        steps = np.flatnonzero(np.isfinite(curve) & (curve > 0))
        if len(steps) < 2:
            return 0.0
        slope = float(np.polyfit(steps, np.log2(curve[steps]), 1)[0])
        return -1 / slope if slope < 0 else float("inf")

    @property
    def first_half(self) -> float:
        """Steps after which half of the norm one step back is gone; infinite if never."""
        return steps_to_fall(self.state[1:], 0.5)

    @property
    def verdict(self) -> str:
        """`vanishing`, `healthy` or `exploding`."""
        if not np.isfinite(self.state).all() or self.half_life == float("inf"):
            return "exploding"
        return "healthy" if self.half_life >= _MIN_HEALTHY_HALF_LIFE else "vanishing"


def steps_to_fall(curve: Numbers, share: float) -> float:
    """Steps after which a curve (K,) first falls to a share of its first value; inf: never.

    Between two points of the curve, its logarithm is taken as a line.

    >>> steps_to_fall(np.array([1.0, 0.5, 0.25]), 0.5)
    1.0
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.asarray(curve, np.float64)) - np.log(curve[0])
    below = np.flatnonzero(logs <= np.log(share))
    if not below.size:
        return float("inf")
    after = int(below[0])
    high, low = logs[after - 1], logs[after]
    part = (high - np.log(share)) / (high - low) if np.isfinite(low) else 0.0
    return float(after - 1 + part)


def measure_gradient_norms(
    config: ModelConfig,
    weights: Weights,
    ids: TokenIds | Tokens,
    *,
    steps: int = MAX_STEPS_BACK,
    positions: int = MAX_POSITIONS,
    dtype: torch.dtype = torch.float32,
    progress: ProgressCallback = ignore_progress,
) -> GradientNorms:
    """Traces the losses at positions spread over a text back through its steps.

    Args:
        config: the model's shape.
        weights: the model's weights.
        ids: the text (T,), of at least three tokens.
        steps: K, fewer where the text is shorter.
        positions: at how many positions; each loss is that of one token, not a sum over time.
        dtype: of the arithmetic.
        progress: called with the share that is done.
    """
    steps = min(steps, len(ids) - 2)
    last = len(ids) - 2  # the last token is only predicted
    ends = np.unique(np.linspace(steps, last, positions).astype(np.intp))
    stepper = Stepper(config, weights)
    layer_parts, input_parts = [], []
    for first in range(0, len(ends), _MAX_ROWS):
        row_ends = ends[first : first + _MAX_ROWS]
        state = _states_before(stepper, ids, row_ends - steps)
        tokens = np.asarray(ids[row_ends[None] + np.arange(-steps, 2)[:, None]], np.int64)
        by_layer, of_inputs = _norms(config, weights, tokens, state, dtype)
        layer_parts.append(by_layer)
        input_parts.append(of_inputs)
        progress((first + len(row_ends)) / len(ends))
    layers = np.concatenate(layer_parts, axis=-1)[::-1]  # (K + 1, L, positions)
    inputs = np.concatenate(input_parts, axis=-1)[::-1]
    return GradientNorms(
        layers=layers.mean(-1),
        state=np.sqrt((layers**2).sum(1)).mean(-1),
        inputs=inputs.mean(-1),
        positions=len(ends),
    )


def _states_before(stepper: Stepper, ids: TokenIds | Tokens, positions: Positions) -> Array:
    """The states (L, S, B, H) before the tokens at these positions are read."""
    before = (positions - back for back in range(_WARM_UP_TOKENS, 0, -1))
    for step in step_rows(stepper, ids, len(positions), before):
        state = step.state
    return state


def _norms(
    config: ModelConfig, weights: Weights, tokens: TokenIds, state: Array, dtype: torch.dtype
) -> tuple[Numbers, Numbers]:
    """Gradient norms after each of T steps, by layer (T, L, B), and for the inputs (T, B).

    Args:
        config: the model's shape.
        weights: the model's weights.
        tokens: (T + 1, B); the last row is predicted.
        state: before the first row, (L, S, B, H).
        dtype: of the arithmetic.
    """
    inputs, probes, logits = _unroll(config, weights, tokens[:-1], state, dtype)
    loss = functional.cross_entropy(logits, torch.from_numpy(tokens[-1]), reduction="sum")
    count = len(inputs)
    # Of the last state, only what the head reads has a gradient; the rest is zero.
    with _flush_denormals():
        gradients = torch.autograd.grad(loss, [*inputs, *probes], materialize_grads=True)
    of_inputs = torch.stack([gradient.norm(dim=-1) for gradient in gradients[:count]])
    of_states = torch.stack(gradients[count:])
    of_states = of_states.view(count, config.num_layers, -1, *gradients[count].shape)
    by_layer = of_states.double().square().sum((2, 4)).sqrt()
    return by_layer.numpy(), of_inputs.double().numpy()


@contextmanager
def _flush_denormals() -> Iterator[None]:
    """Treats denormal numbers as zero in the block: they slow arithmetic a hundredfold."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _unroll(
    config: ModelConfig, weights: Weights, tokens: TokenIds, state: Array, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Computes all steps as a graph with tensors whose gradients can be read.

    Args:
        config: the model's shape.
        weights: the model's weights.
        tokens: (T, B).
        state: before them (L, S, B, H).
        dtype: of the arithmetic.

    Returns:
        T embedded inputs (B, E); T·L·S zeros (B, H), in that order, added to what the next step
        reads; and the logits (B, V) after the last step.
    """
    tensors = {name: torch.from_numpy(np.array(value)).to(dtype) for name, value in weights.items()}
    cell = _CELLS[config.cell]
    states = [[torch.from_numpy(vector).to(dtype) for vector in layer] for layer in state]
    embedding, groups = tensors["embedding.weight"], config.groups
    layers = [  # for each layer and group: weight_ih, weight_hh, bias_ih, bias_hh
        list(zip(*(tensors[f"layers.{layer}.{part}"].chunk(groups) for part in _PARTS),
                 strict=True))
        for layer in range(config.num_layers)
    ]  # fmt: skip
    inputs: list[Tensor] = []
    probes: list[Tensor] = []
    hidden = embedding
    for row in torch.from_numpy(tokens):
        hidden = embedding[row].requires_grad_()
        inputs.append(hidden)
        for layer in range(config.num_layers):
            below = hidden.chunk(groups, -1) if layer else [hidden] * groups
            before = zip(*(vector.chunk(groups, -1) for vector in states[layer]), strict=True)
            by_group = [
                cell(x, old if len(old) > 1 else old[0], *parts)
                for x, old, parts in zip(below, before, layers[layer], strict=True)
            ]
            if len(states[layer]) > 1:
                new = [torch.cat(parts, -1) for parts in zip(*by_group, strict=True)]
            else:
                new = [torch.cat(by_group, -1)]
            zeros = [torch.zeros_like(vector, requires_grad=True) for vector in new]
            probes += zeros
            states[layer] = [vector + zero for vector, zero in zip(new, zeros, strict=True)]
            hidden = new[0]  # the layer above reads it without the probe, the next step with it
    head = embedding if config.tied_head else tensors["head.weight"]
    return inputs, probes, functional.linear(states[-1][0], head, tensors["head.bias"])


def gradient_figure(norms: dict[str, GradientNorms], unit: str) -> Figure:
    """Curves of one or more models, by name: of the states, of the inputs, and of each layer.

    Args:
        norms: what was measured.
        unit: what a token is: `character`, `token`.
    """
    first = next(iter(norms.values()))
    panels = [
        ("the state of all layers", {name: row.state for name, row in norms.items()}),
        ("the input", {name: row.inputs for name, row in norms.items()}),
    ]
    if len(norms) == 1 and first.layers.shape[1] > 1:
        by_layer = {f"layer {layer + 1}": curve for layer, curve in enumerate(first.layers.T)}
        panels.append(("the state of each layer", by_layer))
    plots = []
    for title, curves in panels:
        peak = max(float(np.nan_to_num(curve, posinf=1e30).max()) for curve in curves.values())
        series = tuple(
            Series(name=name, x=np.arange(len(curve), dtype=float), y=curve)
            for name, curve in curves.items()
        )
        plots.append(
            Plot(
                series=series,
                title=title,
                x_label=f"{unit}s back",
                y_label="gradient norm",
                log_y=True,
                y_range=(max(peak, 1e-30) * _MIN_SHOWN_SHARE, max(peak, 1e-30)),
            )
        )
    return Figure(
        title="The gradient of the loss of one token, by the number of steps before it",
        plots=tuple(plots),
        notes=tuple(f"{name}: {describe_gradients(row, unit)}" for name, row in norms.items()),
    )


def describe_gradients(norms: GradientNorms, unit: str) -> str:
    """The verdict and the half-life in words.

    Args:
        norms: what was measured.
        unit: what a token is: `character`, `token`.
    """
    if norms.verdict == "exploding":
        return "exploding: the gradient grows on its way back"
    first = norms.first_half
    first_words = f", the first half within {first:.1f}" if np.isfinite(first) else ""
    return f"{norms.verdict}; it halves every {norms.half_life:.1f} {unit}s{first_words}"


@dataclass(frozen=True, kw_only=True)
class InputGradients:
    """The gradient of the last token's log-probability with respect to each token before it."""

    norms: Array
    """(T - 1,): norm of the gradient with respect to the embedded token."""
    products: Array
    """(T - 1,): gradient times embedding, in bits: positive made it likelier, to first order."""


def measure_input_gradients(
    config: ModelConfig,
    weights: Weights,
    ids: TokenIds,
    before: Array,
    dtype: torch.dtype = torch.float32,
) -> InputGradients:
    """Measures which earlier tokens a prediction depends on.

    After Simonyan et al. (2014) and Shrikumar et al. (2017).

    Args:
        config: the model's shape.
        weights: the model's weights.
        ids: the text (T,), at least two tokens; the last one is asked about.
        before: the state before the text (L, S, H).
        dtype: of the arithmetic.
    """
    tokens = np.asarray(ids[:-1], np.int64)[:, None]
    inputs, _, logits = _unroll(config, weights, tokens, before[:, :, None], dtype)
    logprob = functional.log_softmax(logits[0], dim=0)[int(ids[-1])]
    gradients = torch.stack(torch.autograd.grad(logprob, inputs))[:, 0]
    values = torch.stack(inputs)[:, 0].detach()
    bits = (gradients * values).sum(-1) / np.log(2)
    return InputGradients(
        norms=gradients.norm(dim=-1).float().numpy(), products=bits.float().numpy()
    )
