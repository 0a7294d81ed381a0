"""One training step, the same wherever something learns.

`take_step` is forward pass, loss, backward pass, clipping, check and update. Four callers use it:
the trainer, its CUDA graphs, the measurement of this machine's speed (autotune.py) and the model
that learns while it reads (evaluate.py). `TrainingState` holds everything that the steps of a run
change.

Shape letters: T time, B batch rows, L layers, H hidden_size, S states of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from chargen.training.batches import BatchStream
from chargen.training.config import TrainConfig
from chargen.training.distillation import DistillationLoss
from chargen.training.distributed import ALONE, Ranks
from chargen.training.kernels.torch_kernels import State
from chargen.training.network import NextTokenLoss, RecurrentLM, detach
from chargen.training.optimizer import EMA, Optimizer

LossFunction = Callable[[Tensor, Tensor, State], tuple[Tensor, State]]
"""From inputs (T, B), targets (T, B) and the state before to mean nats and the state after."""


class Updates(Protocol):
    """What changes the weights by their gradients."""

    def clip(self) -> Tensor:
        """Shortens long gradients; returns the norm that they had (scalar)."""

    def step(self, rate: float | Tensor, progress: float = 0.0) -> None:
        """Changes the weights, then forgets the gradients."""


def take_step(
    loss: LossFunction,
    optimizer: Updates,
    inputs: Tensor,
    targets: Tensor,
    state: State,
    rate: float | Tensor,
    *,
    progress: float = 0.0,
    micro_batches: int = 1,
    total_rows: int | None = None,
    processes: int = 1,
    check: Callable[[Tensor, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor, State]:
    """Learns from one window.

    Args:
        loss: of a network.
        optimizer: of the same network.
        inputs: (T, B) ids.
        targets: (T, B) ids that follow them.
        state: S tensors (L, B, H).
        rate: the learning rate; a tensor where it lies on the device.
        progress: share of the run that is over.
        micro_batches: parts of the batch that are read one after another, to save memory; their
            gradients are summed.
        total_rows: rows of all processes; None where these B are all.
        processes: how many share a batch; they average gradients instead of summing them.
        check: is given loss and gradient norm before the weights change; raising keeps the weights.

    Returns:
        Mean nats per token (scalar), the gradient's norm (scalar), and the state after the window.
    """
    rows = inputs.shape[1]
    width = math.ceil(rows / micro_batches)
    losses, states = [], []
    for first in range(0, rows, width):
        part = slice(first, first + width)
        before = tuple(tensor[:, part] for tensor in state)
        nats, after = loss(inputs[:, part], targets[:, part], before)
        nats = nats * (min(width, rows - first) / (total_rows or rows))
        whole = nats * processes
        whole.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        losses.append(nats.detach())
        # Back-propagation through time is cut off here: the state goes on, its graph does not.
        states.append(detach(after))
    nats = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
    norm = optimizer.clip()
    if check is not None:
        check(nats, norm)
    optimizer.step(rate, progress)
    if len(states) == 1:
        return nats, norm, states[0]
    return nats, norm, tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))


class TrainingState:
    """Everything that the steps of a run change: weights, optimizer, EMA, carried state, position.

    Args:
        network: on its device.
        config: the whole plan.
        batches: the windows of the batch rows that this process reads.
        ranks: the processes that share the batch.
        teacher: the network that this one learns from; None: it learns from the text alone.
    """

    def __init__(
        self,
        network: RecurrentLM,
        config: TrainConfig,
        batches: BatchStream,
        ranks: Ranks = ALONE,
        teacher: RecurrentLM | None = None,
    ) -> None:
        self.network, self.config, self.batches, self.ranks = network, config, batches, ranks
        self.step = 0
        """Steps taken."""
        self.is_updating = False
        """Whether weights may have changed since `step` last did: between the two, an error
        leaves half a step behind."""
        self.local_rows = ranks.local_rows(config.batch_size)
        """Which rows of the batch this process reads."""
        self.teacher = teacher
        loss = NextTokenLoss(network)
        if teacher is not None:
            loss = DistillationLoss(network, teacher, config.teacher_share)
        self.state = loss.zero_state(self.local_rows.stop - self.local_rows.start)
        """The recurrent state after the last window: S tensors (L, B, H); then the teacher's."""
        self.loss: LossFunction = ranks.parallel(loss)
        if ranks.count > 1:
            network.batch_rows, network.local_rows = config.batch_size, self.local_rows
        self.optimizer = Optimizer(network, config, ranks)
        horizon = config.ema * config.steps
        self.ema = EMA(network.parameters(), horizon) if config.ema else None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.head.bias.device

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that steps change, by a name that a saved state uses for it."""
        parameters = dict(self.network.named_parameters())
        tensors: dict[str, Tensor] = {
            f"weights.{name}": parameter for name, parameter in parameters.items()
        }
        if self.ema:
            averages = zip(parameters, self.ema.values, strict=True)
            tensors |= {f"average.{name}": average for name, average in averages}
        tensors |= self.optimizer.tensors({tensor: name for name, tensor in parameters.items()})
        return tensors | {f"state.{number}": part for number, part in enumerate(self.state)}

    def fixed_tensors(self) -> dict[str, Tensor]:
        """Every tensor that steps read and never change, by the name of a saved state."""
        if self.teacher is None:
            return {}
        return {f"teacher.{name}": tensor for name, tensor in self.teacher.named_parameters()}

    def states_of_all_rows(self) -> dict[str, Tensor]:
        """The carried states (L, B, H) of every process; all processes must call it."""
        return {
            f"state.{number}": self.ranks.gather_states(part, self.config.batch_size)
            for number, part in enumerate(self.state)
        }
