"""From CORPUS arguments and a model's tokenizer to tokens to fine-tune on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError, UsageError
from chargen.text.char import CharTokenizer
from chargen.text.corpus import Corpus, Watcher, unwatched
from chargen.text.dataset import Dataset, TextOptions, divided
from chargen.text.extend_vocab import (
    VocabExtension,
    count_characters,
    extend_bytes,
    extend_characters,
    extend_pieces,
)
from chargen.text.store import encode_corpus
from chargen.text.subword import SubwordTokenizer
from chargen.text.tokenizer import ByteTokenizer, Tokenizer, describe_unseen

VOCABULARIES = ("extend", "keep")
_SAMPLE = 1 << 26
"""Characters of a corpus that new pieces are looked for in."""


@dataclass(frozen=True, kw_only=True)
class FinetuneDataset:
    """A text to fine-tune on, in a vocabulary that has taken in what it needs."""

    dataset: Dataset
    graft: VocabExtension
    counts: npt.NDArray[np.int64]
    """How often each token (V,) occurs in what is learned."""


def open_finetune_dataset(
    options: TextOptions,
    tokenizer: Tokenizer,
    *,
    vocabulary: str = "extend",
    pieces: int = 0,
    watcher: Watcher = unwatched,
) -> FinetuneDataset:
    """Read a corpus, grow the tokenizer as far as it needs, encode and divide.

    Args:
        options: what to read and how; its tokenizer is of the kind given.
        tokenizer: of the base.
        vocabulary: `extend` takes in new characters, `keep` maps them to the nearest known.
        pieces: pieces to add to a subword tokenizer.
        watcher: is told how far it is.

    Raises:
        CorpusError: it cannot be read, is too short, or has nothing that the model knows.
        UsageError: `pieces` for another kind of tokenizer.
    """
    if pieces and not isinstance(tokenizer, SubwordTokenizer):
        raise UsageError(
            f"--extend-vocab {pieces}: adds pieces to subword models; this one reads "
            f"{'bytes' if isinstance(tokenizer, ByteTokenizer) else 'characters'}"
        )
    corpus = options.open(options.corpus, watcher)
    extra = [] if options.valid is None else [options.open([options.valid], watcher)]
    counts: Counter[str] = Counter()
    for one in (corpus, *extra):
        counts += count_characters(one.pieces())
    grow = vocabulary == "extend"
    graft = _grafted(tokenizer, corpus, counts, grow=grow, pieces=pieces)
    stores = [encode_corpus(one, graft.tokenizer) for one in (corpus, *extra)]
    notes = [*graft.report, *(note for one in (corpus, *extra) for note in one.notes())]
    if not grow:
        unseen = tokenizer.unseen("".join(counts))
        notes += describe_unseen(unseen, counts, counts.total(), "nearest")
    prints = [one.fingerprints for one in (corpus, *extra)]
    dataset = divided(options, graft.tokenizer, stores, prints, notes)
    occurring = np.bincount(dataset.train, minlength=graft.tokenizer.vocab_size)
    return FinetuneDataset(dataset=dataset, graft=graft, counts=occurring)


def open_replay_dataset(
    options: TextOptions, tokenizer: Tokenizer, watcher: Watcher = unwatched
) -> Dataset:
    """Another text, in the vocabulary as it is.

    Raises:
        CorpusError: it cannot be read or is too short.
    """
    corpus = options.open(options.corpus, watcher)
    stores = [encode_corpus(corpus, tokenizer)]
    return divided(options, tokenizer, stores, [corpus.fingerprints], list(corpus.notes()))


def _grafted(
    tokenizer: Tokenizer, corpus: Corpus, counts: Counter[str], *, grow: bool, pieces: int
) -> VocabExtension:
    documents = corpus.documents != "whole"
    if isinstance(tokenizer, CharTokenizer):
        if not counts:
            raise CorpusError("the corpus is empty")
        return extend_characters(tokenizer, counts, documents=documents, grow=grow)
    if isinstance(tokenizer, ByteTokenizer):
        return extend_bytes(tokenizer, documents=documents)
    assert isinstance(tokenizer, SubwordTokenizer)
    text = ""
    if pieces:
        for piece in corpus.pieces():
            text += piece if isinstance(piece, str) else ""
            if len(text) > _SAMPLE:
                break
    return extend_pieces(tokenizer, text, pieces, documents=documents)
