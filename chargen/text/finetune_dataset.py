"""Datasets for fine-tuning: a text for a model that has a tokenizer already.

The tokenizer learns the tokens that the text needs (extend_vocab.py). This file does not know
weights: model/extend_weights.py extends those.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError, UsageError
from chargen.text.char import CharTokenizer
from chargen.text.corpus import Corpus, Fingerprints, Label, Watcher, unwatched
from chargen.text.corpus_tokenizer import unwrapped
from chargen.text.dataset import Dataset, make_dataset
from chargen.text.extend_vocab import (
    VocabExtension,
    extend_bytes,
    extend_characters,
    extend_labels,
    extend_pieces,
    extend_subwords,
)
from chargen.text.pieces import PieceTokenizer
from chargen.text.store import encode_corpus
from chargen.text.subword import SubwordTokenizer
from chargen.text.text_options import TextOptions
from chargen.text.tokenizer import ByteTokenizer, Tokenizer
from chargen.text.unseen import Unseen, unseen_lines

VOCABULARIES = ("extend", "keep")
_MAX_SAMPLE_CHARACTERS = 1 << 26
"""Characters of a corpus in which new pieces are looked for."""


@dataclass(frozen=True, kw_only=True)
class FinetuneDataset:
    """A text to fine-tune on, and the vocabulary that was extended for it."""

    dataset: Dataset
    extension: VocabExtension
    """The extended tokenizer, and where its tokens come from."""
    counts: npt.NDArray[np.int64]
    """(V,): how often each token occurs in the training part."""


def open_finetune_dataset(
    options: TextOptions,
    tokenizer: Tokenizer,
    *,
    vocabulary: str = "extend",
    pieces: int = 0,
    watcher: Watcher = unwatched,
) -> FinetuneDataset:
    """Reads a corpus, extends the tokenizer as far as the text needs, encodes and divides.

    Args:
        options: what to read and how; their tokenizer is of the kind of `tokenizer`.
        tokenizer: the tokenizer of the base model.
        vocabulary: `extend` adds new characters, `keep` maps them to the nearest known ones.
        pieces: how many pieces to add to a tokenizer of subwords, words or other pieces.
        watcher: is called with the progress.

    Raises:
        CorpusError: the corpus cannot be read, is too short, or has no character that the model
            knows.
        UsageError: `pieces` for another kind of tokenizer.
    """
    inner = unwrapped(tokenizer)
    if pieces and not isinstance(inner, SubwordTokenizer | PieceTokenizer):
        raise UsageError(
            f"--extend-vocab {pieces}: adds pieces to models of subwords or words; this one reads "
            f"{'bytes' if isinstance(inner, ByteTokenizer) else 'characters'}"
        )
    corpora = options.open_all(watcher)
    counts: Counter[str] = Counter()
    labels: dict[str, None] = {}
    fingerprints = []
    for corpus in corpora:
        corpus_counts, read = _count_characters(corpus, labels)
        counts += corpus_counts
        fingerprints.append(read)
    extend = vocabulary == "extend"
    extension = _extend(inner, corpora[0], counts, extend=extend, pieces=pieces)
    extension = extend_labels(extension, tokenizer, list(labels))
    stores = [
        encode_corpus(corpus, extension.tokenizer, read)
        for corpus, read in zip(corpora, fingerprints, strict=True)
    ]
    notes = [*extension.report, *(note for corpus in corpora for note in corpus.notes())]
    if not extend:
        unseen = Unseen(tokenizer)
        unseen.feed_counts(counts)
        notes += unseen.lines()
    dataset = make_dataset(options, extension.tokenizer, stores, fingerprints, notes)
    token_counts = np.bincount(dataset.train, minlength=extension.tokenizer.vocab_size)
    return FinetuneDataset(dataset=dataset, extension=extension, counts=token_counts)


def open_known_dataset(
    options: TextOptions, tokenizer: Tokenizer, watcher: Watcher = unwatched
) -> Dataset:
    """Reads another text with a tokenizer that stays as it is.

    Raises:
        CorpusError: the text cannot be read or is too short.
    """
    corpus = options.open(options.corpus, watcher)
    fingerprints = corpus.fingerprints()
    store = encode_corpus(corpus, tokenizer, fingerprints)
    notes = [*corpus.notes(), *unseen_lines(tokenizer, corpus.pieces())]
    return make_dataset(options, tokenizer, [store], [fingerprints], notes)


def _count_characters(corpus: Corpus, labels: dict[str, None]) -> tuple[Counter[str], Fingerprints]:
    """How often each character occurs (nothing for bytes), and what was read; adds labels."""
    counts: Counter[str] = Counter()
    pieces = corpus.pieces()
    for piece in pieces:
        if isinstance(piece, str):
            counts.update(piece)
        elif isinstance(piece, Label):
            labels[piece.name] = None
    return counts, pieces.fingerprints


def _extend(
    tokenizer: Tokenizer, corpus: Corpus, counts: Counter[str], *, extend: bool, pieces: int
) -> VocabExtension:
    documents = corpus.documents != "whole"
    if isinstance(tokenizer, CharTokenizer):
        if not counts:
            raise CorpusError(f"{corpus.name}: the corpus is empty")
        return extend_characters(tokenizer, counts, documents=documents, add_characters=extend)
    if isinstance(tokenizer, ByteTokenizer):
        return extend_bytes(tokenizer, documents=documents)
    text = ""
    if pieces:
        for piece in corpus.pieces():
            text += piece if isinstance(piece, str) else ""
            if len(text) > _MAX_SAMPLE_CHARACTERS:
                break
    if isinstance(tokenizer, PieceTokenizer):
        if not counts:
            raise CorpusError(f"{corpus.name}: the corpus is empty")
        return extend_pieces(
            tokenizer, counts, text, pieces, documents=documents, add_characters=extend
        )
    assert isinstance(tokenizer, SubwordTokenizer)
    return extend_subwords(tokenizer, text, pieces, documents=documents)
