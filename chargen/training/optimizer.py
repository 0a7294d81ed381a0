"""The optimizer: Muon for the recurrent matrices, AdamW for everything else.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) steps along the momentum of
a matrix with its singular values made alike. A small recurrent network so learns about twice as
much from the same text as with AdamW. Three things differ from its usual form, each measured
(benchmarks/LOG.md): every gate is a matrix of its own; there are three Newton-Schulz steps instead
of five, since lifting the smallest singular values too only amplifies noise; and the direction is
worked out at every eighth step only, since momentum changes slowly.

The running average of weights, which often predicts better than the weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from chargen.training.config import TrainConfig
from chargen.training.distributed import ALONE, Ranks
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

    def __init__(self, network: RecurrentLM, config: TrainConfig, ranks: Ranks = ALONE) -> None:
        matrices = network.recurrent_matrices() if config.optimizer == "muon" else {}
        self._config = config
        self._layers = network.config.num_layers
        groups: dict[tuple[bool, int], list[nn.Parameter]] = {}
        for name, parameter in network.named_parameters():
            if name in matrices:
                continue
            # Matrices decay, biases and embeddings do not (Loshchilov and Hutter, 2019).
            decays = parameter.ndim > 1 and not name.startswith("embedding")
            depth = self._depth(name) if self._differs else 0
            groups.setdefault((not decays, depth), []).append(parameter)
        ordered = sorted(groups.items())
        self._rest = [parameter for _, group in ordered for parameter in group]
        self._adamw = [
            AdamW(group, 0.0 if plain else config.weight_decay, config.beta1, config.beta2)
            for (plain, _), group in ordered
        ]
        self._depths = [depth for (_, depth), _ in ordered]
        size = network.config.group_size
        self.muon = Muon(list(matrices.values()), size, network.kernel.bf16, ranks)
        self._muon_depths = [self._depth(name) for name in matrices]
        self.anchors = (
            {name: one.detach().clone() for name, one in network.named_parameters()}
            if config.l2_to_base
            else {}
        )
        """Where the weights began, when they are pulled back to it."""
        self._anchored = list(network.parameters())

    @property
    def is_uniform(self) -> bool:
        """Whether one rate is all that differs from step to step."""
        return not self._differs and not self.anchors

    @property
    def _differs(self) -> bool:
        """Whether layers learn at different rates."""
        return self._config.layer_decay != 1 or self._config.freeze > 0

    def _depth(self, name: str) -> int:
        """0 for the embedding, 1 and more for the layers, one more for the head."""
        if name.startswith("layers."):
            return 1 + int(name.split(".")[1])
        return 0 if name.startswith("embedding") else 1 + self._layers

    def share(self, depth: int, progress: float) -> float:
        """A depth's part of the learning rate, after a share of the run.

        Frozen layers are freed one by one, the highest first, until bf16 way all are (gradual
        unfreezing: Howard and Ruder, 2018).
        """
        freeze = min(self._config.freeze, self._layers)
        frozen = freeze - int(2 * progress * (freeze + 1))
        if 1 <= depth <= frozen:
            return 0.0
        return float(self._config.layer_decay ** (1 + self._layers - depth))

    def clip(self) -> Tensor:
        """Shorten the gradient that AdamW gets to `clip`; Muon's step has its own length.

        Returns:
            The norm of the whole gradient as it was (scalar).
        """
        norms = [nn.utils.clip_grad_norm_(self._rest, self._config.clip)]
        if self.muon.matrices:
            gradients = [one.grad for one in self.muon.matrices if one.grad is not None]
            norms.append(nn.utils.get_total_norm(gradients))
        whole: Tensor = torch.stack(norms).norm()
        return whole

    def tensors(self, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
        """Everything that it remembers, by the names of the parameters."""
        found: dict[str, Tensor] = {}
        for group in self._adamw:
            for number, parameter in enumerate(group.parameters):
                for kind, every in group.memory.items():
                    found[f"adamw.{names[parameter]}.{kind}"] = every[number]
        muon = self.muon
        for parameter, momentum, direction in zip(
            muon.matrices, muon.momenta, muon.directions, strict=True
        ):
            found[f"muon.{names[parameter]}.momentum"] = momentum
            found[f"muon.{names[parameter]}.direction"] = direction
        return found | {f"anchor.{name}": one for name, one in self.anchors.items()}

    def forget_gradients(self) -> None:
        """As before the backward pass."""
        for parameter in (*self._rest, *self.muon.matrices):
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float | Tensor, progress: float = 0.0) -> None:
        """Change the weights by their gradients; forget those.

        Args:
            rate: AdamW's learning rate of the head; a tensor where it lies on the device.
            progress: share of the run that is over.
        """
        for group, depth in zip(self._adamw, self._depths, strict=True):
            group.step(rate * self.share(depth, progress) if self._differs else rate)
        shares = [self.share(one, progress) for one in self._muon_depths] if self._differs else None
        self.muon.step(MUON_RATE * rate, shares)
        if self.anchors:
            pull = min(1.0, float(rate) * self._config.l2_to_base)
            torch._foreach_lerp_(list[Tensor](self._anchored), list(self.anchors.values()), pull)
        self.forget_gradients()


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), by torch's fused function.

    torch's class of that name first loads torch's compiler: a second and more of every start.
    """

    def __init__(
        self, parameters: list[nn.Parameter], weight_decay: float, beta1: float, beta2: float
    ) -> None:
        self.parameters = parameters
        self.memory = {
            "step": [one.new_zeros(()) for one in parameters],
            "exp_avg": [torch.zeros_like(one) for one in parameters],
            "exp_avg_sq": [torch.zeros_like(one) for one in parameters],
        }
        """A tensor a parameter, of each kind; steps are counted on the device."""
        self._weight_decay, self._beta1, self._beta2 = weight_decay, beta1, beta2

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        """Change the parameters by their gradients."""
        adamw(
            list[Tensor](self.parameters),
            [one.grad for one in self.parameters if one.grad is not None],
            self.memory["exp_avg"],
            self.memory["exp_avg_sq"],
            [],
            self.memory["step"],
            fused=True,
            capturable=self.parameters[0].is_cuda,
            amsgrad=False,
            eps=1e-8,
            maximize=False,
            lr=rate,
            weight_decay=self._weight_decay,
            beta1=self._beta1,
            beta2=self._beta2,
        )


