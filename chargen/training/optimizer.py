"""The optimizer: Muon for the recurrent matrices, AdamW for everything else.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) steps along the momentum of
a matrix with its singular values made alike. A small recurrent network so learns about twice as
much from the same text as with AdamW. Three things differ from its usual form, each measured
(benchmarks/LOG.md): every gate is a matrix of its own; there are three Newton-Schulz steps instead
of five, since lifting the smallest singular values too only amplifies noise; and the direction is
worked out at every eighth step only, since momentum changes slowly.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from chargen.training.config import TrainConfig
from chargen.training.network import RecurrentLM

MUON_RATE = 3.3
"""Muon's rate beside AdamW's: a step changes a matrix by this, times the rate, per direction."""
_MOMENTUM = 0.95
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""a x + b x^3 + c x^5 drives singular values towards one (coefficients: Jordan et al.)."""
_ITERATIONS = 3
_EVERY = 8
"""Steps that a direction serves for."""
FIRST_STEPS = 20
"""Steps at the beginning, when momentum changes quickly, that each get their own."""


class Optimizer:
    """Both methods behind one learning rate."""

    def __init__(self, network: RecurrentLM, config: TrainConfig) -> None:
        matrices = network.recurrent_matrices() if config.optimizer == "muon" else {}
        decaying: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            if name in matrices:
                continue
            decays = parameter.ndim > 1 and not name.startswith("embedding")
            (decaying if decays else others).append(parameter)
        self._rest = decaying + others
        self._clip = config.clip
        # Matrices decay, biases and embeddings do not (Loshchilov and Hutter, 2019).
        self.adamw = torch.optim.AdamW(
            [
                {"params": decaying, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,
        )
        self.muon = Muon(list(matrices.values()), network.config.hidden_size, network.kernel.half)

    def clip(self) -> Tensor:
        """Shorten the gradient that AdamW gets to `clip`; Muon's step has its own length.

        Returns:
            The norm of the whole gradient as it was (scalar).
        """
        norms = [nn.utils.clip_grad_norm_(self._rest, self._clip)]
        if self.muon.matrices:
            gradients = [one.grad for one in self.muon.matrices if one.grad is not None]
            norms.append(nn.utils.get_total_norm(gradients))
        whole: Tensor = torch.stack(norms).norm()
        return whole

    def tensors(self, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
        """Everything that it remembers, by the names of the parameters; zeros before a step."""
        found: dict[str, Tensor] = {}
        for parameter in self._rest:
            memory: dict[str, Tensor] = self.adamw.state[parameter]
            if not memory:
                memory["step"] = torch.zeros((), device=parameter.device)
                memory["exp_avg"] = torch.zeros_like(parameter)
                memory["exp_avg_sq"] = torch.zeros_like(parameter)
            found |= {f"adamw.{names[parameter]}.{kind}": one for kind, one in memory.items()}
        muon = self.muon
        for parameter, momentum, direction in zip(
            muon.matrices, muon.momenta, muon.directions, strict=True
        ):
            found[f"muon.{names[parameter]}.momentum"] = momentum
            found[f"muon.{names[parameter]}.direction"] = direction
        return found

    def forget_gradients(self) -> None:
        """As before the backward pass."""
        for parameter in (*self._rest, *self.muon.matrices):
            parameter.grad = None

    def step(self, rate: float) -> None:
        """Change the weights by their gradients, at AdamW's learning rate `rate`; forget those."""
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.muon.step(MUON_RATE * rate)
        self.forget_gradients()


class Muon:
    """Momentum with its singular values made alike, one matrix a gate."""

    def __init__(self, matrices: list[nn.Parameter], hidden_size: int, half: bool) -> None:
        self.matrices = matrices
        self.steps = 0
        self.momenta = [torch.zeros_like(one) for one in matrices]
        self.directions = [torch.zeros_like(one) for one in matrices]
        self._size = hidden_size
        self._half = half

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Change every matrix by `rate` along its direction."""
        if not self.matrices:
            return
        gradients = [one.grad for one in self.matrices if one.grad is not None]
        torch._foreach_lerp_(self.momenta, gradients, 1 - _MOMENTUM)
        if self.steps < FIRST_STEPS or self.steps % _EVERY == 0:
            for gradient, momentum, direction in zip(
                gradients, self.momenta, self.directions, strict=True
            ):
                # Nesterov: the momentum as it will be if the gradient goes on like this.
                ahead = torch.lerp(gradient, momentum, _MOMENTUM)
                gates = ahead.view(-1, self._size, self._size)
                direction.copy_(equalised(gates, self._half).flatten(0, 1))
        torch._foreach_add_(list[Tensor](self.matrices), self.directions, alpha=-rate)
        self.steps += 1


def equalised(matrices: Tensor, half: bool) -> Tensor:
    """Square matrices (G, H, H) with their larger singular values moved near one.

    Args:
        matrices: of any scale; zeros stay zeros.
        half: multiply in bfloat16.
    """
    a, b, c = _QUINTIC
    x: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-20)
    if half:
        x = x.to(torch.bfloat16)
    for _ in range(_ITERATIONS):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)
