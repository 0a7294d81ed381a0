"""How far back the gradient reaches, and which inputs a prediction answers to. Needs torch.

A loss at one moment is traced back through every step before it. What is left of its gradient k
steps earlier says how much training could learn there from that loss: in a plain RNN it vanishes
(Hochreiter, 1991; Bengio, Simard and Frasconi, 1994), gates let it through.

Shape letters: T time, K steps back, B places, L layers, S states, H hidden_size, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from chargen.inference.batched_read import Progress, unwatched
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.insight.plot import Figure, Numbers, Plot, Series
from chargen.model.checkpoint import Weights
from chargen.model.config import ModelConfig
from chargen.text.tokenizer import Tokens

STEPS = 200
"""How many steps back are looked at."""
PLACES = 256
"""Moments of the text whose losses are traced back, at most."""
_AT_ONCE = 32
_WARM_UP = 256
"""Tokens read before the traced ones, without gradients: the state need not begin at zero."""
_FITTED = 100
"""Steps back that the half-life is fitted to."""
_SHOWN = 1e-8
"""Share of the largest gradient at which pictures end."""
_SHORT = 7.5
"""A shorter half-life leaves less than a ten-thousandth 100 steps back: vanishing."""

_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_CELLS: dict[str, Callable[..., Any]] = {
    "lstm": torch.lstm_cell,
    "gru": torch.gru_cell,
    "rnn": torch.rnn_tanh_cell,
    "rnn-relu": torch.rnn_relu_cell,
}


@dataclass(frozen=True, kw_only=True)
class GradientNorms:
    """The gradient of the loss at one moment, as norms k = 0 .. K steps before it."""

    layers: Numbers = field(repr=False)
    """(K + 1, L): with respect to each layer's state (all S vectors of it), as it is handed to
    the next step, or at k = 0 to the head; the mean over the places."""
    whole: Numbers = field(repr=False)
    """(K + 1,): with respect to the state of all layers together."""
    inputs: Numbers = field(repr=False)
    """(K + 1,): with respect to the embedded token."""
    places: int

    @property
    def half_life(self) -> float:
        """Steps in which it halves, by the best line through its logarithm over the first 100.

        Infinite where it does not shrink.
        """
        curve = self.whole[1 : 1 + _FITTED]
        known = np.flatnonzero(np.isfinite(curve) & (curve > 0))
        if len(known) < 2:
            return 0.0
        slope = float(np.polyfit(known, np.log2(curve[known]), 1)[0])
        return -1 / slope if slope < 0 else float("inf")

    @property
    def first_half(self) -> float:
        """Steps after which half of what goes back one step is gone; infinite if never."""
        return fall(self.whole[1:], 0.5)

    @property
    def verdict(self) -> str:
        """`vanishing`, `healthy` or `exploding`."""
        if not np.isfinite(self.whole).all() or self.half_life == float("inf"):
            return "exploding"
        return "healthy" if self.half_life >= _SHORT else "vanishing"


def fall(curve: Numbers, share: float) -> float:
    """Where a curve (K,) first falls to a share of its beginning, between its points; inf: never.

    >>> fall(np.array([1.0, 0.5, 0.25]), 0.5)
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
    steps: int = STEPS,
    places: int = PLACES,
    dtype: torch.dtype = torch.float32,
    progress: Progress = unwatched,
) -> GradientNorms:
    """Trace the losses at places spread over a text back through its steps.

    Args:
        config: the model's shape.
        weights: the model's.
        ids: the text (T,), of at least three tokens.
        steps: K, fewer where the text is shorter.
        places: how many losses; each is one token's, not a sum over time.
        dtype: of the arithmetic.
        progress: is told how far it is.
    """
    steps = min(steps, len(ids) - 2)
    last = len(ids) - 2  # the last token is only predicted
    ends = np.unique(np.linspace(steps, last, places).astype(np.intp))
    stepper = Stepper(config, weights)
    parts = []
    for first in range(0, len(ends), _AT_ONCE):
        some = ends[first : first + _AT_ONCE]
        state = _states_before(stepper, ids, some - steps)
        rows = np.asarray(ids[some[None] + np.arange(-steps, 2)[:, None]], np.int64)
        parts.append(_norms(config, weights, rows, state, dtype))
        progress((first + len(some)) / len(ends))
    layers = np.concatenate([one for one, _ in parts], axis=-1)[::-1]  # (K + 1, L, places)
    inputs = np.concatenate([one for _, one in parts], axis=-1)[::-1]
    return GradientNorms(
        layers=layers.mean(-1),
        whole=np.sqrt((layers**2).sum(1)).mean(-1),
        inputs=inputs.mean(-1),
        places=len(ends),
    )


def _states_before(stepper: Stepper, ids: TokenIds | Tokens, places: npt.NDArray[np.intp]) -> Array:
    """The states (L, S, B, H) before the tokens at these places were read."""
    many = stepper.batched(len(places))
    state = many.zero_state()
    for back in range(_WARM_UP, 0, -1):
        read = places - back
        many.step(np.asarray(ids[np.maximum(read, 0)], np.int64), state, state)
        state[:, :, read < 0] = 0
    return state


def _norms(
    config: ModelConfig, weights: Weights, rows: TokenIds, state: Array, dtype: torch.dtype
) -> tuple[Numbers, Numbers]:
    """Norms after each of T steps, by layer (T, L, B), and for the inputs (T, B)."""
    inputs, probes, logits = _unrolled(config, weights, rows[:-1], state, dtype)
    loss = functional.cross_entropy(logits, torch.from_numpy(rows[-1]), reduction="sum")
    count = len(inputs)
    # Of the last state, only what the head reads has a gradient; the rest is zero.
    with _flushing():
        found = torch.autograd.grad(loss, [*inputs, *probes], materialize_grads=True)
    own = torch.stack([one.norm(dim=-1) for one in found[:count]])
    states = torch.stack(found[count:]).view(count, config.num_layers, -1, *found[count].shape)
    return states.double().square().sum((2, 4)).sqrt().numpy(), own.double().numpy()