class Muon:
    """Momentum with its singular values made alike, one matrix a gate."""

    def __init__(
        self, matrices: list[nn.Parameter], size: int, bf16: bool, ranks: Ranks = ALONE
    ) -> None:
        self.matrices = matrices
        self._ranks = ranks
        self.steps = 0
        self.momenta = [torch.zeros_like(one) for one in matrices]
        self.directions = [torch.zeros_like(one) for one in matrices]
        self._size = size
        self._half = bf16

    @property
    def turns(self) -> bool:
        """Whether the next step works out new directions."""
        return self.steps < FIRST_STEPS or self.steps % _EVERY == 0

    def example(self, turns: bool) -> int:
        """A number of steps after which the next one turns, or does not."""
        later = FIRST_STEPS + 1
        return 0 if turns else later + (later % _EVERY == 0)

    @torch.no_grad()
    def step(self, rate: float | Tensor, shares: Sequence[float] | None = None) -> None:
        """Change every matrix by `rate`, or its share of it, along its direction."""
        if not self.matrices:
            return
        gradients = [one.grad for one in self.matrices if one.grad is not None]
        torch._foreach_lerp_(self.momenta, gradients, 1 - _MOMENTUM)
        if self.turns:
            for number in range(len(self.matrices)):
                self._turn(number, gradients[number])
        if isinstance(rate, Tensor):
            torch._foreach_sub_(
                list[Tensor](self.matrices), torch._foreach_mul(self.directions, rate)
            )
        elif shares is None:
            torch._foreach_add_(list[Tensor](self.matrices), self.directions, alpha=-rate)
        else:
            for matrix, direction, share in zip(
                self.matrices, self.directions, shares, strict=True
            ):
                matrix.add_(direction, alpha=-rate * share)
        self.steps += 1

    def _turn(self, number: int, gradient: Tensor) -> None:
        """A new direction for a matrix; of several processes, each works out some of its gates."""
        direction, ranks = self.directions[number], self._ranks
        # Nesterov: the momentum as it will be if the gradient goes on like this.
        ahead = torch.lerp(gradient, self.momenta[number], _MOMENTUM)
        gates = ahead.view(-1, self._size, self._size)
        if ranks.count == 1:
            direction.copy_(newton_schulz(gates, self._half).flatten(0, 1))
            return
        own = [
            gate
            for gate in range(len(gates))
            if (gate + number) % ranks.count == ranks.process.rank
        ]
        direction.zero_()
        if own:
            direction.view_as(gates)[own] = newton_schulz(gates[own], self._half)
        ranks.add(direction)  # each gate is zero everywhere but where it was worked out


def newton_schulz(matrices: Tensor, bf16: bool) -> Tensor:
    """Square matrices (G, H, H) with their larger singular values moved near one.

    Args:
        matrices: of any scale; zeros stay zeros.
        bf16: multiply in bfloat16.
    """
    a, b, c = _QUINTIC
    x: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-20)
    if bf16:
        x = x.to(torch.bfloat16)
    for _ in range(_ITERATIONS):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)


class EMA:
    """Exponential moving average over about `horizon` updates (Polyak and Juditsky, 1992).

    The first updates weigh more, so that the random beginning is soon forgotten.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], horizon: float) -> None:
        self.parameters = list(parameters)
        self.horizon = max(1.0, horizon)
        self.updates = 0
        self.values = [one.detach().clone() for one in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.updates += 1
        share = max(1 / self.horizon, 1 / (1 + self.updates))
        torch._foreach_lerp_(self.values, self._now(), share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their average; a second call undoes it."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)

    def _now(self) -> list[Tensor]:
        return [one.detach() for one in self.parameters]
