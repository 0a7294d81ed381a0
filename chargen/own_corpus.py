"""The corpus that a model was trained on, where it is still on this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from chargen.errors import CorpusError
from chargen.model.checkpoint import ModelFile
from chargen.model.runs import read_run
from chargen.text.corpus import DOCUMENT_MODES
from chargen.text.corpus_tokenizer import form_of
from chargen.text.overlap import CopyIndex, build_index
from chargen.text.places import find_place
from chargen.text.reopen import is_on_this_machine, reopen_store
from chargen.text.store import TokenStore
from chargen.text.text_options import TextOptions, documents_of, letters_of, options_from_json
from chargen.text.tokenizer import Tokenizer, Tokens


class Trained(Protocol):
    """A model that knows where it came from: `Model` in api.py."""

    file: ModelFile
    path: Path | None
    card: dict[str, Any]
    tokenizer: Tokenizer


def training_text(model: Trained) -> TokenStore | None:
    """The text that a model was trained on, as ids; None where it is not on this machine."""
    parts = _corpus_of(model)
    return None if parts is None else parts[0]


def validation_text(model: Trained) -> Tokens | None:
    """The part of its corpus that a model was validated on, as ids; None where it is not here."""
    parts = _corpus_of(model)
    return None if parts is None or not len(parts[1]) else parts[1]


def copy_index(model: Trained) -> CopyIndex | None:
    """What finds copies from a model's training text; None where that text is not here."""
    store = training_text(model)
    if store is None:
        return None
    return build_index(store.tokens, model.tokenizer, store.path.parent)


def place_of(model: Trained, passage: str, *, before: str = "", after: str = "") -> str | None:
    """FILE:LINE where a passage of the training text stands, as the file is on this machine.

    None where it is not found: the file is gone or has changed, or the text came from a pipe.

    Args:
        model: the model.
        passage: the text.
        before: the text before it, which tells equal passages apart.
        after: the text after it.
    """
    options = options_of(model)
    if options is None:
        return None
    names = [name for name in options.corpus if is_on_this_machine(name)]
    return find_place(options, names, passage, before=before, after=after)


def _corpus_of(model: Trained) -> tuple[TokenStore, Tokens] | None:
    """The two parts of a model's corpus, found by what its run, or its card, says of it."""
    options = options_of(model)
    if options is None:
        return None
    # That of the file has no label of its own: the corpus says how its documents begin.
    return reopen_store(options, model.file.build_tokenizer(), model.card)


def options_of(model: Trained) -> TextOptions | None:
    """How a model's corpus was read, by its run or else by its card."""
    options = options_of_run(model)
    if options is not None:
        return options
    # A model file without its run: assume the usual options.
    card = model.card
    split = card.get("split")
    fraction = split.get("valid_fraction") if isinstance(split, dict) else None
    if card.get("documents") not in DOCUMENT_MODES or not isinstance(fraction, float):
        return None
    spread = split is not None and split.get("valid_part") == "spread"
    return replace(
        options_by_card(model),
        valid_fraction=fraction,
        valid_part="spread" if spread else "tail",
    )


def options_of_run(model: Trained) -> TextOptions | None:
    """How a model's corpus was read, by the run in its folder; None where there is none."""
    text = read_run(model.path.parent).get("text") if model.path else None
    with suppress(CorpusError):
        return options_from_json(text) if isinstance(text, dict) else None
    return None


def options_by_card(model: Trained) -> TextOptions:
    """How a model's corpus was read, as far as its card tells; the usual options otherwise."""
    tokenizer = model.file.tokenizer
    return TextOptions(
        tokenizer=tokenizer.kind,
        pattern=tokenizer.settings.get("pattern"),
        normalize=form_of(model.tokenizer),
        **documents_of(model.card),
        **letters_of(model.card),
    )
