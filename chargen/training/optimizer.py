"""The optimizer: Muon for the recurrent matrices, AdamW for everything else.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) steps along the momentum of
a matrix after its singular values have been made nearly equal. A small recurrent network learns
about twice as much from the same text with it as with AdamW. torch.optim.Muon has its usual form;
three things differ here, each measured (benchmarks/LOG.md). Every gate is orthogonalized as a
matrix of its own. There are three Newton-Schulz iterations instead of five, because lifting the
smallest singular values too only amplifies noise. And a matrix is orthogonalized at every eighth
step only, because momentum changes slowly.

`EMA` is the moving average of the weights, which often predicts better than the weights.
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
"""Muon's rate, as a multiple of AdamW's."""
_MOMENTUM = 0.95
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""a x + b x^3 + c x^5 drives singular values towards one (coefficients: Jordan et al.)."""
_NEWTON_SCHULZ_ITERATIONS = 3
_STEPS_PER_DIRECTION = 8
FIRST_STEPS = 20
"""Steps at the beginning that each orthogonalize, because momentum changes quickly then."""


class Optimizer:
    """Muon and AdamW behind one learning rate.

    Args:
        network: whose parameters it changes.
        config: which method the recurrent matrices get, rates, decay, clipping.
        ranks: the processes that share the work of orthogonalizing.
    """

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
            {name: weights.detach().clone() for name, weights in network.named_parameters()}
            if config.l2_to_base
            else {}
        )
        """The first weights, when the weights are pulled back to them."""
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
        """The share of the learning rate that a depth gets, after a share of the run.

        Frozen layers begin to learn one by one, the highest first; half way through, all do
        (gradual unfreezing: Howard and Ruder, 2018).
        """
        freeze = min(self._config.freeze, self._layers)
        frozen = freeze - int(2 * progress * (freeze + 1))
        if 1 <= depth <= frozen:
            return 0.0
        return float(self._config.layer_decay ** (1 + self._layers - depth))

    def clip(self) -> Tensor:
        """Shortens the gradient that AdamW gets to `clip`. Muon's step has a length of its own.

        Returns:
            The norm of the whole gradient as it was (scalar).
        """
        norms = [nn.utils.clip_grad_norm_(self._rest, self._config.clip)]
        if self.muon.matrices:
            gradients = [matrix.grad for matrix in self.muon.matrices if matrix.grad is not None]
            norms.append(nn.utils.get_total_norm(gradients))
        whole: Tensor = torch.stack(norms).norm()
        return whole

    def tensors(self, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
        """Everything that it remembers, under the names that saved states use.

        Args:
            names: the name of each parameter.
        """
        tensors: dict[str, Tensor] = {}
        for group in self._adamw:
            for number, parameter in enumerate(group.parameters):
                for kind, memory in group.memory.items():
                    tensors[f"adamw.{names[parameter]}.{kind}"] = memory[number]
        muon = self.muon
        for parameter, momentum, direction in zip(
            muon.matrices, muon.momenta, muon.directions, strict=True
        ):
            tensors[f"muon.{names[parameter]}.momentum"] = momentum
            tensors[f"muon.{names[parameter]}.direction"] = direction
        return tensors | {f"anchor.{name}": first for name, first in self.anchors.items()}

    def forget_gradients(self) -> None:
        """Makes the gradients what they were before the backward pass."""
        for parameter in (*self._rest, *self.muon.matrices):
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float | Tensor, progress: float = 0.0) -> None:
        """Changes the weights by their gradients, then forgets the gradients.

        Args:
            rate: AdamW's learning rate of the head; a tensor where it lies on the device.
            progress: share of the run that is over.
        """
        for group, depth in zip(self._adamw, self._depths, strict=True):
            group.step(rate * self.share(depth, progress) if self._differs else rate)
        shares = None
        if self._differs:
            shares = [self.share(depth, progress) for depth in self._muon_depths]
        self.muon.step(MUON_RATE * rate, shares)
        if self.anchors:
            pull = min(1.0, float(rate) * self._config.l2_to_base)
            torch._foreach_lerp_(list[Tensor](self._anchored), list(self.anchors.values()), pull)
        self.forget_gradients()


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), by torch's fused function.

    torch's class of that name loads torch's compiler first, which costs more than a second.
    """

    def __init__(
        self, parameters: list[nn.Parameter], weight_decay: float, beta1: float, beta2: float
    ) -> None:
        self.parameters = parameters
        self.memory = {
            "step": [parameter.new_zeros(()) for parameter in parameters],
            "exp_avg": [torch.zeros_like(parameter) for parameter in parameters],
            "exp_avg_sq": [torch.zeros_like(parameter) for parameter in parameters],
        }
        """Of each kind a tensor for each parameter; steps are counted on the device."""
        self._weight_decay, self._beta1, self._beta2 = weight_decay, beta1, beta2

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        """Changes the parameters by their gradients."""
        adamw(
            list[Tensor](self.parameters),
            [parameter.grad for parameter in self.parameters if parameter.grad is not None],
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
    """Momentum, orthogonalized: one square matrix for each gate.

    Args:
        matrices: the recurrent matrices, the gates of each one below another.
        size: H, rows and columns of a gate.
        bf16: multiplies in bfloat16 while it orthogonalizes.
        ranks: the processes that share the gates.
    """

    def __init__(
        self, matrices: list[nn.Parameter], size: int, bf16: bool, ranks: Ranks = ALONE
    ) -> None:
        self.matrices = matrices
        self._ranks = ranks
        self.steps = 0
        self.momenta = [torch.zeros_like(matrix) for matrix in matrices]
        self.directions = [torch.zeros_like(matrix) for matrix in matrices]
        """The orthogonalized momenta."""
        self._size, self._bf16 = size, bf16

    @property
    def orthogonalizes_next(self) -> bool:
        """Whether the next step computes new directions."""
        return self.steps < FIRST_STEPS or self.steps % _STEPS_PER_DIRECTION == 0

    def example_step(self, orthogonalizes: bool) -> int:
        """A number of steps after which the next step orthogonalizes, or does not."""
        later = FIRST_STEPS + 1
        return 0 if orthogonalizes else later + (later % _STEPS_PER_DIRECTION == 0)

    @torch.no_grad()
    def step(self, rate: float | Tensor, shares: Sequence[float] | None = None) -> None:
        """Changes every matrix along its direction by `rate`, times its share if there are any."""
        if not self.matrices:
            return
        gradients = [matrix.grad for matrix in self.matrices if matrix.grad is not None]
        torch._foreach_lerp_(self.momenta, gradients, 1 - _MOMENTUM)
        if self.orthogonalizes_next:
            for number in range(len(self.matrices)):
                self._orthogonalize(number, gradients[number])
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

    def _orthogonalize(self, number: int, gradient: Tensor) -> None:
        """Computes a matrix's new direction; each process computes some of the gates."""
        direction, ranks = self.directions[number], self._ranks
        # Nesterov: the momentum as it will be if the gradient stays as it is.
        ahead = torch.lerp(gradient, self.momenta[number], _MOMENTUM)
        gates = ahead.view(-1, self._size, self._size)
        if ranks.count == 1:
            direction.copy_(newton_schulz(gates, self._bf16).flatten(0, 1))
            return
        local_gates = [
            gate
            for gate in range(len(gates))
            if (gate + number) % ranks.count == ranks.process.rank
        ]
        direction.zero_()
        if local_gates:
            direction.view_as(gates)[local_gates] = newton_schulz(gates[local_gates], self._bf16)
        ranks.all_reduce_(direction)  # each gate is zero in every process but one


def newton_schulz(matrices: Tensor, bf16: bool) -> Tensor:
    """Moves the larger singular values of square matrices (G, H, H) near one.

    Args:
        matrices: of any scale; zeros stay zeros.
        bf16: multiply in bfloat16.
    """
    a, b, c = _QUINTIC
    x: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-20)
    if bf16:
        x = x.to(torch.bfloat16)
    for _ in range(_NEWTON_SCHULZ_ITERATIONS):
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
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights as they are now."""
        self.updates += 1
        share = max(1 / self.horizon, 1 / (1 + self.updates))
        weights = [parameter.detach() for parameter in self.parameters]
        torch._foreach_lerp_(self.values, weights, share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the weights and their average; a second call undoes it."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            weights = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(weights)
