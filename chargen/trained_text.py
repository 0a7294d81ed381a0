"""What the counts of a model say of a token, with the places in its training text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chargen.api import Model
from chargen.inference.engine import Array
from chargen.insight.counted import Counted, Occurrences, counted, occurrences
from chargen.insight.why import quote_passage
from chargen.own_corpus import place_of
from chargen.text.store import TokenStore


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """What the counts beside a network say of a token, and where its context stands."""

    counted: Counted
    context: str
    """The text of the context that decided. A file or a model wrote it: not yet safe to show."""
    occurrences: Occurrences | None
    """None where the training text is not on this machine, or no context decided."""
    places: tuple[str, ...]
    """FILE:LINE of some of them."""


def recalled(
    model: Model, before: Sequence[int], token: int, network: Array, text: TokenStore | None
) -> Recalled | None:
    """What the counts of a model say of a token; None for a model without counts.

    Args:
        model: the model.
        before: the tokens before it.
        token: the token.
        network: the network's log-likelihoods (V,) of what follows `before`.
        text: of `training_text`.
    """
    if model.memory is None:
        return None
    found = counted(model.memory, before, token, network)
    context = list(before)[len(before) - found.length :]
    stands, places = None, list[str]()
    if text is not None and context:
        stands = occurrences(text.tokens, context, token)
        for position in stands.positions:
            passage = quote_passage(
                text.tokens, model.tokenizer, position + len(context) - 1, cosine=1.0
            )
            place = place_of(model, passage.around, **passage.context)
            places += [] if place is None else [place]
    return Recalled(
        counted=found,
        context=model.tokenizer.decode(context),
        occurrences=stands,
        places=tuple(dict.fromkeys(places)),
    )
