"""Extends a model's weights to an extended vocabulary: new rows of the embedding and the head.

The rows of a new token are made from the rows of its donors (text/extend_vocab.py). The
probabilities of the old tokens keep their proportions; the new tokens get a share of the total.
Shape letters: V vocabulary, E embedding_size, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from chargen.model.checkpoint import ModelFile
from chargen.model.config import ModelConfig
from chargen.model.stored_weights import Weights
from chargen.text.extend_vocab import VocabExtension

_MAX_BIAS_CHANGE = 3.0
"""A new token is at first at most exp(3) times as likely as its donors."""
ANCESTORS = ("base", "teacher")
"""Keys of a card under which it tells of a model that this one came from; at most one is there."""
_MAX_ANCESTORS = 20


def extend_weights(
    file: ModelFile, extension: VocabExtension, counts: npt.NDArray[np.int64]
) -> ModelFile:
    """The same model with an extended vocabulary.

    Args:
        file: the model.
        extension: the extended tokenizer, and the donors of its new tokens.
        counts: (V,) how often each token occurs in the new text.
    """
    vocab_size = extension.tokenizer.vocab_size
    weights: Weights = dict(file.weights)
    for name in ("embedding.weight", "head.weight", "head.bias"):
        if name in weights:
            weights[name] = _extend_rows(weights[name], extension)
    bias = weights["head.bias"]
    new_ids = {old: new for new, old in enumerate(extension.old) if old >= 0}
    for token, donors in extension.donors.items():
        # Makes the token as likely, compared with its donors, as it is frequent.
        donor_count = counts[[new_ids[donor] for donor in donors]].mean()
        ratio = (counts[token] + 1) / (donor_count + 1)
        bias[token] += np.clip(np.log(ratio), -np.inf, _MAX_BIAS_CHANGE)
    return ModelFile(
        config=replace(file.config, vocab_size=vocab_size),
        tokenizer=extension.tokenizer.to_state(),
        weights=weights,
        card=file.card,
    )


def _extend_rows(
    rows: npt.NDArray[np.float32], extension: VocabExtension
) -> npt.NDArray[np.float32]:
    """Old rows under their new ids, and for each new token the mean of its donors' rows."""
    old = np.array(extension.old)
    extended: npt.NDArray[np.float32] = rows[np.maximum(old, 0)].copy()
    for token, donors in extension.donors.items():
        extended[token] = rows[list(donors)].mean(0)
    return extended


def lineage(card: Mapping[str, object], name: str) -> dict[str, object]:
    """The entry of a model's card about its base or its teacher: name and card of that model.

    That card may have a base or a teacher in turn. A chain of them ends after twenty, because cards
    are read into memory whole.

    Args:
        card: the card of the model that it came from.
        name: the name of that model.
    """
    return {"name": name, "card": _cut_ancestors(card, _MAX_ANCESTORS)}


def _cut_ancestors(card: Mapping[str, object], depth: int) -> dict[str, object]:
    cut = {key: value for key, value in card.items() if key not in ANCESTORS}
    for key in ANCESTORS:
        ancestor = card.get(key)
        if isinstance(ancestor, dict) and depth > 1:
            inner = ancestor.get("card")
            inner_card = inner if isinstance(inner, dict) else {}
            cut[key] = {**ancestor, "card": _cut_ancestors(inner_card, depth - 1)}
    return cut


def shape_difference(config: ModelConfig, given: Mapping[str, object]) -> str | None:
    """Checks settings of a shape against the base model, whose shape cannot change.

    Args:
        config: the configuration of the base.
        given: settings by name; None is not set.

    Returns:
        The first difference in words; None if there is none.
    """
    names = {"num_layers": "layers", "cell": "cell", "hidden_size": "hidden-size"}
    names |= {"embedding_size": "embedding-size", "tied_head": "tied-head", "groups": "groups"}
    for field, label in names.items():
        if given.get(field) not in (None, getattr(config, field)):
            return f"--{label} {given[field]}: the base has {getattr(config, field)}"
    return None
