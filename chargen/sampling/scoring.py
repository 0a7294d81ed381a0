"""How well a model predicts a whole text: read in one piece, or a long one in lanes side by side.

One step at a time is bound by memory: every weight is fetched for every token. Lanes share that,
so a long text is cut into them; each first reads a good piece of the text before its own part,
after which nothing is left of the zero state that it began with.
"""

from __future__ import annotations

import numpy as np

from chargen.sampling.stepper import Stepper, TokenIds, log_softmax
from chargen.text.store import Tokens

LONG = 1 << 18
"""Tokens from which lanes are worth it."""
_LANES = 64
_WARM_UP = 2048
"""Tokens a lane reads before it counts: many times what such a model remembers."""
_SCORED_AT_ONCE = 1 << 16


def total_nats(stepper: Stepper, ids: TokenIds | Tokens) -> float:
    """Nats that the tokens (N,) after the first cost, from a zero state, state carried.

    From `LONG` tokens on, lanes carry their own states; the total then differs by rounding.
    """
    if len(ids) >= LONG:
        return _in_lanes(stepper, ids)
    state, nats = stepper.zero_state(), 0.0
    for start in range(0, len(ids) - 1, _SCORED_AT_ONCE):
        part = np.asarray(ids[start : start + _SCORED_AT_ONCE + 1], np.int64)
        logprobs, state = stepper.score(part, state)
        nats -= float(logprobs.sum(dtype=np.float64))
    return nats


def _in_lanes(stepper: Stepper, ids: TokenIds | Tokens) -> float:
    count = len(ids) - 1
    lanes = stepper.batched(_LANES)
    state = lanes.zero_state()
    bounds = np.arange(_LANES + 1) * count // _LANES
    firsts, ends = bounds[:-1], bounds[1:]
    every = np.arange(_LANES)
    nats = 0.0
    for offset in range(-_WARM_UP, int((ends - firsts).max())):
        places = firsts + offset
        tokens = np.asarray(ids[np.maximum(places, 0)], np.int64)
        logits = lanes.step(tokens, state, state)
        if places[0] < 0:
            # The first lane has nothing before it: its true state is still zero.
            state[:, :, places < 0] = 0
        if offset >= 0:
            counts = places < ends
            targets = np.asarray(ids[np.minimum(places, count - 1) + 1], np.int64)
            nats -= float(log_softmax(logits)[every, targets][counts].sum(dtype=np.float64))
    return nats
