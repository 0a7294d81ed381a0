"""TokenStore: a corpus encoded once, on disk, memory-mapped, in two parts.

A store lies in the user's cache folder under the hash of what went into it, and can be deleted at
any time. It knows ids only; what they mean is the tokenizer's. Shape letters: N tokens.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError, CorpusError, UsageError
from chargen.files import atomic_writer, cache_folder, make_folder, sweep, write_json
from chargen.text.char import CharTokenizer
from chargen.text.corpus import Corpus
from chargen.text.registry import tokenizer_kind
from chargen.text.tokenizer import Tokenizer, TokenizerState

Tokens = npt.NDArray[Any]
_FORMAT = 2
_CHECKED = 1 << 24
_BATCH = 1 << 20
_KEEP_DAYS = 30
MIN_TRAIN, MIN_VALID = 16, 2
"""The fewest tokens that can be trained on and scored."""


@dataclass(frozen=True, kw_only=True)
class TokenStore:
    """The ids of a corpus as one memory-mapped array (N,) of uint8, uint16 or uint32."""

    tokens: Tokens
    path: Path

    def split(self, valid_fraction: float, eos_id: int | None = None) -> tuple[Tokens, Tokens]:
        """The first part to train on, the last to validate on, as views.

        Args:
            valid_fraction: the share of tokens to validate on; 0 leaves none out.
            eos_id: when given, the cut moves back to the end of a document.

        Raises:
            CorpusError: a part is too short to be of use.
        """
        count = len(self.tokens)
        cut = int((1 - valid_fraction) * count)
        if eos_id is not None and valid_fraction > 0:
            ends = np.flatnonzero(self.tokens[:cut] == eos_id)
            # Many documents: cut between two. One or two: the cut stays where it fell.
            cut = int(ends[-1]) + 1 if len(ends) and ends[-1] >= cut // 2 else cut
        train, valid = self.tokens[:cut], self.tokens[cut:]
        if len(train) < MIN_TRAIN:
            raise CorpusError(
                f"the corpus has only {count} tokens, {len(train)} of them to train on: "
                f"at least {MIN_TRAIN} are needed, and 20,000 before it writes words"
            )
        if valid_fraction > 0 and len(valid) < MIN_VALID:
            raise CorpusError(
                f"the validation part has {len(valid)} of {count} tokens: too short to score; "
                "raise --valid-fraction, or give --valid FILE"
            )
        return train, valid


def build_tokenizer(corpus: Corpus, kind: str, vocab_size: int | None, *extra: Corpus) -> Tokenizer:
    """Read the corpus once and make a tokenizer for it; `extra` corpora lend their characters.

    Raises:
        UsageError: no such tokenizer.
        CorpusError: the corpus cannot be read, or is of no use.
    """
    builder = tokenizer_kind(kind).builder(vocab_size)
    for one in (corpus, *extra):
        empty = True
        for piece in one.pieces():
            if piece:
                builder.feed(piece)
                empty = False
        if empty:
            raise CorpusError(f"{_names(one)}: the corpus is empty")
    try:
        return builder.finish(documents=corpus.documents != "whole")
    except CorpusError as error:
        raise CorpusError(f"{_names(corpus)}: {error}") from error


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer) -> TokenStore:
    """The store of this corpus for this tokenizer: the one in the cache, or a new one.

    Raises:
        CorpusError: the corpus cannot be read.
        ChargenError: the disk is full.
    """
    if not corpus.fingerprints:
        for _ in corpus.pieces():
            pass
    store = stored(corpus, tokenizer, [one.sha256 for one in corpus.fingerprints])
    return store or _build(_folder(corpus, tokenizer), corpus, tokenizer)


def stored(corpus: Corpus, tokenizer: Tokenizer, digests: Sequence[str]) -> TokenStore | None:
    """The store of a corpus that was read this way and had these SHA-256; None without one.

    The corpus itself is not looked at: it may have changed, or be gone.
    """
    folder = _folder(corpus, tokenizer, digests)
    store = _open(folder, tokenizer)
    if store is not None:
        with suppress(OSError):
            os.utime(folder / "meta.json")
    return store


def token_dtype(vocab_size: int) -> npt.DTypeLike:
    """The smallest unsigned type that holds every id."""
    return np.uint8 if vocab_size <= 256 else np.uint16 if vocab_size <= 65536 else np.uint32


def _open(folder: Path, tokenizer: Tokenizer) -> TokenStore | None:
    dtype = np.dtype(token_dtype(tokenizer.vocab_size))
    path = folder / "tokens.bin"
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if not meta["count"] or path.stat().st_size != meta["count"] * dtype.itemsize:
            return None
        tokens = _map(path, dtype)
        return TokenStore(tokens=tokens, path=path) if _checksum(tokens) == meta["crc32"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or damaged: it is made again


def _build(folder: Path, corpus: Corpus, tokenizer: Tokenizer) -> TokenStore:
    try:
        make_folder(folder)
    except UsageError as error:
        raise ChargenError(f"{error}; set CHARGEN_CACHE to a folder that can be written") from error
    sweep(folder, ("tokens.bin", "meta.json"))
    _prune(folder.parent, keep=folder)
    dtype = np.dtype(token_dtype(tokenizer.vocab_size))
    path = folder / "tokens.bin"
    count = checksum = 0
    before = list(corpus.fingerprints)
    with atomic_writer(path) as handle:
        for ids in encoded_chunks(corpus, tokenizer, dtype):
            handle.write(ids.data)
            count += len(ids)
            checksum = zlib.crc32(ids.data, checksum)
    if corpus.fingerprints != before:
        raise CorpusError(f"{_names(corpus)}: the corpus changed while it was read; try again")
    if not count:
        raise CorpusError(f"{_names(corpus)}: the corpus is empty")
    tokens = _map(path, dtype)
    meta = {"format": _FORMAT, "dtype": dtype.name, "count": count, "crc32": checksum}
    write_json(folder / "meta.json", meta)
    return TokenStore(tokens=tokens, path=path)


def _checksum(tokens: Tokens) -> int:
    """CRC-32, at gigabytes a second: against a disk's mistakes, not against malice."""
    checksum = 0
    for start in range(0, len(tokens), _CHECKED):
        checksum = zlib.crc32(np.ascontiguousarray(tokens[start : start + _CHECKED]).data, checksum)
    return checksum


