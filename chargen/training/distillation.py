"""Distillation: a network learns from what another one predicts (Hinton, Vinyals and Dean, 2015).

The true next token says what followed once; the distribution of a trained network, the teacher,
says what else could have followed. The student's loss is a mixture of both:

    loss = (1 - share) * cross_entropy(student, truth) + share * cross_entropy(student, teacher)

The cross entropy is linear in what it is compared with, so this is one cross entropy with a
mixture of the two distributions. The temperature is 1: the teacher's own probabilities. The teacher
reads the windows that the student reads, with a state of its own, and never changes.

Shape letters: V vocabulary, L layers, T time, B batch rows, N tokens, H hidden_size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from chargen.model.config import ModelConfig
from chargen.training.kernels import Kernel, planned_or_best
from chargen.training.kernels.torch_kernels import State
from chargen.training.network import NextTokenLoss, RecurrentLM, TargetRows


def make_teacher(config: ModelConfig, device: torch.device, kernel: Kernel) -> RecurrentLM:
    """A network that is only read, with random weights at first.

    Args:
        config: its shape.
        device: where it reads.
        kernel: what is planned for the student; another where this one cannot compute the cell.
    """
    teacher = RecurrentLM(config, kernel=planned_or_best(config.cell, device.type, kernel))
    return teacher.to(device).requires_grad_(False).eval()


@dataclass(frozen=True)
class SoftTargets:
    """What a student is to predict: the teacher's distribution and the true token, mixed.

    The distributions of some tokens are made when they are asked for, so that those of a large
    vocabulary never lie in memory all at once.
    """

    teacher: RecurrentLM
    hidden: Tensor
    """The teacher's hidden states before the tokens (N, H)."""
    tokens: Tensor
    """The true tokens (N,)."""
    share: float
    """That of the teacher, from 0 to 1."""

    def __len__(self) -> int:
        return len(self.tokens)

    @torch.no_grad()
    def __getitem__(self, rows: slice) -> Tensor:
        """The distributions (n, V) of these tokens."""
        head, groups = self.teacher.head, self.teacher.config.groups
        logits = functional.linear(self.hidden[rows] / groups, head.weight, head.bias)
        tokens = self.tokens[rows, None]
        mixed = logits.softmax(-1).mul_(self.share)
        return mixed.scatter_add_(1, tokens, mixed.new_full(tokens.shape, 1 - self.share))


class DistillationLoss(NextTokenLoss):
    """The loss of a student; its state is that of the student, followed by that of the teacher.

    Args:
        network: the student.
        teacher: of `make_teacher`, with the same vocabulary.
        share: that of the teacher in the loss.
    """

    def __init__(self, network: RecurrentLM, teacher: RecurrentLM, share: float) -> None:
        super().__init__(network)
        assert teacher.config.vocab_size == network.config.vocab_size
        self.teacher, self.share = teacher, share

    def zero_state(self, batch_size: int) -> State:
        """The memory of both before any text: tensors of zeros (L, B, H)."""
        return (*self.network.zero_state(batch_size), *self.teacher.zero_state(batch_size))

    def forward(
        self, inputs: Tensor, targets: Tensor | TargetRows, state: State
    ) -> tuple[Tensor, State]:
        """Mean nats of a window by the mixture, and the states after it.

        Args:
            inputs: (T, B) ids.
            targets: (T, B) ids that follow them.
            state: of `zero_state`, or what the window before returned.
        """
        assert isinstance(targets, Tensor)
        own = len(self.network.config.cell_row.states)
        with torch.no_grad():
            hidden, teacher_after = self.teacher.features(inputs, state[own:])
        soft = SoftTargets(self.teacher, hidden.flatten(0, 1), targets.flatten(), self.share)
        nats, after = super().forward(inputs, soft, state[:own])
        return nats, (*after, *teacher_after)
