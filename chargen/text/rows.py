"""How a long text is laid out in rows that are read side by side.

A row is one part of the text; the rows of a batch share every weight that is fetched. Each row but
the first may read some tokens before its part (warm-up), so that its state no longer depends on the
zero state at its beginning. Both engines use this layout: numpy reads one position at a time, torch
a window of positions. Shape letters: N rows, T positions of a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.text.tokenizer import Tokens

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Parts of a text: row n reads the positions from `starts[n]` up to `ends[n]`."""

    starts: Positions
    """(N,)"""
    ends: Positions
    """(N,)"""

    def __len__(self) -> int:
        return len(self.starts)

    def share(self, rank: int, count: int) -> Rows:
        """Every `count`-th row, from row `rank` on: what one of several processes reads."""
        return Rows(starts=self.starts[rank::count], ends=self.ends[rank::count])


def lay_out(length: int, rows: int, *, limit: int | None = None) -> Rows:
    """Divides the positions 0 to `length - 1` into rows of nearly equal length.

    Args:
        length: positions of the text.
        rows: how many rows, at most one for each position.
        limit: positions to read in all, the same number in every row; None reads every position.
    """
    rows = max(1, min(rows, length))
    bounds = np.arange(rows + 1) * length // rows
    if limit is None or limit >= length:
        return Rows(starts=bounds[:-1], ends=bounds[1:])
    return Rows(starts=bounds[:-1], ends=bounds[:-1] + max(1, limit // rows))


@dataclass(frozen=True, kw_only=True)
class Window:
    """T positions of every row, counted from the beginning of the row."""

    tokens: npt.NDArray[np.int64]
    """(T + 1, N): inputs are all but the last line, targets all but the first."""
    counts: npt.NDArray[np.bool_]
    """(T, N): whether a position is in its row's part: not warm-up, and not past the end."""


def windows(tokens: Tokens, rows: Rows, length: int, *, warm_up: int = 0) -> Iterator[Window]:
    """Reads a text in rows, a window of positions at a time.

    Args:
        tokens: the text; position p is predicted from token p, and is token p + 1.
        rows: the layout; its last position must be at most `len(tokens) - 2`.
        length: T.
        warm_up: tokens that each row reads before its part, as far as the text goes back.
    """
    begins = np.maximum(rows.starts - warm_up, 0)
    for offset in range(0, int((rows.ends - begins).max()), length):
        block = np.zeros((length + 1, len(rows)), np.int64)
        counts = np.zeros((length, len(rows)), bool)
        for row, (begin, start, end) in enumerate(zip(begins, rows.starts, rows.ends, strict=True)):
            part = tokens[begin + offset : min(end, begin + offset + length) + 1]
            if len(part) > 1:
                block[: len(part), row] = part
                counts[max(0, start - begin - offset) : len(part) - 1, row] = True
        yield Window(tokens=block, counts=counts)
