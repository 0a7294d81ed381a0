"""Learning while reading: every segment is scored first, and learned from then.

Dynamic evaluation (Krause et al., 2018): steps scaled by the gradients' size so far, and a pull
back to where the weights began, so that what was read long ago fades. Shape letters: N tokens,
T segment.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from chargen.model.config import ModelConfig
from chargen.model.file import Weights
from chargen.training.config import TrainConfig
from chargen.training.devices import prepare_torch
from chargen.training.kernels import candidates
from chargen.training.network import RecurrentLM, detach

SEGMENT = 32
"""Tokens between two steps."""
_RATE = 1e-3
_PULL = 2e-3
"""Part of the way back to the first weights, a step."""
_MEMORY = 0.999


class Adapter:
    """A model that changes as it reads; its text is one, in as many pieces as there come."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        prepare_torch(TrainConfig(steps=1, device="cpu"))
        kernel = candidates(config.cell, "cpu", "auto", "fp32")[0]
        self._network = RecurrentLM(config, kernel=kernel)
        self._network.load_weights(weights)
        self._network.train()
        self._parameters = list(self._network.parameters())
        self._first = [one.detach().clone() for one in self._parameters]
        self._state = self._network.zero_state(1)
        self._before: int | None = None
        self._optimizer = torch.optim.RMSprop(self._parameters, lr=_RATE, alpha=_MEMORY, eps=1e-6)

    def read(self, ids: npt.NDArray[Any]) -> float:
        """Read on, and learn: the nats that these tokens (N,) cost before they were learned.

        The very first token of all is read, and nothing predicts it.
        """
        tokens = [int(one) for one in ids]
        if self._before is not None:
            tokens.insert(0, self._before)
        nats = 0.0
        for start in range(0, len(tokens) - 1, SEGMENT):
            part = torch.tensor(tokens[start : start + SEGMENT + 1])[:, None]
            logits, state = self._network(part[:-1], self._state)
            loss = functional.cross_entropy(logits.flatten(0, 1), part[1:].flatten())
            nats += loss.item() * (len(part) - 1)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(list[torch.Tensor](self._parameters), self._first, _PULL)
            self._state = detach(state)
        if tokens:
            self._before = tokens[-1]
        return nats

    def weights(self) -> Weights:
        """The weights as they are now: copies."""
        weights = self._network.to_weights()
        assert all(one.dtype == np.float32 for one in weights.values())
        return weights
