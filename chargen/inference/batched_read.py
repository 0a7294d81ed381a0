"""A long text read in lanes side by side, with everything that the engine computes on the way.

One step at a time is bound by memory: every weight is fetched for every token. Lanes share that.
Each first reads a piece of the text before its own part, after which nothing is left of the zero
state that it began with. Shape letters: N lanes, L layers, S states, H hidden_size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.inference.engine import Array, Clamps, Stepper, TokenIds
from chargen.text.tokenizer import Tokens

LANES, _FEWEST = 64, 8
WARM_UP = 2048
"""Tokens a lane reads before it counts: many times what such a model remembers."""

Progress = Callable[[float], None]
"""Is told which share of the work is done."""


def unwatched(share: float) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, kw_only=True)
class BatchStep:
    """One step of all lanes; the next one overwrites the arrays."""

    places: npt.NDArray[np.intp]
    """(n,): which tokens of the text were read by the lanes that count."""
    counts: npt.NDArray[np.bool_]
    """(N,): which lanes count: not in their warm-up, nor past their end. n of them."""
    logits: Array
    """(N, V)"""
    state: Array
    """(L, S, N, H)"""
    gates: Callable[[int], list[Array]]
    """The gates of a layer, each (N, H)."""


def read_in_rows(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    *,
    lanes: int = LANES,
    warm_up: int = WARM_UP,
    holds: Clamps | None = None,
    progress: Progress = unwatched,
) -> Iterator[BatchStep]:
    """Read a text (T,), every token of it in exactly one lane that counts.

    Args:
        stepper: the model.
        ids: the text.
        lanes: how many, at most.
        warm_up: tokens that each reads before its part.
        holds: units that are held in every step.
        progress: is told how far it is.
    """
    if warm_up:  # at most a third of the work is warming up, unless a text is short
        lanes = min(lanes, max(_FEWEST, len(ids) // (2 * warm_up)))
    lanes = max(1, min(lanes, len(ids)))
    many = stepper.batched(lanes)
    state = many.zero_state()
    bounds = np.arange(lanes + 1) * len(ids) // lanes
    firsts, ends = bounds[:-1], bounds[1:]
    last = int((ends - firsts).max())
    warm_up = warm_up if lanes > 1 else 0
    for offset in range(-warm_up, last):
        places = firsts + offset
        tokens = np.asarray(ids[np.clip(places, 0, len(ids) - 1)], np.int64)
        logits = many.step(tokens, state, state, holds)
        if places[0] < 0:
            # The first lanes have nothing before them: their true state is still zero.
            state[:, :, places < 0] = 0
        if offset >= 0:
            counts = places < ends
            yield BatchStep(
                places=places[counts],
                counts=counts,
                logits=logits,
                state=state,
                gates=lambda layer: many.layers[layer].gates,
            )
        if offset % 64 == 0:
            progress((offset + warm_up) / (last + warm_up))
