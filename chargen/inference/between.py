"""A passage that leads from a text to another one, which is known.

Several continuations are sampled side by side. At the ends of words the model is asked how likely
the known text is there; where it is likeliest per token, the passage is cut. Sampling many and
choosing by the likelihood of what follows is importance resampling (Rubin, 1988) with one survivor.

Shape letters: K candidates, T tokens of the known text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chargen.inference.engine import Array, Stepper, log_softmax
from chargen.inference.filters import SampleConfig
from chargen.inference.writer import Writer, forbid_unknown, recent_tokens
from chargen.text.tokenizer import Tokenizer

CANDIDATES = 16
_CUT_EVERY = 8
"""Tokens between two places at which the known text is tried."""


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """The best passage."""

    tokens: tuple[int, ...]
    nats: float
    """What a token of the known text costs after it."""
    direct_nats: float
    """The same without a passage."""


def bridge(
    stepper: Stepper,
    tokenizer: Tokenizer,
    state: Array,
    logits: Array,
    before: Sequence[int],
    target: Sequence[int],
    config: SampleConfig,
    count: int = CANDIDATES,
) -> Bridge:
    """Finds the passage after which the known text is likeliest.

    Args:
        stepper: the model.
        tokenizer: its tokenizer.
        state: after the text before, (L, S, H).
        logits: what the model expects there, (V,).
        before: the last tokens of that text.
        target: the known text, at least one token.
        config: how to draw; its length is that of the longest passage.
        count: how many candidates.
    """
    batched = stepper.batched(count)
    states = np.repeat(state[:, :, None], count, axis=2)
    rows = np.repeat(logits[None], count, axis=0)
    writers = [Writer(tokenizer, config, number) for number in range(count)]
    recents = [recent_tokens(np.array(before, np.int64)) for _ in range(count)]
    written = np.empty((count, 0), np.int64)
    direct = _costs(batched, states.copy(), rows, target)[0]
    best = Bridge(tokens=(), nats=np.inf, direct_nats=float(direct))
    # The last end of a word of each candidate: its length, the state and the logits there.
    lengths = np.zeros(count, np.int64)
    ends, ends_logits = states.copy(), rows.copy()
    for position in range(1, config.length + 1):
        rows = np.array(rows)
        forbid_unknown(rows, tokenizer)
        tokens = np.empty(count, np.int64)
        for row, (writer, recent) in enumerate(zip(writers, recents, strict=True)):
            drawn = writer.write(rows[row], recent, states[:, :, row])
            assert drawn is not None
            tokens[row] = drawn.token_id
            recent.append(drawn.token_id)
        written = np.concatenate([written, tokens[:, None]], axis=1)
        rows = batched.step(tokens, states, states).copy()
        for row, token in enumerate(tokens):
            if tokenizer.token_bytes(int(token))[-1:].isspace():
                lengths[row] = position
                ends[:, :, row], ends_logits[row] = states[:, :, row], rows[row]
        if position % _CUT_EVERY == 0 or position == config.length:
            costs = _costs(batched, ends.copy(), ends_logits.copy(), target)
            costs[lengths == 0] = np.inf
            row = int(costs.argmin())
            if costs[row] < best.nats:
                passage = tuple(map(int, written[row, : lengths[row]]))
                best = Bridge(tokens=passage, nats=float(costs[row]), direct_nats=float(direct))
    # Where no candidate ended a word, nothing stands between the two texts.
    return best if best.tokens else replace(best, nats=best.direct_nats)


def _costs(batched: Stepper, states: Array, logits: Array, target: Sequence[int]) -> Array:
    """What a token of the known text costs after each candidate, in nats: (K,)."""
    total = np.zeros(len(logits), np.float32)
    for token in target:
        total -= log_softmax(logits)[:, token]
        logits = batched.step(np.full(len(logits), token), states, states).copy()
    return total / np.float32(len(target))
