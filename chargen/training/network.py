"""RecurrentLM: embedding, recurrent layers, head; and its loss.

Tokens and state go in, logits and state come out. Parameters have the names and shapes of the
model file. The network knows no optimizer and no text; truncation, dropout rates and the device
come from outside.

`NextTokenLoss` never holds the logits of a large vocabulary all at once. The gradient of a token's
loss needs the logits of that token alone, so the tokens are taken in parts, and of each part only
the gradients of hidden states and head are kept (the idea of the fused linear cross entropy of Hsu
et al., 2024, arXiv:2410.10989).

Shape letters: V vocabulary, E embedding, H hidden_size, L layers, G gates, T time, B batch rows,
N tokens, S states of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from chargen.model.config import ModelConfig
from chargen.model.stored_weights import Weights
from chargen.training.kernels import STOCK, Kernel, stock_layers
from chargen.training.kernels.torch_kernels import LayerWeights, State


class RecurrentLayer(nn.Module):
    """One layer of one cell, in torch's equations."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        shapes = config.tensor_shapes()
        self.groups = config.groups
        rows, input_size = shapes[f"layers.{number}.weight_ih"]
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(shapes[f"layers.{number}.weight_hh"]))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))

    @property
    def weights(self) -> list[LayerWeights]:
        """The weights of each group, as torch's own recurrences take them."""
        joined = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        if self.groups == 1:
            return [joined]
        parts = (tensor.chunk(self.groups) for tensor in joined)
        return [(ih, hh, b, d) for ih, hh, b, d in zip(*parts, strict=True)]


