"""The running average of weights, which often predicts better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class WeightAverage:
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
