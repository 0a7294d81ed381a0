"""The recurrences in plain torch, as autograd functions, for any device and float type.

torch's GRU and RNN go through autograd step by step, and its LSTM stays in float32. Here each
window is one autograd function. The inputs of all steps are multiplied at once, outside of it; each
step is one recurrent product into memory that was taken once. The backward pass is written by hand:
its factors are computed for the whole window at once, and the weight gradient is one product over
time. `bf16` multiplies in bfloat16 and keeps states and sums in float32.

Shape letters: T time, B batch, H hidden_size, G gates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

State = tuple[Tensor, ...]
LayerWeights = tuple[Tensor, Tensor, Tensor, Tensor]
"""weight_ih (G H, I), weight_hh (G H, H), bias_ih and bias_hh (G H)."""


def recurrence(
    cell: str,
    bf16: bool,
    inputs: Tensor,
    tokens: Tensor | None,
    weights: LayerWeights,
    state: State,
) -> tuple[Tensor, State]:
    """One layer over one window; arguments and results as of `Kernel`."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    bias = bias_ih if cell == "gru" else bias_ih + bias_hh
    share = functional.linear(inputs, weight_ih, bias)
    if tokens is not None:
        share = functional.embedding(tokens, share)
    before = tuple(part[0] for part in state)
    function = _FUNCTIONS[cell]
    output, *after = function.apply(bf16, share, weight_hh, bias_hh, *before)
    return output, tuple(part[None] for part in after)


def _multiply(bf16: bool, left: Tensor, right: Tensor, plus: Tensor, out: Tensor) -> None:
    """Out = left @ right + plus; `right` is in bfloat16 already where `bf16` is set."""
    if bf16:
        torch.add(plus, left.to(torch.bfloat16) @ right, out=out)
    else:
        torch.addmm(plus, left, right, out=out)


def _outer(bf16: bool, left: Tensor, right: Tensor) -> Tensor:
    """A weight gradient: (T, B, N) and (T, B, K) to (N, K), over all steps and rows."""
    left, right = left.flatten(0, 1), right.flatten(0, 1)
    if bf16:
        return (left.to(torch.bfloat16).t() @ right.to(torch.bfloat16)).to(left.dtype)
    return left.t() @ right


def _operand(bf16: bool, matrix: Tensor) -> Tensor:
    return matrix.to(torch.bfloat16) if bf16 else matrix


class _LSTM(torch.autograd.Function):
    """i, f, o = sigmoid, g = tanh of the gates; c' = f c + i g; h' = o tanh(c')."""

    @staticmethod
    def forward(
        ctx: Any, bf16: bool, share: Tensor, weight: Tensor, bias: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch, rows = share.shape
        size = rows // 4
        recurrent = _operand(bf16, weight).t()
        gates = torch.empty_like(share)
        hidden, cells = (share.new_empty(steps + 1, batch, size) for _ in range(2))
        squashed = share.new_empty(steps, batch, size)
        hidden[0], cells[0] = h, c
        for t in range(steps):
            _multiply(bf16, hidden[t], recurrent, share[t], gates[t])
            i, f, g, o = gates[t].view(batch, 4, size).unbind(1)
            gates[t, :, : 2 * size].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
            torch.tanh(cells[t + 1], out=squashed[t])
            torch.mul(o, squashed[t], out=hidden[t + 1])
        ctx.bf16 = bf16
        ctx.save_for_backward(gates, hidden, cells, squashed, weight)
        return hidden[1:].clone(), hidden[-1].clone(), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, dh: Tensor, dc: Tensor) -> tuple[Tensor | None, ...]:
        gates, hidden, cells, squashed, weight = ctx.saved_tensors
        steps, batch, size = squashed.shape
        i, f, g, o = gates.view(steps, batch, 4, size).unbind(2)
        factors = torch.stack(
            (
                g * i * (1 - i),
                cells[:-1] * f * (1 - f),
                i * (1 - g * g),
                squashed * o * (1 - o),
            ),
            dim=2,
        )
        through = o * (1 - squashed * squashed)
        d_gates = torch.empty_like(gates)
        recurrent = _operand(ctx.bf16, weight)
        dc = dc.clone()
        dh = dh + d_output[-1]
        for t in reversed(range(steps)):
            d = d_gates[t].view(batch, 4, size)
            dc.addcmul_(dh, through[t])
            torch.mul(dc[:, None], factors[t, :, :3], out=d[:, :3])
            torch.mul(dh, factors[t, :, 3], out=d[:, 3])
            dc.mul_(f[t])
            before = d_output[t - 1] if t else torch.zeros_like(dh)
            _multiply(ctx.bf16, d_gates[t], recurrent, before, dh)
        # The bias lies in the input's share.
        return None, d_gates, _outer(ctx.bf16, d_gates, hidden[:-1]), None, dh, dc


