"""Fast recurrences for CPU in plain torch, and which recurrence to use where.

torch's GRU and RNN go through autograd step by step, and its LSTM stays in float32. Here each
window is one autograd function: one product for the inputs of all steps outside of it, one
recurrent product a step into memory taken once, and a backward pass written by hand, whose
factors are computed for the whole window at once and whose weight gradient is one product over
time. Any float type; `bf16` multiplies in bfloat16 and keeps states and sums in float32.

Shape letters: T time, B batch, H hidden_size, G gates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from chargen.training.kernels import native, torch_kernels
from chargen.training.kernels.build import cpu_limits
from chargen.training.kernels.torch_kernels import LayerWeights, State

_STOCK: dict[str, Callable[..., Any]] = {
    "lstm": torch.lstm,
    "gru": torch.gru,
    "rnn": torch.rnn_tanh,
    "rnn-relu": torch.rnn_relu,
}


@dataclass(frozen=True)
class Kernel:
    """One way to compute a recurrence."""

    name: str
    """`native` (C), `torch` (this file) or `stock` (torch's own: oneDNN, cuDNN)."""
    bf16: bool
    """Products in bfloat16; of torch's own, on a GPU, states within a window as well."""

    @property
    def label(self) -> str:
        """As shown to a person."""
        return f"{self.name} {'bf16' if self.bf16 else 'fp32'}"

    def __call__(
        self, cell: str, inputs: Tensor, tokens: Tensor | None, weights: LayerWeights, state: State
    ) -> tuple[Tensor, State]:
        """One layer over one window, in torch's equations.

        Args:
            cell: a row of the table of cells.
            inputs: (T, B, I), or with `tokens` the embeddings (V, I) that they stand for.
            tokens: (T, B) ids, or None.
            weights: of the layer.
            state: S tensors (1, B, H).

        Returns:
            The hidden states (T, B, H), and the state after the last step like `state`.
        """
        if self.name == "native":
            return native.recurrence(cell, self.bf16, inputs, tokens, weights, state)
        if self.name == "torch":
            return torch_kernels.recurrence(cell, self.bf16, inputs, tokens, weights, state)
        if tokens is not None:
            inputs = functional.embedding(tokens, inputs)
        kind = torch.bfloat16 if self.bf16 else inputs.dtype
        own = [one.to(kind) for one in weights]
        before = tuple(one.to(kind) for one in state)
        output, *after = _STOCK[cell](
            inputs.to(kind),
            before if len(before) > 1 else before[0],
            own,
            True,
            1,
            0.0,
            torch.is_grad_enabled(),
            False,
            False,
        )
        return output.to(inputs.dtype), tuple(
            one.to(old.dtype) for one, old in zip(after, state, strict=True)
        )

    def linear(self, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The head's product (N, H) to (N, V), in the precision of the recurrences' own."""
        if self.name == "native" and self.bf16:
            return native.linear(inputs, weight, bias)
        return functional.linear(inputs, weight, bias)


STOCK = Kernel("stock", bf16=False)
MIN_CUDNN_BF16 = 91_300
"""The first cuDNN whose recurrences torch lets multiply in bfloat16."""


def candidates(cell: str, device: str, kernel: str, precision: str) -> list[Kernel]:
    """What can compute this cell on this device, the one that is usually fastest first.

    Args:
        cell: a row of the table of cells.
        device: torch's name of it: cpu, cuda, mps.
        kernel: a name of `KERNELS`; auto leaves the choice here.
        precision: a name of `PRECISIONS`; auto leaves the choice here.
    """
    every = [STOCK]
    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    if device == "cuda" and (version or 0) >= MIN_CUDNN_BF16:
        every.insert(0, Kernel("stock", bf16=True))
    if device == "cpu":
        every.append(Kernel("torch", bf16=False))
        if cell != "lstm":
            every.reverse()  # oneDNN's LSTM is at float32's limit; torch's other cells are far off
        # Builds without oneDNN do not have the question, either.
        supports_bf16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)
        if cpu_limits().bf16 and supports_bf16():
            every.insert(0, Kernel("torch", bf16=True))
        if native.library() is not None:
            every.insert(0, Kernel("native", bf16=False))
        if native.has_bf16():
            every.insert(0, Kernel("native", bf16=True))
    return [
        one
        for one in every
        if kernel in ("auto", one.name) and precision in ("auto", "bf16" if one.bf16 else "fp32")
    ]
