"""The text that a model was trained on, where it is still on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chargen.api import Model
from chargen.errors import CorpusError
from chargen.inference.engine import Array
from chargen.insight.counted import Counted, Occurrences, counted, occurrences
from chargen.insight.why import quote_passage
from chargen.model.runs import read_run
from chargen.text.corpus import DOCUMENT_MODES
from chargen.text.corpus_tokenizer import form_of
from chargen.text.places import find_place
from chargen.text.reopen import is_on_this_machine, reopen_store
from chargen.text.store import TokenStore
from chargen.text.text_options import TextOptions, documents_of, letters_of, options_from_json
from chargen.text.tokenizer import Tokens


def training_text(model: Model) -> TokenStore | None:
    """The text that a model was trained on, as ids; None where it is not on this machine."""
    parts = _corpus_of(model)
    return None if parts is None else parts[0]


def validation_text(model: Model) -> Tokens | None:
    """The part of its corpus that a model was validated on, as ids; None where it is not here."""
    parts = _corpus_of(model)
    return None if parts is None or not len(parts[1]) else parts[1]


def place_of(model: Model, passage: str, *, before: str = "", after: str = "") -> str | None:
    """FILE:LINE where a passage of the training text stands, as the file is on this machine.

    None where it is not found: the file is gone or has changed, or the text came from a pipe.

    Args:
        model: the model.
        passage: the text.
        before: the text before it, which tells equal passages apart.
        after: the text after it.
    """
    options = _options_of(model)
    if options is None:
        return None
    names = [name for name in options.corpus if is_on_this_machine(name)]
    return find_place(options, names, passage, before=before, after=after)


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


def _corpus_of(model: Model) -> tuple[TokenStore, Tokens] | None:
    """The two parts of a model's corpus, found by what its run, or its card, says of it."""
    options = _options_of(model)
    if options is None:
        return None
    # That of the file has no label of its own: the corpus says how its documents begin.
    return reopen_store(options, model.file.build_tokenizer(), model.card)


def _options_of(model: Model) -> TextOptions | None:
    """How a model's corpus was read, by its run or else by its card."""
    card = model.card
    try:
        text = read_run(model.path.parent).get("text") if model.path else None
        if isinstance(text, dict):
            return options_from_json(text)
    except CorpusError:
        pass
    # A model file without its run: assume the usual options.
    split = card.get("split")
    fraction = split.get("valid_fraction") if isinstance(split, dict) else None
    if card.get("documents") not in DOCUMENT_MODES or not isinstance(fraction, float):
        return None
    tokenizer = model.file.tokenizer
    return TextOptions(
        tokenizer=tokenizer.kind,
        pattern=tokenizer.settings.get("pattern"),
        valid_fraction=fraction,
        valid_part="spread" if split and split.get("valid_part") == "spread" else "tail",
        normalize=form_of(model.tokenizer),
        **documents_of(card),
        **letters_of(card),
    )
