"""The gate between the network and the counts: how much each is believed, position by position.

Both give a distribution over the next token. The gate raises each to a power and multiplies them:
p(v) is proportional to net(v)^a counts(v)^b, with a and b from a small network that sees how often
contexts were seen, how sure both are and whether they agree. It is fitted by gradient descent on
text that neither has learned. Shape letters: Q positions, V vocabulary, F features, U units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chargen.inference.count_memory import Prediction

UNITS = 24
ORDERS = (1, 2, 3, 4, 5, 6, 8, 10, 12)
"""The lengths of contexts that the gate sees."""
FEATURES = 3 * len(ORDERS) + 6
_MIN_STEPS_PER_PASS, _MAX_STEPS_PER_PASS = 6, 200
_PASSES = 12
_BATCH = 256
_RATE = 4e-3
_DECAY = 2e-2
_TINY = 1e-9
_MODEST_POWER = 0.05
_DOUBTED_TOKENS = 500
"""Tokens that fit a gate of which half is believed."""
_USUAL = Path(__file__).with_name("usual_gates.npz")
_PARTS = ("mean", "scale", "hidden", "output")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The weights of the gate."""

    mean: Floats
    """(F,): what is taken from the features."""
    scale: Floats
    """(F,): what they are divided by then."""
    hidden: Floats
    """(U, F + 1): the weights and biases of the units."""
    output: Floats
    """(2, U + 1): of the two powers."""

    def powers(self, features: Floats) -> Floats:
        """The powers of network and counts (Q, 2)."""
        units = self._units(features)
        return np.asarray(units @ self.output[:, :-1].T + self.output[:, -1], np.float32)

    def _units(self, features: Floats) -> Floats:
        scaled = np.clip((features - self.mean) / self.scale, -5, 5)
        return np.asarray(np.tanh(scaled @ self.hidden[:, :-1].T + self.hidden[:, -1]), np.float32)

    def mix(self, network: Floats, counted: Prediction) -> Floats:
        """The log-likelihoods of both together (Q, V).

        Args:
            network: its log-likelihoods (Q, V).
            counted: what the counts say.
        """
        powers = self.powers(features_of(network, counted))
        return _mixed(powers, network, _log(counted.likelihoods))


def features_of(network: Floats, counted: Prediction) -> Floats:
    """What the gate sees of each position (Q, F)."""
    likelihoods = counted.likelihoods
    logs = _log(likelihoods)
    rows = np.arange(len(network))
    columns = []
    for order in ORDERS:
        if order < counted.seen.shape[1]:
            seen, kinds = counted.seen[:, order], counted.kinds[:, order]
            columns += [np.log1p(seen), np.log1p(kinds), np.minimum(seen, 1.0)]
        else:
            columns += [np.zeros(len(rows), np.float32)] * 3
    best, best_counted = network.argmax(1), likelihoods.argmax(1)
    columns += [
        -(np.exp(network) * network).sum(1),
        -(likelihoods * logs).sum(1),
        network[rows, best],
        logs[rows, best_counted],
        logs[rows, best],
        network[rows, best_counted],
    ]
    return np.stack(columns, 1).astype(np.float32)


def _log(likelihoods: Floats) -> Floats:
    return np.log(np.maximum(likelihoods, _TINY))


def _mixed(powers: Floats, network: Floats, logs: Floats) -> Floats:
    mixed = powers[:, :1] * network + powers[:, 1:] * logs
    mixed -= mixed.max(1, keepdims=True)
    mixed -= np.log(np.exp(mixed).sum(1, keepdims=True))
    return mixed


