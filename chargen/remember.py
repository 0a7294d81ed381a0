"""Gives a trained model a memory: counts its training text, fits the gates, and scores both.

The gates are fitted on one half of the validation part, in blocks; the figures are those of the
other half, which nothing was fitted on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.api import Model
from chargen.inference.count_memory import MAX_ORDER, Prediction, count, predict
from chargen.inference.growing_counts import TextGrowth
from chargen.inference.memory_file import Memory, memory_path, save_memory
from chargen.inference.mixer import Gate, fit_gate, modest_gate, usual_gate
from chargen.inference.remembering import remembered_scores
from chargen.inference.token_scores import predictions
from chargen.text.tokenizer import Tokens

_MAX_FITTED_TOKENS, _FEW_FITTED_TOKENS = 60_000, 4_096
_MAX_PRODUCTS = 1e11
"""Multiplications that reading the validation part for the gates may take: some seconds."""
_MAX_LIKELIHOODS = 1 << 26
"""Numbers that the network's predictions of the validation part may have: 256 MB."""
_MIN_FITTED_TOKENS = 300
"""With fewer tokens to fit on, the better of two gates is taken as it is."""
_BLOCK_TOKENS = 256
"""Tokens of the blocks of the validation part that in turn fit the gates and judge them."""
_COMPARED_TOKENS = 4_096
"""Tokens by which the gate to begin with is chosen."""
_WARM_UP_TOKENS = 128
"""Tokens that each row of the validation part reads before its own: enough to judge a gate by."""
_LONGEST = {"char": MAX_ORDER, "byte": MAX_ORDER, "words": 5, "subword": 6, "spaces": 6, "regex": 8}
_MAX_VOCAB = 65_535


def remember(model: Model, train: Tokens, valid: Tokens) -> Memory | None:
    """The memory of a model; None where its vocabulary is too large.

    Args:
        model: the model.
        train: (N,) the text that it was trained on.
        valid: (T,) the text that validated it.
    """
    vocab_size = model.config.vocab_size
    if vocab_size > _MAX_VOCAB or len(train) < 2:
        return None
    counts = count(train, vocab_size, longest=_LONGEST.get(model.tokenizer.kind, MAX_ORDER))
    memory = Memory(counts=counts, static=usual_gate(grows=False), growing=usual_gate(grows=True))
    card: dict[str, Any] = {"bytes": counts.bytes, "longest": counts.longest}
    affordable = max(_FEW_FITTED_TOKENS, int(_MAX_PRODUCTS / model.config.num_parameters))
    room = max(2, _MAX_LIKELIHOODS // vocab_size)
    valid = np.asarray(valid[: min(_MAX_FITTED_TOKENS, affordable, room)])
    if len(valid) < 2:
        return replace(memory, card=card)
    targets = np.arange(len(valid) - 1)
    fits = (targets // max(1, min(_BLOCK_TOKENS, len(valid) // 4))) % 2 == 0
    network = _network(model, valid)
    gates = [_fitted(memory, network, valid, targets[fits], grows=g) for g in (False, True)]
    memory = replace(memory, static=gates[0], growing=gates[1])
    card["fitted_tokens"] = int(fits.sum())
    card["judged_tokens"] = int((~fits).sum())
    for grows, name in ((False, "static"), (True, "growing")):
        scores = remembered_scores(iter([(targets, network)]), memory, valid, grows=grows)
        card[name] = {
            kind: float(getattr(scores, kind)[~fits].mean())
            for kind in ("together", "network", "counts")
        }
    return replace(memory, card=card)


def _network(model: Model, valid: Tokens) -> npt.NDArray[np.float32]:
    """The network's log-likelihoods of what follows each token but the last (T - 1, V)."""
    network = np.empty((len(valid) - 1, model.config.vocab_size), np.float32)
    for positions, logprobs in predictions(model.stepper, valid, warm_up=_WARM_UP_TOKENS):
        network[positions] = logprobs
    return network


def _fitted(
    memory: Memory,
    network: npt.NDArray[np.float32],
    valid: Tokens,
    positions: npt.NDArray[np.int64],
    *,
    grows: bool,
) -> Gate:
    growth = TextGrowth(valid, memory.counts.longest)

    def block(chosen: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], Prediction]:
        after = positions[chosen] + 1
        hashes = [order[after] for order in growth.hashes]
        grown = growth.before(after) if grows else None
        return network[positions[chosen]], predict(memory.counts, hashes, grown)

    following = valid[positions + 1].astype(np.int64)

    def nats(gate: Gate) -> float:
        few = np.arange(min(len(following), _COMPARED_TOKENS))
        return -float(gate.mix(*block(few))[few, following[few]].mean())

    # A network that was trained beside the counts, or one that knows the counted text by heart.
    start = min((usual_gate(grows=grows), modest_gate(grows=grows)), key=nats)
    return start if len(following) < _MIN_FITTED_TOKENS else fit_gate(block, following, start=start)


def remember_run(model: Model, train: Tokens, valid: Tokens) -> str | None:
    """Gives a model its memory, in a file beside it.

    Returns:
        A line about it, None if it has none.

    Raises:
        ChargenError: the file cannot be written.
    """
    assert model.path is not None
    memory = remember(model, train, valid)
    path = memory_path(model.path)
    if memory is None:
        path.unlink(missing_ok=True)
        return None
    save_memory(path, memory, model.file)
    told = f"memory: {memory.counts.bytes / 1e6:.1f} MB of counts"
    static = memory.card.get("static")
    if not static:
        return told
    growing = memory.card["growing"]["together"]
    return (
        f"{told}; network {static['network']:.4f}, counts {static['counts']:.4f}, together "
        f"{static['together']:.4f} nats per token, {growing:.4f} while they grow, on "
        f"{memory.card['judged_tokens']:,} tokens that nothing was fitted on"
    )
