"""What a kernel is, and which kernels this machine has.

A kernel computes one recurrent layer over one window, forward and backward: in C (native.py), in
plain torch (torch_kernels.py), or by torch's own functions (stock). The network calls `Kernel`;
`candidates` lists the kernels of a machine; autotune.py measures them.

Shape letters: T time, B batch rows, V vocabulary, I input size, H hidden_size, N positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from chargen.training.kernels import native, torch_kernels
from chargen.training.kernels.build import cpu_limits
from chargen.training.kernels.library import is_parallel
from chargen.training.kernels.torch_kernels import LayerWeights, State

_STOCK_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "lstm": torch.lstm,
    "gru": torch.gru,
    "rnn": torch.rnn_tanh,
    "rnn-relu": torch.rnn_relu,
}


Recurrence = Callable[[str, bool, Tensor, Tensor | None, LayerWeights, State], tuple[Tensor, State]]


def stock_recurrence(
    cell: str,
    bf16: bool,
    inputs: Tensor,
    tokens: Tensor | None,
    weights: LayerWeights,
    state: State,
) -> tuple[Tensor, State]:
    """Computes one layer over one window by torch's own function; see `stock_layers`."""
    return stock_layers(cell, bf16, inputs, tokens, [weights], state)


def stock_layers(
    cell: str,
    bf16: bool,
    inputs: Tensor,
    tokens: Tensor | None,
    layers: Sequence[LayerWeights],
    state: State,
) -> tuple[Tensor, State]:
    """Computes layers over one window by torch's own function.

    In one call, cuDNN computes a layer's first steps while the layer below is at later ones.

    Args:
        cell: a row of the table of cells.
        bf16: computes products, and the states within the window, in bfloat16.
        inputs: (T, B, I), or with `tokens` the embeddings (V, I) that they stand for.
        tokens: (T, B) ids, or None.
        layers: the weights of each layer.
        state: S tensors (L, B, H).

    Returns:
        The last layer's hidden states (T, B, H), and the state after the last step like `state`.
    """
    if tokens is not None:
        inputs = functional.embedding(tokens, inputs)
    kind = torch.bfloat16 if bf16 else inputs.dtype
    # cuDNN reads states as they lie: a group's are a part of all units' otherwise.
    before = tuple(part.to(kind).contiguous() for part in state)
    output, *after = _STOCK_FUNCTIONS[cell](
        inputs.to(kind),
        before if len(before) > 1 else before[0],
        [tensor.to(kind) for weights in layers for tensor in weights],
        True,
        len(layers),
        0.0,
        torch.is_grad_enabled(),
        False,
        False,
    )
    return output.to(inputs.dtype), tuple(
        new.to(old.dtype) for new, old in zip(after, state, strict=True)
    )


_RECURRENCES: dict[str, Recurrence] = {
    "native": native.recurrence,
    "torch": torch_kernels.recurrence,
    "stock": stock_recurrence,
}


@dataclass(frozen=True)
class Kernel:
    """One way to compute a recurrence."""

    name: str
    """`native` (C), `torch` (torch_kernels.py) or `stock` (torch's own: oneDNN, cuDNN)."""
    bf16: bool
    """Products are in bfloat16; with `stock` on a GPU, states within a window are too."""

    @property
    def label(self) -> str:
        """The name that a person sees."""
        return f"{self.name} {'bf16' if self.bf16 else 'fp32'}"

    @property
    def recurrence(self) -> Recurrence:
        """The function that computes one layer over one window; see `stock_recurrence`."""
        return _RECURRENCES[self.name]

    def linear(self, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The head's product, (N, H) to (N, V), in the precision of the recurrences."""
        if self.name == "native" and self.bf16:
            return native.linear(inputs, weight, bias)
        return functional.linear(inputs, weight, bias)


STOCK = Kernel("stock", bf16=False)
MIN_CUDNN_BF16 = 91_300
"""The first version of cuDNN whose recurrences torch lets multiply in bfloat16."""


def candidates(cell: str, device: str, kernel: str, precision: str) -> list[Kernel]:
    """The kernels that can compute a cell on a device, the usually fastest first.

    Args:
        cell: a row of the table of cells.
        device: torch's name: cpu, cuda, mps.
        kernel: a name of `KERNELS`; auto leaves the choice here.
        precision: a name of `PRECISIONS`; auto leaves the choice here.
    """
    kernels = [STOCK]
    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    if device == "cuda" and (version or 0) >= MIN_CUDNN_BF16:
        kernels.insert(0, Kernel("stock", bf16=True))
    if device == "cpu":
        kernels.append(Kernel("torch", bf16=False))
        if cell != "lstm":
            # oneDNN's LSTM is at the limit of float32; torch's other cells are far from it.
            kernels.reverse()
        # Builds of torch without oneDNN lack this function.
        supports_bf16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)
        if cpu_limits().bf16 and supports_bf16():
            kernels.insert(0, Kernel("torch", bf16=True))
        if native.library() is not None:
            kernels.insert(0, Kernel("native", bf16=False))
        if native.has_bf16():
            kernels.insert(0, Kernel("native", bf16=True))
    chosen = [
        candidate
        for candidate in kernels
        if kernel in ("auto", candidate.name)
        and precision in ("auto", "bf16" if candidate.bf16 else "fp32")
    ]
    if torch.get_num_threads() > 1 and not is_parallel():
        # On one thread, C loses against kernels that use all. With one thread it may still win,
        # so it comes second: what is measured is the first kernel and the first of another make.
        others = [candidate for candidate in chosen if candidate.name != "native"]
        serial = [candidate for candidate in chosen if candidate.name == "native"]
        return [*others[:1], *serial, *others[1:]]
    return chosen


def planned_or_best(cell: str, device: str, planned: Kernel) -> Kernel:
    """The planned kernel, or the usually fastest one where this machine lacks it for the cell.

    Args:
        cell: a row of the table of cells.
        device: torch's name.
        planned: a run may have been begun on another machine, or for another cell.
    """
    available = candidates(cell, device, "auto", "auto")
    return planned if planned in available else available[0]


def native_problem(device: str, kernel: str) -> str | None:
    """Why the kernel in C is not used, although it may be wanted; None when it can be.

    Args:
        device: torch's name.
        kernel: what was asked for: a name of `KERNELS`.
    """
    if device != "cpu" or kernel not in ("auto", "native"):
        return None
    return native.problem()
