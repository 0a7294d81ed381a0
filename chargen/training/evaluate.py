"""How well a network predicts a text: nats per token, bits per byte and per character.

Learning while reading: every segment is scored first, and learned from then.

Dynamic evaluation (Krause et al., 2018): steps scaled by the gradients' size so far, and a pull
back to where the weights began, so that what was read long ago fades. Shape letters: N tokens,
T segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from chargen.model.checkpoint import Weights
from chargen.model.config import ModelConfig
from chargen.model.score import Score, make_score
from chargen.text.tokenizer import Tokens
from chargen.training.config import TrainConfig
from chargen.training.device import prepare_torch
from chargen.training.distributed import ALONE, Ranks
from chargen.training.kernels import candidates
from chargen.training.network import RecurrentLM, detach

_WINDOW = 128
_LOGITS = 1 << 24
"""Numbers that the logits of a window may have."""
_WARM_UP = 512
"""Tokens before its own that each lane of a long text reads."""


def score_long(
    config: ModelConfig, weights: Weights, tokens: Tokens, lengths: npt.NDArray[np.int64]
) -> Score:
    """Score a long text as fast as this machine can: its GPU, or the CPU's bfloat16.

    Args:
        config: the model's shape.
        weights: its weights.
        tokens: (N,).
        lengths: (2, V) bytes and characters of each token, of `token_lengths`.
    """
    device = prepare_torch(TrainConfig(steps=1))
    kernel = candidates(config.cell, device.type, "auto", "auto")[0]
    network = RecurrentLM(config, kernel=kernel)
    network.load_weights(weights)
    return evaluate(network.to(device), tokens, lengths, exact=False, warm_up=_WARM_UP)


def evaluate(
    network: RecurrentLM,
    tokens: Tokens,
    lengths: npt.NDArray[np.int64],
    limit: int | None = None,
    *,
    exact: bool = True,
    ranks: Ranks = ALONE,
    warm_up: int = 0,
) -> Score:
    """Score a text in lanes side by side, each from a zero state.

    Lanes of thousands of tokens differ from one long reading by less than the third decimal, and
    are many times faster; with a warm-up they differ by rounding.

    Args:
        network: its mode (training or not) is restored afterwards.
        tokens: (N,).
        lengths: (2, V) bytes and characters of each token, of `token_lengths`.
        limit: score about this many tokens, from places spread over the text; None scores all.
        exact: in float32; otherwise as the network is trained, which may be faster.
        ranks: the processes that share the lanes; all of them must call it.
        warm_up: tokens before its own that each lane reads first.
    """
    nats, predicted = 0.0, np.zeros(len(lengths[0]), np.int64)
    for logits, targets in _predictions(
        network, tokens, limit, ranks, exact=exact, warm_up=warm_up
    ):
        losses = functional.cross_entropy(logits, targets, reduction="none")
        nats += _total(losses)
        predicted += np.bincount(targets.cpu().numpy(), minlength=len(predicted))
    (nats,), predicted = _summed(ranks, predicted, nats)
    return make_score(nats, predicted, lengths)


def judge(
    network: RecurrentLM,
    tokens: Tokens,
    lengths: npt.NDArray[np.int64],
    limit: int,
    *,
    ranks: Ranks = ALONE,
) -> tuple[Score, float]:
    """The score that a network has once it is as sure of itself as it may be, and what that takes.

    A network that has read its text many times is too sure. The second result is the factor on its
    logits that predicts best (the inverse of the temperature of Guo et al., 2017), by one step of
    Newton's method from 1: the loss's slope in the factor is the expected logit less the true
    one, its curvature the logits' variance. The score is the parabola's, to rank by; `evaluate`
    tells what it comes to.

    Args:
        network: its mode is restored afterwards.
        tokens: (N,), not those it learns from.
        lengths: (2, V) bytes and characters of each token.
        limit: read about this many tokens, from places spread over the text.
        ranks: the processes that share the lanes; all of them must call it.
    """
    nats = slope = curvature = 0.0
    predicted = np.zeros(len(lengths[0]), np.int64)
    for logits, targets in _predictions(network, tokens, limit, ranks, exact=False):
        logs = logits.log_softmax(-1)
        likely, true = logs.exp(), targets[:, None]
        mean = (likely * logits).sum(-1)
        nats -= _total(logs.gather(-1, true))
        slope += _total(mean - logits.gather(-1, true)[:, 0])
        curvature += _total((likely * logits * logits).sum(-1) - mean * mean)
        predicted += np.bincount(targets.cpu().numpy(), minlength=len(predicted))
    (nats, slope, curvature), predicted = _summed(ranks, predicted, nats, slope, curvature)
    change = min(max(-slope / curvature, -0.5), 1.0) if curvature > 0 else 0.0
    nats += slope * change + curvature * change * change / 2
    return make_score(nats, predicted, lengths), 1 + change


def _summed(
    ranks: Ranks, predicted: npt.NDArray[np.int64], *values: float
) -> tuple[list[float], npt.NDArray[np.int64]]:
    """Over all processes; whole numbers stay whole in float64."""
    found = ranks.total(*values, *predicted.tolist())
    return found[: len(values)], np.array(found[len(values) :]).astype(np.int64)


def _total(values: torch.Tensor) -> float:
    """The sum in float64, which not every device has."""
    return float(values.cpu().double().sum())


@torch.no_grad()
def _predictions(
    network: RecurrentLM,
    tokens: Tokens,
    limit: int | None,
    ranks: Ranks,
    *,
    exact: bool,
    warm_up: int = 0,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (N, V) and what followed (N,), window by window, of a text read in lanes."""
    count = len(tokens) - 1
    wanted = count if limit is None else min(count, limit)
    lanes = max(1, min(32, wanted // 1024))
    span = max(1, wanted // lanes)
    device = network.head.bias.device
    starts = [lane * count // lanes for lane in range(lanes)]
    # The last lane takes what division left over, so that a full score covers every token.
    ends = [start + span for start in starts]
    if wanted == count:
        ends = [*starts[1:], count]
    starts, ends = (
        starts[ranks.process.rank :: ranks.count],
        ends[ranks.process.rank :: ranks.count],
    )
    if not starts:  # more processes than lanes
        return
    lanes = len(starts)
    was_training, kernel = network.training, network.kernel
    network.eval()
    network.kernel = replace(kernel, bf16=kernel.bf16 and not exact)
    state = network.zero_state(lanes)
    # A large vocabulary takes fewer steps at a time.
    window = max(1, min(_WINDOW, _LOGITS // (lanes * network.config.vocab_size)))
    begins = [max(0, start - warm_up) for start in starts]
    longest = max(end - begin for begin, end in zip(begins, ends, strict=True))
    for offset in range(0, longest, window):
        block = np.zeros((window + 1, lanes), np.int64)
        mask = np.zeros((window, lanes), bool)
        for lane, (begin, start, end) in enumerate(zip(begins, starts, ends, strict=True)):
            part = tokens[begin + offset : min(end, begin + offset + window) + 1]
            if len(part) > 1:
                block[: len(part), lane] = part
                mask[max(0, start - begin - offset) : len(part) - 1, lane] = True
        tokens_read = torch.from_numpy(block).to(device)
        logits, state = network(tokens_read[:-1], state)
        kept = torch.from_numpy(mask).to(device).flatten()
        yield logits.flatten(0, 1).float()[kept], tokens_read[1:].flatten()[kept]
    network.train(was_training)
    network.kernel = kernel


SEGMENT = 32
"""Tokens between two steps."""
_RATE = 1e-3
_PULL = 2e-3
"""Part of the way back to the first weights, a step."""
_MEMORY = 0.999


class OnlineLearner:
    """A model that changes as it reads; its text is one, in as many pieces as there come."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        prepare_torch(TrainConfig(steps=1, device="cpu"))
        kernel = candidates(config.cell, "cpu", "auto", "fp32")[0]
        self._network = RecurrentLM(config, kernel=kernel)
        self._network.load_weights(weights)
        self._network.train()
        self._parameters = list(self._network.parameters())
        self._first = [one.detach().clone() for one in self._parameters]
        self._state = self._network.zero_state(1)
        self._before: int | None = None
        self._optimizer = torch.optim.RMSprop(self._parameters, lr=_RATE, alpha=_MEMORY, eps=1e-6)

    def read(self, ids: npt.NDArray[Any]) -> float:
        """Read on, and learn: the nats that these tokens (N,) cost before they were learned.

        The very first token of all is read, and nothing predicts it.
        """
        tokens = [int(one) for one in ids]
        if self._before is not None:
            tokens.insert(0, self._before)
        nats = 0.0
        for start in range(0, len(tokens) - 1, SEGMENT):
            part = torch.tensor(tokens[start : start + SEGMENT + 1])[:, None]
            logits, state = self._network(part[:-1], self._state)
            loss = functional.cross_entropy(logits.flatten(0, 1), part[1:].flatten())
            nats += loss.item() * (len(part) - 1)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(list[torch.Tensor](self._parameters), self._first, _PULL)
            self._state = detach(state)
        if tokens:
            self._before = tokens[-1]
        return nats

    def weights(self) -> Weights:
        """The weights as they are now: copies."""
        weights = self._network.to_weights()
        assert all(one.dtype == np.float32 for one in weights.values())
        return weights
