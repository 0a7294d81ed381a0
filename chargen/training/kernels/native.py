"""The recurrences in C, for CPUs, as autograd functions; never required.

A step of a small recurrent network is a small product and a little arithmetic; calling torch for
each costs as much again. `recurrence.c` computes a whole window in one call. Each thread has batch
rows of its own. Products are in bfloat16 where the CPU can. Without a compiler, or where building
fails, `library()` is None and torch's own recurrences take over.

Shape letters: T time, B batch, H hidden_size, G gates, V vocabulary, I input size.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from chargen.training.kernels.library import NUMBERS, Window, has_bf16, library, problem

__all__ = ["has_bf16", "library", "linear", "problem", "recurrence", "release"]

_CELLS = ("rnn", "rnn-relu", "lstm", "gru")  # the numbers of `enum cell`


class _Pool(threading.local):
    """Reuses memory, because fresh pages from the system cost as much as the arithmetic in them.

    Memory that a window takes in its forward pass comes back after its backward pass, for the next
    window. Every thread has a pool of its own.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free: list[Tensor] = []

    def take(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialised tensor."""
        for number, tensor in enumerate(self._free):
            if tensor.shape == shape and tensor.dtype == dtype:
                return self._free.pop(number)
        return torch.empty(shape, dtype=dtype)

    def give(self, *tensors: Tensor | None) -> None:
        """Takes back tensors that nobody reads any more; drops the oldest of too many."""
        self._free += [tensor for tensor in tensors if tensor is not None]
        del self._free[: -self._limit]

    def clear(self) -> None:
        """Drops everything."""
        self._free.clear()


_POOL = _Pool(limit=24)


def release() -> None:
    """Gives back the memory that waits for the next window, because training is over."""
    _POOL.clear()


def recurrence(
    cell: str,
    bf16: bool,
    inputs: Tensor,
    tokens: Tensor | None,
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    state: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over one window, in torch's equations.

    Args:
        cell: a row of the table of cells.
        bf16: products in bfloat16; sums, states and gates stay float32.
        inputs: (T, B, I), or with `tokens` the embeddings (V, I) they stand for.
        tokens: (T, B) int64, or None.
        weights: weight_ih (G H, I), weight_hh (G H, H), bias_ih and bias_hh (G H).
        state: S tensors (1, B, H).

    Returns:
        The hidden states (T, B, H), and the state after the last step like `state`.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    if tokens is not None:
        # The gates' share of each token of the vocabulary, once instead of at every position.
        bias = bias_ih if cell == "gru" else bias_ih + bias_hh
        inputs = torch.nn.functional.linear(inputs, weight_ih, bias)
    output, hidden, cells = _Recurrence.apply(  # type: ignore[no-untyped-call]
        cell, bf16, inputs, tokens, weight_ih, weight_hh, bias_ih, bias_hh, *state
    )
    return output, (hidden,) if cells is None else (hidden, cells)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The layer of `torch.nn.functional.linear`, its products in bfloat16, its sums in float32.

    Args:
        inputs: (N, K).
        weight: (M, K).
        bias: (M,).
    """
    output: Tensor = _Linear.apply(inputs, weight, bias)  # type: ignore[no-untyped-call]
    return output


class _Linear(torch.autograd.Function):
    """Forward and backward by `product`."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        operands = _to_operands(inputs.contiguous()[None], bf16=True)
        output = inputs.new_empty(1, len(inputs), len(weight))
        _product(operands, weight, bias, True, output, transposed=False)
        if any(ctx.needs_input_grad):
            ctx.operands, ctx.weight = operands, weight
        else:
            _POOL.give(operands)
        return output[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slopes = _to_operands(d_output.contiguous()[None], bf16=True)
        d_inputs = d_output.new_empty(1, len(d_output), ctx.weight.shape[1])
        _product(slopes, ctx.weight, None, True, d_inputs, transposed=True)
        d_weight = _outer(slopes, ctx.operands, ctx.weight)
        _POOL.give(slopes, ctx.operands)
        return d_inputs[0], d_weight, d_output.sum(0)


class _Recurrence(torch.autograd.Function):
    """The C functions between torch's inputs and gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        bf16: bool,
        inputs: Tensor,
        tokens: Tensor | None,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        hidden_before: Tensor,
        cell_before: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        rows, size = weight_hh.shape
        steps, batch = inputs.shape[:2] if tokens is None else tokens.shape
        threads = torch.get_num_threads()
        tensors: dict[str, Tensor] = {
            # Not from the pool: it goes out as the result.
            "hidden": inputs.new_empty(steps + 1, batch, size),
            "operands": _operands(steps + 1, batch, size, bf16),
            "packed": _pack(weight_hh, bf16, transposed=False),
            "gates": _POOL.take(steps, batch, rows),
        }
        tensors["hidden"][0] = hidden_before[0]
        if cell_before is not None:
            tensors["cells"] = _POOL.take(steps + 1, batch, size)
            tensors["cells"][0] = cell_before[0]
        if cell == "gru":
            tensors["products"] = _POOL.take(steps, batch, size)
            tensors["bias"] = bias_hh.detach()
        ctx.inputs, vocab = None, 0
        if tokens is None:
            ctx.inputs = _to_operands(inputs.contiguous(), bf16)
            bias = bias_ih if cell == "gru" else bias_ih + bias_hh
            _product(ctx.inputs, weight_ih, bias, bf16, tensors["gates"], transposed=False)
        else:
            tensors["tokens"], tensors["table"] = tokens.contiguous(), inputs.contiguous()
            vocab = len(inputs)
            if not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab:
                raise IndexError(f"a token is outside of the vocabulary of {vocab}")
        numbers = (_CELLS.index(cell), bf16, min(threads, batch), steps, batch, size, vocab)
        ctx.numbers = dict(zip(NUMBERS, map(int, numbers), strict=True))
        _call("forward", ctx.numbers, tensors)
        _POOL.give(tensors.pop("packed"))
        ctx.tensors, ctx.weights = tensors, (weight_ih, weight_hh)
        hidden = tensors["hidden"]
        last = hidden[-1:].clone()
        cells = tensors["cells"][-1:].clone() if "cells" in tensors else None
        if not any(ctx.needs_input_grad):
            _give_back(tensors, ctx.inputs)
        return hidden[1:], last, cells

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_output: Tensor, d_last: Tensor, d_cells: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        numbers, tensors = ctx.numbers, ctx.tensors
        weight_ih, weight_hh = ctx.weights
        rows = len(weight_hh)
        steps, batch, bf16 = numbers["steps"], numbers["batch"], bool(numbers["bf16"])
        gru = "products" in tensors
        tensors |= {
            "packed": _pack(weight_hh, bf16, transposed=True),
            "d_hidden": d_output.contiguous(),
            "d_state": d_last.clone(),
            "d_gates": _operands(steps, batch, rows, bf16),
            "d_bias": weight_hh.new_zeros(numbers["threads"], 2, rows),
        }
        tensors["d_inputs"] = _operands(steps, batch, rows, bf16) if gru else tensors["d_gates"]
        before = [tensors["d_state"]]
        if d_cells is not None:
            tensors["d_cell"] = d_cells.clone()
            before.append(tensors["d_cell"])
        if "table" in tensors:
            tensors["d_table"] = _POOL.take(numbers["threads"], numbers["vocab"], rows).zero_()
        _call("backward", numbers, tensors)
        d_weight_hh = _outer(tensors["d_gates"], tensors["operands"][:steps], weight_hh)
        d_bias_ih, d_bias_hh = tensors["d_bias"].sum(0)
        if "table" in tensors:
            # Whatever is added to the inputs lies in the table; only the GRU adds more elsewhere.
            d_inputs, d_weight_ih, d_bias_ih = tensors["d_table"].sum(0), None, None
            d_bias_hh = d_bias_hh if gru else None
        else:
            d_inputs = weight_ih.new_empty(steps, batch, weight_ih.shape[1])
            _product(tensors["d_inputs"], weight_ih, None, bf16, d_inputs, transposed=True)
            d_weight_ih = _outer(tensors["d_inputs"], ctx.inputs, weight_ih)
            d_bias_hh = d_bias_hh if gru else d_bias_ih
        _give_back(tensors, ctx.inputs)
        weights = d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh
        return None, None, d_inputs, None, *weights, *before


def _call(name: str, numbers: dict[str, int], tensors: dict[str, Tensor]) -> None:
    loaded = library()
    assert loaded is not None
    pointers = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    if getattr(loaded, name)(ctypes.byref(Window(**numbers, **pointers))):
        raise MemoryError("not enough memory for a window of the kernel in C")


def _give_back(tensors: dict[str, Tensor], inputs: Tensor | None) -> None:
    """Returns to the pool what came from it; nothing may read it any more."""
    names = ("operands", "gates", "cells", "products", "packed", "d_gates", "d_table")
    pooled = {tensors[name].data_ptr(): tensors[name] for name in names if name in tensors}
    if "d_inputs" in tensors:
        pooled[tensors["d_inputs"].data_ptr()] = tensors["d_inputs"]
    _POOL.give(inputs, *pooled.values())
    tensors.clear()


def _operands(steps: int, batch: int, size: int, bf16: bool) -> Tensor:
    """Room for operands of products: bfloat16 rows have an even length."""
    if bf16:
        return _POOL.take(steps, batch, size + size % 2, dtype=torch.bfloat16)
    return _POOL.take(steps, batch, size)


def _to_operands(values: Tensor, bf16: bool) -> Tensor:
    steps, batch, size = values.shape
    result = _operands(steps, batch, size, bf16)
    loaded = library()
    assert loaded is not None
    loaded.to_operand(
        *(steps * batch, size, values.data_ptr(), result.data_ptr(), bf16),
        torch.get_num_threads(),
    )
    return result


def _pack(matrix: Tensor, bf16: bool, *, transposed: bool) -> Tensor:
    """A matrix (N, K) in the order in which a product with rows of length K reads it."""
    matrix = matrix.detach()
    if transposed:
        matrix = matrix.t()
    (n, k), (stride_n, stride_k) = matrix.shape, matrix.stride()
    loaded = library()
    assert loaded is not None
    kind = torch.bfloat16 if bf16 else torch.float32
    packed = _POOL.take(loaded.packed_elements(n, k, bf16), dtype=kind)
    loaded.pack(
        *(n, k, matrix.data_ptr(), stride_n, stride_k, packed.data_ptr(), bf16),
        torch.get_num_threads(),
    )
    return packed


def _product(
    operands: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    bf16: bool,
    out: Tensor,
    *,
    transposed: bool,
) -> None:
    """Operands (T, B, K) times a matrix (N, K), or (K, N) when transposed, to `out` (T, B, N)."""
    k, n = matrix.shape if transposed else matrix.shape[::-1]
    packed = _pack(matrix, bf16, transposed=transposed)
    loaded = library()
    assert loaded is not None
    loaded.product(
        *(len(out.flatten(0, 1)), n, k, operands.data_ptr(), packed.data_ptr()),
        *(None if bias is None else bias.data_ptr(), out.data_ptr(), bf16),
        torch.get_num_threads(),
    )
    _POOL.give(packed)


def _outer(left: Tensor, right: Tensor, like: Tensor) -> Tensor:
    """The gradient of a matrix of the shape of `like`: one product over all steps and rows."""
    rows, columns = like.shape
    left, right = left.flatten(0, 1)[:, :rows], right.flatten(0, 1)[:, :columns]
    return torch.mm(left.t(), right).float()
