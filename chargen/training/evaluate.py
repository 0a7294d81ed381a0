"""How well a network predicts a text: nats per token, bits per byte and per character."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from chargen.model.score import Score, make_score
from chargen.text.store import Tokens
from chargen.training.network import RecurrentLM

_WINDOW = 128


@torch.no_grad()
def evaluate(
    network: RecurrentLM,
    tokens: Tokens,
    lengths: npt.NDArray[np.int64],
    limit: int | None = None,
    *,
    exact: bool = True,
) -> Score:
    """Score a text in lanes side by side, each from a zero state.

    Lanes of thousands of tokens differ from one long reading by less than the third decimal, and
    are many times faster; `chargen eval` reads in one piece.

    Args:
        network: its mode (training or not) is restored afterwards.
        tokens: (N,).
        lengths: (2, V) bytes and characters of each token, of `token_lengths`.
        limit: score about this many tokens, from places spread over the text; None scores all.
        exact: in float32; otherwise as the network is trained, which may be faster.
    """
    count = len(tokens) - 1
    wanted = count if limit is None else min(count, limit)
    lanes = max(1, min(32, wanted // 1024))
    span = max(1, wanted // lanes)
    device = network.head.bias.device
    starts = [lane * count // lanes for lane in range(lanes)]
    # The last lane takes what division left over, so that a full score covers every token.
    ends = [start + span for start in starts]
    if wanted == count:
        ends = [*starts[1:], count]
    was_training, kernel = network.training, network.kernel
    network.eval()
    network.kernel = replace(kernel, half=kernel.half and not exact)
    state = network.zero_state(lanes)
    longest = max(end - start for start, end in zip(starts, ends, strict=True))
    nats, predicted = 0.0, np.zeros(len(lengths[0]), np.int64)
    for offset in range(0, longest, _WINDOW):
        block = np.zeros((_WINDOW + 1, lanes), np.int64)
        mask = np.zeros((_WINDOW, lanes), bool)
        for lane, (start, end) in enumerate(zip(starts, ends, strict=True)):
            part = tokens[start + offset : min(end, start + offset + _WINDOW) + 1]
            if len(part) > 1:
                block[: len(part), lane] = part
                mask[: len(part) - 1, lane] = True
        window = torch.from_numpy(block).to(device)
        logits, state = network(window[:-1], state)
        losses = functional.cross_entropy(
            logits.flatten(0, 1).float(), window[1:].flatten(), reduction="none"
        )
        kept = torch.from_numpy(mask).to(device).flatten()
        nats += float(losses[kept].double().sum())
        predicted += np.bincount(block[1:][mask], minlength=len(predicted))
    network.train(was_training)
    network.kernel = kernel
    return make_score(nats, predicted, lengths)
