"""How well a network predicts a text, and how well it does while it learns from that text.

Texts are read in batch rows (see text/rows.py). Shape letters: N tokens or predictions,
V vocabulary, B batch rows, T time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.rmsprop import rmsprop

from chargen.model.config import ModelConfig
from chargen.model.score import Score, make_score
from chargen.model.stored_weights import Weights
from chargen.text.rows import lay_out, windows
from chargen.text.tokenizer import Tokens
from chargen.training.config import TrainConfig
from chargen.training.device import begin_training, prepare_torch, preserved_torch_settings
from chargen.training.distributed import ALONE, Ranks
from chargen.training.kernels import candidates
from chargen.training.kernels.torch_kernels import State
from chargen.training.network import RecurrentLM
from chargen.training.step import take_step

_MAX_ROWS, _MIN_ROW_TOKENS = 32, 1024
_WINDOW_TOKENS = 128
"""T."""
_MAX_LOGITS = 1 << 24
"""Numbers that the logits of a window may have."""
_WARM_UP_TOKENS = 512
"""Tokens that each row of a long text reads before its own part."""
_MIN_CALIBRATION_TOKENS = 4096
"""Tokens from which a text can tell how confident a network may be."""
SEGMENT_TOKENS = 32
"""Tokens between two updates of a model that learns while it reads."""
_RATE = 1e-3
_GRADIENT_MEMORY = 0.999
_PULL = 2e-3
"""Share of the way back to the first weights, per update."""


def nats_of_long_text(config: ModelConfig, weights: Weights, tokens: npt.NDArray[Any]) -> float:
    """Nats that the tokens (N,) after the first cost, as fast as this machine can compute them.

    On its GPU, or in the CPU's bfloat16.
    """
    with preserved_torch_settings():
        device = prepare_torch(TrainConfig(steps=1))
        kernel = candidates(config.cell, device.type, "auto", "auto")[0]
        network = RecurrentLM(config, kernel=kernel)
        network.load_weights(weights)
        network.to(device)
        nats, _ = _sums(network, tokens, None, ALONE, exact=False, warm_up=_WARM_UP_TOKENS)
    return nats


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
    """Scores a text in batch rows, each from a zero state.

    Rows of thousands of tokens give the score of one long reading up to the third decimal, many
    times faster. With a warm-up the difference is rounding.

    Args:
        network: its mode (training or not) is restored afterwards.
        tokens: (N,).
        lengths: (2, V) bytes and characters of each token, of `token_lengths`.
        limit: scores about this many tokens, spread over the text; None scores all.
        exact: computes in float32; otherwise as the network is trained, which may be faster.
        ranks: the processes that share the rows; all of them must call it.
        warm_up: tokens that each row reads before its own part.
    """
    nats, counts = _sums(network, tokens, limit, ranks, exact=exact, warm_up=warm_up)
    return make_score(nats, counts, lengths)


def _sums(
    network: RecurrentLM,
    tokens: Tokens,
    limit: int | None,
    ranks: Ranks,
    *,
    exact: bool,
    warm_up: int,
) -> tuple[float, npt.NDArray[np.int64]]:
    """Nats of all predictions, and how often each token (V,) was to be predicted."""
    nats, counts = 0.0, np.zeros(network.config.vocab_size, np.int64)
    for logits, targets in _predictions(
        network, tokens, limit, ranks, exact=exact, warm_up=warm_up
    ):
        losses = functional.cross_entropy(logits, targets, reduction="none")
        nats += _total(losses)
        counts += np.bincount(targets.cpu().numpy(), minlength=len(counts))
    (nats,), counts = _summed(ranks, counts, nats)
    return nats, counts


def evaluate_calibrated(
    network: RecurrentLM,
    tokens: Tokens,
    lengths: npt.NDArray[np.int64],
    limit: int,
    *,
    ranks: Ranks = ALONE,
) -> tuple[Score, float]:
    """The score of a network after the best scaling of its logits, and that factor.

    A network that has read its text many times is too confident. The factor (the inverse of the
    temperature of Guo et al., 2017) comes from one step of Newton's method that starts at 1: the
    loss's slope in the factor is the expected logit less the true one, and its curvature is the
    logits' variance. The score is the parabola's, good enough to rank by; `evaluate` of the scaled
    network measures it. Where a text is too short to fit a factor, or the head's weights are also
    the embedding's, the factor is 1.

    Args:
        network: its mode is restored afterwards.
        tokens: (N,), not those that it learns from.
        lengths: (2, V) bytes and characters of each token.
        limit: reads about this many tokens, spread over the text.
        ranks: the processes that share the rows; all of them must call it.
    """
    if len(tokens) < _MIN_CALIBRATION_TOKENS or network.config.tied_head:
        return evaluate(network, tokens, lengths, limit, exact=False, ranks=ranks), 1.0
    nats = slope = curvature = 0.0
    counts = np.zeros(len(lengths[0]), np.int64)
    for logits, targets in _predictions(network, tokens, limit, ranks, exact=False):
        logprobs = logits.log_softmax(-1)
        probabilities, target = logprobs.exp(), targets[:, None]
        mean = (probabilities * logits).sum(-1)
        nats -= _total(logprobs.gather(-1, target))
        slope += _total(mean - logits.gather(-1, target)[:, 0])
        curvature += _total((probabilities * logits * logits).sum(-1) - mean * mean)
        counts += np.bincount(targets.cpu().numpy(), minlength=len(counts))
    (nats, slope, curvature), counts = _summed(ranks, counts, nats, slope, curvature)
    change = min(max(-slope / curvature, -0.5), 1.0) if curvature > 0 else 0.0
    nats += slope * change + curvature * change * change / 2
    return make_score(nats, counts, lengths), 1 + change


def _summed(
    ranks: Ranks, counts: npt.NDArray[np.int64], *values: float
) -> tuple[list[float], npt.NDArray[np.int64]]:
    """Sums over all processes; whole numbers stay whole in float64."""
    sums = ranks.all_reduce(*values, *counts.tolist())
    return sums[: len(values)], np.array(sums[len(values) :]).astype(np.int64)


def _total(values: Tensor) -> float:
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
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (N, V) and the tokens that followed (N,), a window at a time."""
    count = len(tokens) - 1
    read = count if limit is None else min(count, limit)
    rows = lay_out(count, min(_MAX_ROWS, read // _MIN_ROW_TOKENS), limit=limit)
    rows = rows.share(ranks.process.rank, ranks.count)
    if not len(rows):  # more processes than rows
        return
    was_training, kernel = network.training, network.kernel
    device = network.head.bias.device
    network.eval()
    network.kernel = replace(kernel, bf16=kernel.bf16 and not exact)
    state = network.zero_state(len(rows))
    # A large vocabulary takes fewer positions at a time.
    length = max(1, min(_WINDOW_TOKENS, _MAX_LOGITS // (len(rows) * network.config.vocab_size)))
    for window in windows(tokens, rows, length, warm_up=warm_up):
        block = torch.from_numpy(window.tokens).to(device)
        logits, state = network(block[:-1], state)
        counted = torch.from_numpy(window.counts).to(device).flatten()
        yield logits.flatten(0, 1).float()[counted], block[1:].flatten()[counted]
    network.train(was_training)
    network.kernel = kernel


class OnlineLearner:
    """A model that learns while it reads one text: each segment is scored, then learned from.

    Dynamic evaluation (Krause et al., 2018): the size of the gradients so far scales the updates,
    and a pull back to the first weights lets fade what was read long ago.

    Args:
        config: the model's shape.
        weights: its weights, which stay as they are.
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        begin_training()
        with preserved_torch_settings():
            prepare_torch(TrainConfig(steps=1, device="cpu"))
            kernel = candidates(config.cell, "cpu", "auto", "fp32")[0]
            self._network = RecurrentLM(config, kernel=kernel)
            self._network.load_weights(weights)
            self._network.train()
            self._optimizer = _PulledRMSprop(self._network)
            self._state = self._network.zero_state(1)
        self._last_token: int | None = None
        self._logprobs = np.empty((0, config.vocab_size), np.float32)
        """What the last segment was predicted to be (n, V)."""

    def read(self, ids: npt.NDArray[Any]) -> float:
        """Reads on and learns: the nats that these tokens (N,) cost before they were learned.

        The very first token of the text is read, and nothing predicts it.
        """
        tokens = [int(token) for token in ids]
        if self._last_token is not None:
            tokens.insert(0, self._last_token)
        nats = 0.0
        with preserved_torch_settings():
            prepare_torch(TrainConfig(steps=1, device="cpu"))
            for start in range(0, len(tokens) - 1, SEGMENT_TOKENS):
                segment = torch.tensor(tokens[start : start + SEGMENT_TOKENS + 1])[:, None]
                loss, _, self._state = take_step(
                    self._loss, self._optimizer, segment[:-1], segment[1:], self._state, _RATE
                )
                nats += loss.item() * (len(segment) - 1)
        if tokens:
            self._last_token = tokens[-1]
        return nats

    def predictions(
        self, ids: npt.NDArray[Any]
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
        """Reads a text (T,) from its beginning and learns, as `token_scores.predictions` reads.

        Yields:
            positions (n,), and the log-likelihoods (n, V) of what follows them, from before they
            were learned.
        """
        for start in range(0, len(ids) - 1, SEGMENT_TOKENS):
            part = ids[start : start + SEGMENT_TOKENS + 1]
            self._last_token = None  # each part begins with the last token of the one before
            self.read(part)
            yield np.arange(start, start + len(part) - 1), self._logprobs

    def weights(self) -> Weights:
        """The weights as they are now: copies."""
        return self._network.to_weights()

    def _loss(self, inputs: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        """Mean nats of what the model as a whole predicts, whatever its groups say."""
        logits, after = self._network(inputs, state)
        self._logprobs = torch.log_softmax(logits.detach()[:, 0], -1).numpy()
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten()), after


class _PulledRMSprop:
    """RMSprop by torch's function, followed by a pull back to the first weights.

    torch's class of that name loads torch's compiler, which changes the host's warnings.
    """

    def __init__(self, network: RecurrentLM) -> None:
        self._parameters = list(network.parameters())
        self._first = [parameter.detach().clone() for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = [torch.zeros(()) for _ in self._parameters]

    def clip(self) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)

    def step(self, rate: float | Tensor, progress: float = 0.0) -> None:
        """Changes the weights, then forgets the gradients."""
        with torch.no_grad():
            rmsprop(
                list[Tensor](self._parameters),
                [parameter.grad for parameter in self._parameters if parameter.grad is not None],
                self._squares,
                [],
                [],
                self._steps,
                foreach=False,
                lr=float(rate),
                alpha=_GRADIENT_MEMORY,
                eps=1e-6,
                weight_decay=0.0,
                momentum=0.0,
                centered=False,
            )
            torch._foreach_lerp_(list[Tensor](self._parameters), self._first, _PULL)
        for parameter in self._parameters:
            parameter.grad = None
