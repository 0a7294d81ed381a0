"""Contiguous batches: every batch row reads on where it stopped.

The tokens form a ring. Row b starts at b/B of it, and every step reads the next T tokens of each
row. A row that reaches the start of the next row goes on there; the last row goes on at the ring's
beginning. So every row is contiguous for ever, an epoch has no edge, and the position of all rows
is one number: the step.

A text of documents is read pass by pass instead: each pass has an order of its own, a pure function
of the seed and the pass, and its B parts are read side by side. The tokens that a whole number of
windows leaves over are left out of the pass.

Shape letters: N tokens, B batch rows, T bptt, K steps.
"""

from __future__ import annotations

import numpy as np
import torch

from chargen.text.spread import ShuffledText
from chargen.text.tokenizer import Tokens


class BatchStream:
    """Windows of (T, B) inputs and the tokens that follow them; a pure function of the step.

    Args:
        tokens: the text (N,).
        batch_size: B.
        bptt: T.
        replay: another text, which the last `replay_rows` rows read as a ring of its own.
        replay_rows: rows that read `replay`.
        local_rows: the rows that windows hold; the others belong to other processes.
        shuffled: the same text with its documents in another order in every pass; None keeps the
            order of the text.
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        bptt: int,
        replay: Tokens | None = None,
        replay_rows: int = 0,
        local_rows: slice = slice(None),
        shuffled: ShuffledText | None = None,
    ) -> None:
        assert len(tokens) > 1
        self.bptt = bptt
        self.length = len(tokens)
        self.tokens_per_step = batch_size * bptt
        own_rows = batch_size - replay_rows
        rows = [(tokens, start) for start in _starts(tokens, own_rows)]
        if replay is not None:
            rows += [(replay, start) for start in _starts(replay, replay_rows)]
        self._rows = rows[local_rows]
        self._shuffled = shuffled
        self._own_count = len(rows[:own_rows][local_rows])
        self._steps_per_pass = max(1, len(tokens) // max(1, own_rows) // bptt)

    def window(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of a step (0-based): each (T, B) or (T, local rows), int64."""
        block = self.block(step)
        return block[:-1], block[1:]

    def block(self, step: int) -> torch.Tensor:
        """Inputs and targets in one: (T + 1, B), int64."""
        return self.blocks(step, 1)[0].long()

    def blocks(self, first: int, count: int) -> torch.Tensor:
        """The blocks of K steps: (K, T + 1, B).

        They are bytes where all ids are, so that little travels to a GPU, else int64.

        Args:
            first: the first step.
            count: K.
        """
        length = count * self.bptt + 1
        kind = np.uint8 if all(tokens.dtype == np.uint8 for tokens, _ in self._rows) else np.int64
        rows = np.empty((len(self._rows), length), kind)
        own_count = self._own_count if self._shuffled is not None else 0
        for row, (tokens, start) in enumerate(self._rows[own_count:], own_count):
            rows[row] = _read_ring(tokens, (start + first * self.bptt) % len(tokens), length)
        # Each row's windows share their last and first token: nothing is copied here.
        windows = np.lib.stride_tricks.sliding_window_view(rows, self.bptt + 1, axis=1)
        blocks = windows[:, :: self.bptt].transpose(1, 2, 0).copy()
        if self._shuffled is not None and own_count:
            starts = np.array([start for _, start in self._rows[:own_count]])
            for number in range(count):
                of_pass, steps = divmod(first + number, self._steps_per_pass)
                positions = starts + steps * self.bptt + np.arange(self.bptt + 1)[:, None]
                blocks[number, :, :own_count] = self._shuffled.read(of_pass, positions)
        return torch.from_numpy(blocks)


def _starts(tokens: Tokens, rows: int) -> list[int]:
    return [row * len(tokens) // rows for row in range(rows)]


def _read_ring(tokens: Tokens, first: int, length: int) -> Tokens:
    if first + length <= len(tokens):
        return tokens[first : first + length]
    return tokens[np.arange(first, first + length) % len(tokens)]
