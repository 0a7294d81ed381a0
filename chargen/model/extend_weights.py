"""Weights take in new tokens: rows of embedding and head made from relatives' rows.

What a model predicts of its old tokens is unchanged, within the mass that the new ones take.
Shape letters: V vocabulary, E embedding, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from chargen.model.checkpoint import ModelFile, Weights
from chargen.model.config import ModelConfig
from chargen.text.extend_vocab import VocabExtension

_MOST = 3.0
"""A new token is at first at most e to this times as likely as what it was made from."""


def extend_weights(
    file: ModelFile, graft: VocabExtension, counts: npt.NDArray[np.int64]
) -> ModelFile:
    """The same model with a grown vocabulary.

    Args:
        file: the model before.
        graft: its vocabulary's growth.
        counts: how often each token (V,) occurs in the new text.
    """
    vocab_size = graft.tokenizer.vocab_size
    weights: Weights = dict(file.weights)
    for name in ("embedding.weight", "head.weight", "head.bias"):
        if name in weights:
            weights[name] = _grown(weights[name], graft)
    bias = weights["head.bias"]
    place = {old: new for new, old in enumerate(graft.old) if old >= 0}
    for token, seeds in graft.seeds.items():
        # As often as it occurs beside what it was made from.
        relatives = counts[[place[one] for one in seeds]].mean()
        bias[token] += np.clip(np.log((counts[token] + 1) / (relatives + 1)), -np.inf, _MOST)
    return ModelFile(
        config=replace(file.config, vocab_size=vocab_size),
        tokenizer=graft.tokenizer.to_state(),
        weights=weights,
        card=file.card,
    )


def _grown(rows: npt.NDArray[np.float32], graft: VocabExtension) -> npt.NDArray[np.float32]:
    """Old rows in their new places; each new row the mean of its seeds' rows."""
    old = np.array(graft.old)
    grown: npt.NDArray[np.float32] = rows[np.maximum(old, 0)].copy()
    for token, seeds in graft.seeds.items():
        grown[token] = rows[list(seeds)].mean(0)
    return grown


def lineage(card: Mapping[str, object], name: str) -> dict[str, object]:
    """What a descendant's card keeps of its base: its name and its whole card, ancestors included.

    The deepest are left out after twenty: cards are read into memory whole.
    """
    return {"name": name, "card": _cut(card, 20)}


def _cut(card: Mapping[str, object], depth: int) -> dict[str, object]:
    kept = {key: value for key, value in card.items() if key != "base"}
    base = card.get("base")
    if isinstance(base, dict) and depth > 1:
        inner = base.get("card")
        kept["base"] = {**base, "card": _cut(inner if isinstance(inner, dict) else {}, depth - 1)}
    return kept


def check_same(config: ModelConfig, given: Mapping[str, object]) -> str | None:
    """What of a wished-for shape a base has not, in words; None where all is as wished."""
    names = {"num_layers": "layers", "cell": "cell", "hidden_size": "hidden-size"}
    names |= {"embedding_size": "embedding-size", "tied_head": "tied-head", "groups": "groups"}
    for field, label in names.items():
        if given.get(field) not in (None, getattr(config, field)):
            return f"--{label} {given[field]}: the base has {getattr(config, field)}"
    return None