class _GRU(torch.autograd.Function):
    """r, z = sigmoid of the gates; n = tanh(input + r (U h + b)); h' = n + z (h - n)."""

    @staticmethod
    def forward(
        ctx: Any, bf16: bool, share: Tensor, weight: Tensor, bias: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        steps, batch, rows = share.shape
        size = rows // 3
        recurrent = _operand(bf16, weight).t()
        gates, products = torch.empty_like(share), torch.empty_like(share)
        hidden = share.new_empty(steps + 1, batch, size)
        hidden[0] = h
        for t in range(steps):
            _multiply(bf16, hidden[t], recurrent, bias, products[t])
            r, z, n = gates[t].view(batch, 3, size).unbind(1)
            both = gates[t, :, : 2 * size]
            torch.add(share[t, :, : 2 * size], products[t, :, : 2 * size], out=both).sigmoid_()
            candidate = products[t, :, 2 * size :]
            torch.addcmul(share[t, :, 2 * size :], r, candidate, out=n).tanh_()
            torch.lerp(n, hidden[t], z, out=hidden[t + 1])
        ctx.bf16 = bf16
        ctx.save_for_backward(gates, products[:, :, 2 * size :], hidden, weight)
        return hidden[1:].clone(), hidden[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, dh: Tensor) -> tuple[Tensor | None, ...]:
        gates, candidates, hidden, weight = ctx.saved_tensors
        steps, batch, size = candidates.shape
        r, z, n = gates.view(steps, batch, 3, size).unbind(2)
        to_new = (1 - z) * (1 - n * n)
        factors = torch.stack(
            (to_new * candidates * r * (1 - r), (hidden[:-1] - n) * z * (1 - z), to_new * r), dim=2
        )
        d_products = torch.empty_like(gates)
        d_hidden = torch.empty_like(candidates)
        recurrent = _operand(ctx.bf16, weight)
        dh = dh + d_output[-1]
        for t in reversed(range(steps)):
            d_hidden[t] = dh
            d = d_products[t].view(batch, 3, size)
            torch.mul(dh[:, None], factors[t], out=d)
            before = torch.mul(dh, z[t])
            if t:
                before += d_output[t - 1]
            _multiply(ctx.bf16, d_products[t], recurrent, before, dh)
        d_share = d_products.clone()
        torch.mul(d_hidden, to_new, out=d_share[:, :, 2 * size :])
        d_weight = _outer(ctx.bf16, d_products, hidden[:-1])
        return None, d_share, d_weight, d_products.sum((0, 1)), dh


class _RNN(torch.autograd.Function):
    """h' = tanh(input + U h)."""

    @staticmethod
    def squash(a: Tensor) -> None:
        a.tanh_()

    @staticmethod
    def slope(after: Tensor) -> Tensor:
        return 1 - after * after

    @classmethod
    def forward(
        cls, ctx: Any, bf16: bool, share: Tensor, weight: Tensor, bias: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        steps, batch, size = share.shape
        recurrent = _operand(bf16, weight).t()
        hidden = share.new_empty(steps + 1, batch, size)
        hidden[0] = h
        for t in range(steps):
            _multiply(bf16, hidden[t], recurrent, share[t], hidden[t + 1])
            cls.squash(hidden[t + 1])
        ctx.bf16 = bf16
        ctx.save_for_backward(hidden, weight)
        return hidden[1:].clone(), hidden[-1].clone()

    @classmethod
    @once_differentiable
    def backward(cls, ctx: Any, d_output: Tensor, dh: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        factors = cls.slope(hidden[1:])
        d_share = torch.empty_like(factors)
        recurrent = _operand(ctx.bf16, weight)
        dh = dh + d_output[-1]
        for t in reversed(range(len(factors))):
            torch.mul(dh, factors[t], out=d_share[t])
            before = d_output[t - 1] if t else torch.zeros_like(dh)
            _multiply(ctx.bf16, d_share[t], recurrent, before, dh)
        return None, d_share, _outer(ctx.bf16, d_share, hidden[:-1]), None, dh


class _RNNReLU(_RNN):
    """h' = max(0, input + U h)."""

    @staticmethod
    def squash(a: Tensor) -> None:
        a.relu_()

    @staticmethod
    def slope(after: Tensor) -> Tensor:
        return (after > 0).to(after.dtype)


_FUNCTIONS: dict[str, Any] = {"lstm": _LSTM, "gru": _GRU, "rnn": _RNN, "rnn-relu": _RNNReLU}