class RecurrentLM(nn.Module):
    """A recurrent language model, with random weights at first.

    Args:
        config: its shape.
        dropout: on the output of every layer while training.
        dropout_masks: number of different masks before the head; their losses are averaged.
        embedding_dropout: on the embedding's output while training.
        kernel: what computes the recurrences.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        dropout: float = 0.0,
        dropout_masks: int = 1,
        embedding_dropout: float = 0.0,
        kernel: Kernel = STOCK,
    ) -> None:
        super().__init__()
        self.config = config
        self.kernel = kernel
        self.dropout = dropout
        self._masks = dropout_masks
        self.batch_rows: int | None = None
        """Batch rows of all processes, where there are several; `local_rows` are read here."""
        self.local_rows = slice(None)
        self.embedding_dropout = embedding_dropout
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.layers = nn.ModuleList(
            RecurrentLayer(config, layer) for layer in range(config.num_layers)
        )
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        if config.tied_head:
            self.head.weight = self.embedding.weight
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Orthogonal recurrent blocks (Saxe et al., 2014), forget bias 1 (Gers et al., 2000).

        A rectified recurrence starts at the identity instead (Le et al., 2015), scaled down a
        little so that its state cannot grow without bound.
        """
        size = self.config.group_size
        gates = self.config.cell_row.gates
        # A tied head wants embeddings of the head's scale.
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(size) if self._tied else 1.0)
        for layer in self._recurrent_layers():
            bound = 1 / math.sqrt(layer.weight_ih.shape[1])
            nn.init.uniform_(layer.weight_ih, -bound, bound)
            for start in range(0, len(layer.weight_hh), size):
                nn.init.orthogonal_(layer.weight_hh[start : start + size])
            if self.config.cell == "rnn-relu":
                layer.weight_hh.copy_(0.9 * torch.eye(size).repeat(self.config.groups, 1))
            nn.init.zeros_(layer.bias_ih)
            nn.init.zeros_(layer.bias_hh)
            if "forget" in gates:
                by_gate = layer.bias_ih.view(self.config.groups, len(gates), size)
                by_gate[:, gates.index("forget")] = 1.0
        if not self._tied:
            nn.init.uniform_(self.head.weight, -1 / math.sqrt(size), 1 / math.sqrt(size))
        nn.init.zeros_(self.head.bias)

    @property
    def _tied(self) -> bool:
        return self.config.tied_head

    def recurrent_matrices(self) -> dict[str, nn.Parameter]:
        """Weights from hidden units to hidden units, by name.

        Each holds a square (H, H) for every gate (of every group), one below another.
        """
        parameters = dict(self.named_parameters())
        names = [f"layers.{layer}.weight_hh" for layer in range(len(self.layers))]
        names += [f"layers.{layer}.weight_ih" for layer in range(1, len(self.layers))]
        return {name: parameters[name] for name in names}

    def _recurrent_layers(self) -> list[RecurrentLayer]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def zero_state(self, batch_size: int) -> State:
        """The memory before any text: S tensors of zeros (L, B, H)."""
        layers, states, size = self.config.state_shape
        return tuple(self.head.bias.new_zeros(layers, batch_size, size) for _ in range(states))

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads a window.

        Args:
            tokens: (T, B) ids.
            state: S tensors (L, B, H).

        Returns:
            logits (T, B, V) after each token, and the state after the last.
        """
        hidden, after = self.features(tokens, state)
        hidden = self._drop(hidden, self.dropout)
        # The mean of the groups' logits.
        weight = (
            self.head.weight if self.config.groups == 1 else self.head.weight / self.config.groups
        )
        return functional.linear(hidden, weight, self.head.bias), after

    def features(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """As `forward`, but returns the last layer's hidden states (T, B, H) before dropout."""
        dropping = self.training and self.embedding_dropout > 0
        # With ids, the kernel may compute each embedding's product once, not at every position.
        ids = None if dropping or self.config.vocab_size > tokens.numel() else tokens
        hidden: Tensor = self.embedding.weight
        if ids is None:
            hidden = self._drop(self.embedding(tokens), self.embedding_dropout)
        cell, groups, kernel = self.config.cell, self.config.groups, self.kernel
        if kernel.name == "stock" and groups == 1 and not (self.training and self.dropout):
            joined = [weights for layer in self._recurrent_layers() for weights in layer.weights]
            return stock_layers(cell, kernel.bf16, hidden, ids, joined, state)
        after = []
        for number, layer in enumerate(self._recurrent_layers()):
            if number:
                hidden, ids = self._drop(hidden, self.dropout), None
            # Each group reads the embedding, or its own units of the layer below.
            inputs = _divided(hidden, groups) if number else [hidden] * groups
            before = (_divided(part[number : number + 1], groups) for part in state)
            outputs, states = [], []
            for group in zip(inputs, layer.weights, zip(*before, strict=True), strict=True):
                output, state_after = kernel.recurrence(
                    cell, kernel.bf16, group[0], ids, *group[1:]
                )
                outputs.append(output)
                states.append(state_after)
            hidden = _joined(outputs)
            after.append(tuple(_joined(parts) for parts in zip(*states, strict=True)))
        return hidden, tuple(torch.cat(parts) for parts in zip(*after, strict=True))

    def dropped_out(self, hidden: Tensor) -> list[Tensor]:
        """Hidden states (T, B, H) after dropout, once for each mask: what the head reads."""
        masks = self._masks if self.dropout else 1
        return [self._drop(hidden, self.dropout) for _ in range(masks)]

    def _drop(self, hidden: Tensor, rate: float) -> Tensor:
        """Dropout with one mask for all time steps (Gal and Ghahramani, 2016)."""
        if not self.training or rate == 0:
            return hidden
        ones = torch.ones_like(hidden[:1])
        if self.batch_rows is not None:  # a mask for all rows: chance is the same however divided
            ones = hidden.new_ones(1, self.batch_rows, hidden.shape[2])
        mask = functional.dropout(ones, rate)
        return hidden * (mask if self.batch_rows is None else mask[:, self.local_rows])

    def to_weights(self) -> Weights:
        """A copy as numpy arrays, named as in the model file."""
        state = self.state_dict()
        weights = {
            name: state[name].detach().to("cpu", torch.float32, copy=True).numpy()
            for name in self.config.tensor_shapes()
        }
        if self.config.groups > 1:
            weights["head.weight"] /= np.float32(self.config.groups)
        return weights

    @torch.no_grad()
    def load_weights(self, weights: Weights) -> None:
        """Takes over the weights of a model file of the same config."""
        parameters = dict(self.named_parameters())
        for name in self.config.tensor_shapes():
            parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))
        if self.config.groups > 1:
            parameters["head.weight"].mul_(self.config.groups)


def _divided(units: Tensor, groups: int) -> Sequence[Tensor]:
    """The units of each group; a single group is passed on, without a step in the graph."""
    return (units,) if groups == 1 else units.chunk(groups, -1)


