"""TokenStore to windows: lanes that read on where they stopped.

The tokens form a ring. Lane b starts at b/B of it, and every step reads the next T tokens of
each lane; a lane that reaches the start of the next goes on there, and the last one goes on at the
ring's beginning. So every lane is contiguous in time for ever, an epoch has no edge, and the
whole position is one number: the step.

Shape letters: N tokens, B batch_size, T bptt.
"""

from __future__ import annotations

import numpy as np
import torch

from chargen.text.store import Tokens


class LaneStream:
    """Windows of (T, B) inputs and the tokens that follow them; a pure function of the step."""

    def __init__(self, tokens: Tokens, batch_size: int, bptt: int) -> None:
        assert len(tokens) > 1
        self._tokens = tokens
        self.batch_size = batch_size
        self.bptt = bptt
        self.length = len(tokens)
        self.tokens_a_step = batch_size * bptt
        self._starts = np.arange(batch_size, dtype=np.int64) * len(tokens) // batch_size

    def window(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets (T, B), int64, of step `step` (0-based)."""
        count = len(self._tokens)
        rows = np.empty((self.bptt + 1, self.batch_size), np.int64)
        for lane, start in enumerate(self._starts):
            first = (int(start) + step * self.bptt) % count
            rows[:, lane] = self._slice(first, self.bptt + 1)
        block = torch.from_numpy(rows)
        return block[:-1], block[1:]

    def _slice(self, first: int, length: int) -> Tokens:
        if first + length <= self.length:
            return self._tokens[first : first + length]
        return self._tokens[np.arange(first, first + length) % self.length]
