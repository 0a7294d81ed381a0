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

from chargen.text.tokenizer import Tokens


class BatchStream:
    """Windows of (T, B) inputs and the tokens that follow them; a pure function of the step."""

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        bptt: int,
        replay: Tokens | None = None,
        lanes: int = 0,
        own: slice = slice(None),
    ) -> None:
        """Lay out the lanes.

        Args:
            tokens: the text (N,).
            batch_size: B.
            bptt: T.
            replay: another text, a ring of its own, that
            lanes: so many of the B read, the last ones.
            own: which of all the lanes windows hold; the others are another process's.
        """
        assert len(tokens) > 1
        self.batch_size = batch_size
        self.bptt = bptt
        self.length = len(tokens)
        self.tokens_a_step = batch_size * bptt
        self._lanes = [(tokens, start) for start in _starts(tokens, batch_size - lanes)]
        if replay is not None:
            self._lanes += [(replay, start) for start in _starts(replay, lanes)]
        self._lanes = self._lanes[own]

    def window(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets (T, B or as many as are its own), int64, of step `step` (0-based)."""
        block = self.block(step)
        return block[:-1], block[1:]

    def block(self, step: int) -> torch.Tensor:
        """Both at once: (T + 1, B)."""
        rows = np.empty((self.bptt + 1, len(self._lanes)), np.int64)
        for lane, (tokens, start) in enumerate(self._lanes):
            first = (start + step * self.bptt) % len(tokens)
            rows[:, lane] = _ring(tokens, first, self.bptt + 1)
        return torch.from_numpy(rows)


def _starts(tokens: Tokens, lanes: int) -> list[int]:
    return [int(lane) * len(tokens) // lanes for lane in range(lanes)]


def _ring(tokens: Tokens, first: int, length: int) -> Tokens:
    if first + length <= len(tokens):
        return tokens[first : first + length]
    return tokens[np.arange(first, first + length) % len(tokens)]