def _joined(groups: Sequence[Tensor]) -> Tensor:
    """The units of all groups (..., H) from those of each."""
    return groups[0] if len(groups) == 1 else torch.cat(list(groups), -1)


def detach(state: State) -> State:
    """The same state, cut off from the graph that computed it."""
    return tuple(part.detach() for part in state)


MAX_LOGITS = 1 << 24
"""Numbers (64 MB) up to which the logits of a window are computed at once."""


class TargetRows(Protocol):
    """What a network is to predict: ids (N,), or distributions (N, V); asked for in parts."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


class NextTokenLoss(nn.Module):
    """A network and its loss as one module, whose gradients several processes can average.

    Args:
        network: what reads.
    """

    def __init__(self, network: RecurrentLM) -> None:
        super().__init__()
        self.network = network

    def zero_state(self, batch_size: int) -> State:
        """The state before any text."""
        return self.network.zero_state(batch_size)

    def forward(
        self, inputs: Tensor, targets: Tensor | TargetRows, state: State
    ) -> tuple[Tensor, State]:
        """Mean nats of a window, and the state after it.

        Args:
            inputs: (T, B) ids.
            targets: (T, B) ids that follow them; or the rows of all positions, N = T B.
            state: S tensors (L, B, H).
        """
        hidden, after = self.network.features(inputs, state)
        weight, bias = self.network.head.weight, self.network.head.bias
        groups, linear = self.network.config.groups, self.network.kernel.linear
        rows: TargetRows = targets.flatten() if isinstance(targets, Tensor) else targets
        if len(rows) * len(weight) <= MAX_LOGITS:
            rows = rows[:]  # once for all groups and masks
        losses = []
        for dropped in self.network.dropped_out(hidden):
            # Each group has a loss of its own, so that the groups make different errors.
            inputs_by_group = dropped.flatten(0, 1).chunk(groups, 1)
            losses += [
                head_loss(group_hidden, head, bias, rows, linear)
                for group_hidden, head in zip(inputs_by_group, weight.chunk(groups, 1), strict=True)
            ]
        return torch.stack(losses).mean() if len(losses) > 1 else losses[0], after


def head_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: TargetRows,
    linear: Callable[[Tensor, Tensor, Tensor], Tensor] = functional.linear,
) -> Tensor:
    """Mean nats of the targets, from the hidden states before them.

    Args:
        hidden: (N, H).
        weight: of the head (V, H).
        bias: of the head (V,).
        targets: (N,) ids, or distributions (N, V).
        linear: computes the logits, unless the vocabulary is too large to do so at once.
    """
    if len(targets) * len(weight) <= MAX_LOGITS:
        return functional.cross_entropy(linear(hidden, weight, bias), targets[:])
    loss: Tensor = _LossInParts.apply(hidden, weight, bias, targets)  # type: ignore[no-untyped-call]
    return loss


class _LossInParts(torch.autograd.Function):
    """Loss and all gradients in one pass over parts of the tokens."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: TargetRows
    ) -> Tensor:
        count, needed = len(targets), any(ctx.needs_input_grad)
        d_hidden, d_weight, d_bias = (
            torch.zeros_like(tensor) if needed else tensor for tensor in (hidden, weight, bias)
        )
        total = hidden.new_zeros(())
        step = max(1, MAX_LOGITS // len(weight))
        for first in range(0, count, step):
            part = slice(first, first + step)
            logprobs = functional.linear(hidden[part], weight, bias).log_softmax(-1)
            target = targets[part]
            is_soft = target.dim() > 1
            if is_soft:
                total -= (target * logprobs).sum()
            else:
                total -= logprobs.gather(1, target[:, None]).sum()
            if needed:
                slope = logprobs.exp_()
                if is_soft:
                    slope -= target
                else:
                    minus_one = slope.new_full((len(target), 1), -1.0)
                    slope.scatter_add_(1, target[:, None], minus_one)
                slope /= count
                d_hidden[part] = slope @ weight
                d_weight.addmm_(slope.t(), hidden[part])
                d_bias += slope.sum(0)
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        return d_hidden * scale, d_weight * scale, d_bias * scale, None