def fit_gate(
    blocks: Callable[[npt.NDArray[np.int64]], tuple[Floats, Prediction]],
    targets: npt.NDArray[np.int64],
    start: Gate | None = None,
    seed: int = 0,
) -> Gate:
    """Fits a gate on text that neither the network nor the counts have learned.

    Args:
        blocks: gives the network's log-likelihoods and the counts' prediction of some positions,
            which are numbered from 0.
        targets: (N,) the token that follows each position.
        start: the gate to begin with; None begins with chance.
        seed: of the first weights and of the order of the positions.
    """
    random = np.random.default_rng(seed)
    size = len(targets)
    parts = [blocks(chosen) for chosen in np.array_split(np.arange(size), max(1, size // 4096))]
    features = np.concatenate([features_of(*part) for part in parts])
    network = np.concatenate([part[0] for part in parts])
    logs = np.concatenate([_log(part[1].likelihoods) for part in parts])
    if start is None:
        start = _chance(features.mean(0), features.std(0) + 0.05, random)
    mean, scale = start.mean, start.scale
    weights = [start.hidden.copy(), start.output.copy()]
    begun = [weight.copy() for weight in weights]
    moments = [[np.zeros_like(weight), np.zeros_like(weight)] for weight in weights]
    scaled = np.clip((features - mean) / scale, -5, 5)
    batch = min(_BATCH, size)
    steps = max(_MIN_STEPS_PER_PASS, min(_MAX_STEPS_PER_PASS, size // batch)) * _PASSES
    for step in range(steps):
        chosen = random.integers(0, size, batch)
        gradients = _gradients(
            weights, scaled[chosen], network[chosen], logs[chosen], targets[chosen]
        )
        rate = _RATE * (1 - step / steps)
        for weight, (first, second), gradient in zip(weights, moments, gradients, strict=True):
            first += 0.1 * (gradient - first)
            second += 0.01 * (gradient * gradient - second)
            grown = 1 - 0.9 ** (step + 1), 1 - 0.99 ** (step + 1)
            weight -= rate * (first / grown[0]) / (np.sqrt(second / grown[1]) + 1e-8)
        for weight, first_weight in zip(weights, begun, strict=True):
            weight -= rate * _DECAY * (weight - first_weight)
    # Few tokens fit a gate to themselves: the fewer, the nearer to the network alone.
    trust = size / (size + _DOUBTED_TOKENS)
    output = trust * weights[1]
    output[0, -1] += 1 - trust
    return Gate(mean=mean, scale=scale, hidden=weights[0], output=output.astype(np.float32))


def _chance(mean: Floats, scale: Floats, random: np.random.Generator) -> Gate:
    """A gate that believes both alike, its units by chance."""
    hidden = np.concatenate([random.normal(0, 0.3, (UNITS, FEATURES)), np.zeros((UNITS, 1))], 1)
    output = np.concatenate([np.zeros((2, UNITS)), np.full((2, 1), 0.5)], 1)
    return Gate(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        hidden=hidden.astype(np.float32),
        output=output.astype(np.float32),
    )


def usual_gate(*, grows: bool) -> Gate:
    """The gate that was fitted on other texts: what a text begins with that is short."""
    with np.load(_USUAL) as arrays:
        name = "growing" if grows else "static"
        return Gate(**{part: arrays[f"{name}.{part}"] for part in _PARTS})


def modest_gate(*, grows: bool) -> Gate:
    """A gate that believes the network, and the counts a little.

    It suits a network that has learned the counted text itself.
    """
    usual = usual_gate(grows=grows)
    output = np.zeros_like(usual.output)
    output[:, -1] = 1.0, _MODEST_POWER
    return replace(usual, output=output)


def _gradients(
    weights: list[Floats],
    scaled: Floats,
    network: Floats,
    logs: Floats,
    targets: npt.NDArray[np.int64],
) -> list[Floats]:
    """The gradients of the mean loss of a batch, for the weights of both layers."""
    hidden, output = weights
    units = np.tanh(scaled @ hidden[:, :-1].T + hidden[:, -1])
    powers = units @ output[:, :-1].T + output[:, -1]
    likelihoods = np.exp(_mixed(powers, network, logs))
    rows = np.arange(len(targets))
    # d loss / d power is what the expert says on average less what it says of the target.
    d_powers = np.stack(
        [(likelihoods * expert).sum(1) - expert[rows, targets] for expert in (network, logs)],
        1,
    ) / len(rows)
    d_output = np.concatenate([d_powers.T @ units, d_powers.sum(0)[:, None]], 1)
    d_units = (d_powers @ output[:, :-1]) * (1 - units * units)
    d_hidden = np.concatenate([d_units.T @ scaled, d_units.sum(0)[:, None]], 1)
    return [d_hidden.astype(np.float32), d_output.astype(np.float32)]