@contextmanager
def _flushing() -> Iterator[None]:
    """What is smaller than an ordinary number counts as zero: it slows sums a hundredfold."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _unrolled(
    config: ModelConfig, weights: Weights, rows: TokenIds, state: Array, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Every step as a graph of its own, and places in it where gradients can be read.

    Args:
        config: the model's shape.
        weights: the model's.
        rows: tokens (T, B).
        state: before them (L, S, B, H).
        dtype: of the arithmetic.

    Returns:
        T embedded inputs (B, E); T·L·S zeros (B, H), in that order, added to what the next step
        reads; and the logits (B, V) after the last step.
    """
    own = {name: torch.from_numpy(np.array(one)).to(dtype) for name, one in weights.items()}
    cell = _CELLS[config.cell]
    now = [[torch.from_numpy(one).to(dtype) for one in layer] for layer in state]
    embedding, count = own["embedding.weight"], config.groups
    layers = [
        list(zip(*(own[f"layers.{number}.{part}"].chunk(count) for part in _PARTS), strict=True))
        for number in range(config.num_layers)
    ]
    inputs: list[Tensor] = []
    probes: list[Tensor] = []
    hidden = embedding
    for row in torch.from_numpy(rows):
        hidden = embedding[row].requires_grad_()
        inputs.append(hidden)
        for number in range(config.num_layers):
            below = hidden.chunk(count, -1) if number else [hidden] * count
            before = zip(*(one.chunk(count, -1) for one in now[number]), strict=True)
            groups = [
                cell(one, old if len(old) > 1 else old[0], *parts)
                for one, old, parts in zip(below, before, layers[number], strict=True)
            ]
            if len(now[number]) > 1:
                fresh = [torch.cat(same, -1) for same in zip(*groups, strict=True)]
            else:
                fresh = [torch.cat(groups, -1)]
            zeros = [torch.zeros_like(one, requires_grad=True) for one in fresh]
            probes += zeros
            now[number] = [one + zero for one, zero in zip(fresh, zeros, strict=True)]
            hidden = fresh[0]  # upwards goes what the step made; on in time, the state
    head = embedding if config.tied_head else own["head.weight"]
    return inputs, probes, functional.linear(now[-1][0], head, own["head.bias"])


def gradient_figure(found: dict[str, GradientNorms], unit: str) -> Figure:
    """Curves of one or more models, by name: of the states, of the inputs, and of each layer.

    Args:
        found: what was measured.
        unit: what a token is: `character`, `token`.
    """
    only = next(iter(found.values()))
    panels = [
        ("the state of all layers", {name: one.whole for name, one in found.items()}),
        ("the input", {name: one.inputs for name, one in found.items()}),
    ]
    if len(found) == 1 and only.layers.shape[1] > 1:
        rows = {f"layer {row + 1}": one for row, one in enumerate(only.layers.T)}
        panels.append(("the state of each layer", rows))
    plots = []
    for title, curves in panels:
        peak = max(float(np.nan_to_num(one, posinf=1e30).max()) for one in curves.values())
        series = tuple(
            Series(name=name, x=np.arange(len(one), dtype=float), y=one)
            for name, one in curves.items()
        )
        plots.append(
            Plot(
                series=series,
                title=title,
                x_label=f"{unit}s back",
                y_label="gradient norm",
                log_y=True,
                y_range=(max(peak, 1e-30) * _SHOWN, max(peak, 1e-30)),
            )
        )
    return Figure(
        title="The gradient of the loss at one moment, so many steps before it",
        plots=tuple(plots),
        notes=tuple(f"{name}: {describe_gradients(one, unit)}" for name, one in found.items()),
    )


def describe_gradients(reach: GradientNorms, unit: str) -> str:
    """The half-life in words."""
    if reach.verdict == "exploding":
        return "exploding: the gradient grows on its way back"
    first = reach.first_half
    begins = f", the first half within {first:.1f}" if np.isfinite(first) else ""
    return f"{reach.verdict}; it halves every {reach.half_life:.1f} {unit}s{begins}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How the last token's log-probability answers to each token before it."""

    norms: Array
    """(T - 1,): norm of the gradient with respect to the embedded token."""
    products: Array
    """(T - 1,): gradient times embedding, in bits: positive made it likelier, to first order."""


def answer(
    config: ModelConfig, weights: Weights, ids: TokenIds, before: Array,
    dtype: torch.dtype = torch.float32,
) -> Answer:  # fmt: skip
    """Which earlier tokens a prediction answers to (Simonyan et al., 2014; Shrikumar et al., 2017).

    Args:
        config: the model's shape.
        weights: the model's.
        ids: the text (T,), two tokens at least; the last one is asked about.
        before: the state before the text (L, S, H).
        dtype: of the arithmetic.
    """
    rows = np.asarray(ids[:-1], np.int64)[:, None]
    inputs, _, logits = _unrolled(config, weights, rows, before[:, :, None], dtype)
    chance = functional.log_softmax(logits[0], dim=0)[int(ids[-1])]
    slopes = torch.stack(torch.autograd.grad(chance, inputs))[:, 0]
    values = torch.stack(inputs)[:, 0].detach()
    bits = (slopes * values).sum(-1) / np.log(2)
    return Answer(norms=slopes.norm(dim=-1).float().numpy(), products=bits.float().numpy())
