"""Datasets: from CORPUS arguments to the tokens that a model trains on and is scored on.

Opens the text of a new run. This file does not know models; it knows what a model's card says about
its text. reopen.py opens the text of an earlier run, finetune_dataset.py one for a tokenizer that
exists already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chargen.errors import CorpusError
from chargen.text.copies import without_copies
from chargen.text.corpus import Fingerprint, Watcher, unwatched
from chargen.text.count_model import tail_difference
from chargen.text.registry import TOKENIZERS
from chargen.text.store import MIN_VALID, TokenStore, build_tokenizer, encode_corpus
from chargen.text.text_options import TextOptions
from chargen.text.tokenizer import Tokenizer, Tokens

_STRETCH_TOKENS = 3_000
"""Tokens of a stretch that shows whether the end of a text differs from the rest."""
_STRETCH_CHARACTERS = 8_000
_FEW_VALID_TOKENS = 1000
"""A score of fewer tokens is too noisy to mean much."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A corpus, ready to train on."""

    tokenizer: Tokenizer
    train: Tokens
    valid: Tokens
    card: dict[str, Any]
    """What the model's card says about the text."""
    notes: tuple[str, ...]
    """What a person should know, such as skipped files."""
    stores: tuple[TokenStore, ...] = ()
    """Where the tokens lie in the cache."""

    def keep_for(self, run: Path) -> None:
        """Keeps the tokens in the cache as long as the folder of this run exists."""
        for store in self.stores:
            store.keep_for(run)


def open_dataset(options: TextOptions, watcher: Watcher = unwatched) -> Dataset:
    """Reads a corpus, makes its tokenizer, encodes it and divides it.

    Args:
        options: what to read and how.
        watcher: is called with the progress.

    Raises:
        CorpusError: the corpus cannot be read or is too short.
        UsageError: no such tokenizer.
    """
    corpora = options.open_all(watcher)
    tokenizer, fingerprints = build_tokenizer(
        corpora[0],
        options.tokenizer,
        options.vocab_size,
        *corpora[1:],
        pattern=options.pattern,
    )
    stores = [
        encode_corpus(corpus, tokenizer, read)
        for corpus, read in zip(corpora, fingerprints, strict=True)
    ]
    notes = [note for corpus in corpora for note in corpus.notes()]
    return make_dataset(options, tokenizer, stores, fingerprints, notes)


def make_dataset(
    options: TextOptions,
    tokenizer: Tokenizer,
    stores: Sequence[TokenStore],
    fingerprints: Sequence[Sequence[Fingerprint]],
    notes: Sequence[str],
) -> Dataset:
    """Divides encoded texts into tokens to train on and tokens to score, and writes the card.

    Args:
        options: how the texts were read.
        tokenizer: the tokenizer.
        stores: the corpus, and the text to validate on if `options` name one.
        fingerprints: those of each store's text.
        notes: notes of the reading; the dataset adds its own.

    Raises:
        CorpusError: a part is too short.
    """
    split: dict[str, Any]
    if options.valid is not None:
        train, _ = stores[0].split(0.0)
        valid = stores[1].tokens
        if len(valid) < MIN_VALID:
            raise CorpusError(f"the validation text has {len(valid)} tokens: too short to score")
        split = {"valid": [asdict(source) for source in fingerprints[1]]}
    else:
        train, valid = stores[0].split(
            options.valid_fraction, tokenizer.eos_id, spread=options.spreads
        )
        split = {"valid_fraction": options.valid_fraction}
        if options.spreads:
            split["valid_part"] = options.valid_part
    notes = list(notes)
    if options.documents == "whole" and options.valid is None:
        notes += _tail_notes(tokenizer, train, valid)
    if options.leave_out_copies:
        train, told = without_copies(train, valid)
        notes += [told] if told else []
    if options.vocab_size is not None and tokenizer.vocab_size < options.vocab_size:
        unit = TOKENIZERS[options.tokenizer].unit
        notes.append(f"the corpus gives {tokenizer.vocab_size} {unit}, not {options.vocab_size}")
    if 0 < len(valid) < _FEW_VALID_TOKENS:
        notes.append(f"the validation part has only {len(valid)} tokens: its score says little")
    split |= {"train_tokens": len(train), "valid_tokens": len(valid)}
    card = {
        "corpus": [asdict(source) for source in fingerprints[0]],
        "documents": options.documents,
        **({} if options.separator is None else {"separator": options.separator}),
        **_described(options),
        "split": split,
    }
    return Dataset(
        tokenizer=tokenizer,
        train=train,
        valid=valid,
        card=card,
        notes=tuple(notes),
        stores=tuple(stores),
    )


def _tail_notes(tokenizer: Tokenizer, train: Tokens, valid: Tokens) -> list[str]:
    """A line if the end of the text, which validates, differs strongly from the rest."""
    if len(valid) < _STRETCH_TOKENS:
        return []
    count = 9
    starts = [(len(train) - _STRETCH_TOKENS) * number // (count - 1) for number in range(count)]
    parts = [train[start : start + _STRETCH_TOKENS] for start in starts]
    middle = (len(valid) - _STRETCH_TOKENS) // 2
    parts.append(valid[middle : middle + _STRETCH_TOKENS])
    texts = [tokenizer.decode(part.tolist())[:_STRETCH_CHARACTERS] for part in parts]
    difference = tail_difference(texts)
    return [] if difference is None else [difference.line()]


def _described(options: TextOptions) -> dict[str, Any]:
    """What the card says of the letters and the labels, but for what is the default."""
    value = options.reading.letters.key()
    if options.label_from is not None:
        value["label_from"] = options.label_from
    if options.chat:
        value["chat"] = True
    return value
