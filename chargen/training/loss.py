"""The loss of next-token prediction; of a large vocabulary without its logits all at once.

Logits of 32,000 subwords for 16,000 tokens take two gigabytes, their gradients as much again. But
a loss needs the logits of one token only to make its own gradient: so the tokens are taken some at
a time, and of each part only the gradients with respect to hidden states and head are kept.
(The idea is that of the fused linear cross entropy of Hsu et al., 2024, arXiv:2410.10989.)

Shape letters: N tokens, T bptt, B lanes, V vocabulary, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from chargen.training.kernels import State
from chargen.training.network import RecurrentLM

AT_ONCE = 1 << 24
"""Numbers that logits may have before they are taken in parts: 64 MB."""


class NextTokenLoss(nn.Module):
    """A network and its loss as one module: what several processes take the gradients of."""

    def __init__(self, network: RecurrentLM) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        """Mean nats of a window, and the state after it.

        Args:
            inputs: (T, B) ids.
            targets: (T, B) ids that follow them.
            state: S tensors (L, B, H).
        """
        hidden, after = self.network.features(inputs, state)
        weight, bias = self.network.head.weight, self.network.head.bias
        groups, linear = self.network.config.groups, self.network.kernel.linear
        losses = []
        for thin in self.network.thinned(hidden):
            # Of each group on its own, as if it were alone: what one errs in, others then know.
            parts = zip(thin.flatten(0, 1).chunk(groups, 1), weight.chunk(groups, 1), strict=True)
            losses += [head_loss(own, head, bias, targets.flatten(), linear) for own, head in parts]
        return torch.stack(losses).mean() if len(losses) > 1 else losses[0], after


def head_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    linear: Callable[[Tensor, Tensor, Tensor], Tensor] = functional.linear,
) -> Tensor:
    """Mean nats of targets (N,) by hidden states (N, H), head (V, H) and bias (V,).

    Unless the vocabulary is large, `linear` makes the logits.
    """
    if len(targets) * len(weight) <= AT_ONCE:
        return functional.cross_entropy(linear(hidden, weight, bias), targets)
    found: Tensor = _InParts.apply(hidden, weight, bias, targets)  # type: ignore[no-untyped-call]
    return found


class _InParts(torch.autograd.Function):
    """Loss and all gradients in one pass over parts of the tokens."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        count, needed = len(targets), any(ctx.needs_input_grad)
        d_hidden, d_weight, d_bias = (
            torch.zeros_like(one) if needed else one for one in (hidden, weight, bias)
        )
        total = hidden.new_zeros(())
        step = max(1, AT_ONCE // len(weight))
        for first in range(0, count, step):
            part = slice(first, first + step)
            logs = functional.linear(hidden[part], weight, bias).log_softmax(-1)
            own = targets[part, None]
            total -= logs.gather(1, own).sum()
            if needed:
                slope = logs.exp_()
                slope.scatter_add_(1, own, slope.new_full(own.shape, -1.0))
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