def _map(path: Path, dtype: np.dtype[Any]) -> Tokens:
    return np.memmap(path, dtype, mode="r")


def _names(corpus: Corpus) -> str:
    return ", ".join(source.name for source in corpus.sources)


def encoded_chunks(corpus: Corpus, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> Iterator[Tokens]:
    """The ids of the corpus, chunk by chunk, with an end token after each document."""
    eos = tokenizer.eos_id
    newline = _newline_id(tokenizer) if corpus.documents == "lines" else None
    ended = True  # nothing was written yet: an end token would end nothing
    for batch, ends in _batches(corpus):
        if isinstance(tokenizer, CharTokenizer) and isinstance(batch, str):
            ids = tokenizer.encode_compact(batch, dtype)
        else:
            ids = tokenizer.encode(batch).astype(dtype)
        if newline is not None and eos is not None:
            ids = np.where(ids == newline, dtype.type(eos), ids)
            # Empty lines are no documents: of several end tokens in a row one stays.
            repeated = ids == eos
            repeated[1:] &= ids[:-1] == eos
            repeated[:1] &= ended
            ids = ids[~repeated]
        if len(ids):
            ended = eos is not None and ids[-1] == eos
            yield ids
        if ends and eos is not None and not ended:
            ended = True
            yield np.array([eos], dtype)
    if eos is not None and not ended:
        yield np.array([eos], dtype)


def _newline_id(tokenizer: Tokenizer) -> int | None:
    """The id of a line end; every tokenizer gives it a token of its own, or lacks it."""
    if tokenizer.unseen("\n"):
        return None
    ids = tokenizer.encode("\n")
    assert len(ids) == 1
    return int(ids[0])


def _batches(corpus: Corpus) -> Iterator[tuple[str | bytes, bool]]:
    """(text, whether a document ends with it): short pieces are joined until they are worth it."""
    waiting: list[Any] = []
    size = 0
    for piece in corpus.pieces():
        if piece is not None:
            waiting.append(piece)
            size += len(piece)
        if waiting and (piece is None or size >= _BATCH):
            yield waiting[0][:0].join(waiting), piece is None
            waiting, size = [], 0
    if waiting:
        yield waiting[0][:0].join(waiting), False


def _folder(corpus: Corpus, tokenizer: Tokenizer, digests: Sequence[str] | None = None) -> Path:
    what = {
        "format": _FORMAT,
        "corpus": list(digests or (one.sha256 for one in corpus.fingerprints)),
        "documents": corpus.documents,
        "encoding": corpus.reading.encoding,
        "tokenizer": tokenizer_digest(tokenizer.to_state()),
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / "tokens" / key


def tokenizer_digest(state: TokenizerState) -> str:
    """A hash that two tokenizers share only if they encode alike."""
    settings = json.dumps([state.kind, state.settings], sort_keys=True).encode()
    return hashlib.sha256(settings + (state.blob or b"")).hexdigest()


def _prune(folder: Path, *, keep: Path) -> None:
    """Remove stores that were not used for a month: they are made again when needed."""
    oldest = time.time() - _KEEP_DAYS * 86400
    for one in folder.iterdir():
        if one != keep and len(one.name) == 32:
            with suppress(OSError):
                if one.stat().st_mtime < oldest and (one / "meta.json").stat().st_mtime < oldest:
                    shutil.rmtree(one)
