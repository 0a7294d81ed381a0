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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError, CorpusError, UsageError
from chargen.files import cache_folder, locked, make_folder, sweep, write_json
from chargen.text.corpus import Corpus
from chargen.text.encoding import JOURNAL, PartialStore, checksum, mapped
from chargen.text.registry import tokenizer_kind
from chargen.text.tokenizer import Tokenizer, TokenizerState, Tokens

_FORMAT = 2
_TOKENS, _META = "tokens.bin", "meta.json"
_KEEP_DAYS = 30
_BLOCK = 1 << 22
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
            # Many documents: cut between two. One or two: the cut stays where it fell.
            end = _last(self.tokens, eos_id, cut // 2, cut)
            cut = cut if end is None else end + 1
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
    corpus.watcher("making tokens", 0, None)
    try:
        return builder.finish(documents=corpus.documents != "whole")
    except CorpusError as error:
        raise CorpusError(f"{_names(corpus)}: {error}") from error
    finally:
        corpus.watcher("making tokens", 0, 0)


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
            os.utime(folder / _META)
    return store


def token_dtype(vocab_size: int) -> npt.DTypeLike:
    """The smallest unsigned type that holds every id."""
    return np.uint8 if vocab_size <= 256 else np.uint16 if vocab_size <= 65536 else np.uint32


def _open(folder: Path, tokenizer: Tokenizer) -> TokenStore | None:
    dtype = np.dtype(token_dtype(tokenizer.vocab_size))
    path = folder / _TOKENS
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        if not meta["count"] or path.stat().st_size != meta["count"] * dtype.itemsize:
            return None
        if checksum(path, path.stat().st_size) != meta["crc32"]:
            return None
        return TokenStore(tokens=mapped(path, dtype), path=path)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or damaged: it is made again


def _build(folder: Path, corpus: Corpus, tokenizer: Tokenizer) -> TokenStore:
    try:
        make_folder(folder)
    except UsageError as error:
        raise ChargenError(f"{error}; set CHARGEN_CACHE to a folder that can be written") from error
    _prune(folder.parent, keep=folder)
    with locked(folder, "another process is reading this corpus", wait=True):
        # Whoever had the folder until now may have done it.
        return _open(folder, tokenizer) or _encode(folder, corpus, tokenizer)


def _encode(folder: Path, corpus: Corpus, tokenizer: Tokenizer) -> TokenStore:
    sweep(folder, (_TOKENS, _META, JOURNAL))
    dtype = np.dtype(token_dtype(tokenizer.vocab_size))
    before = list(corpus.fingerprints)
    draft = PartialStore(folder, dtype)
    draft.extend(corpus, tokenizer)
    if corpus.fingerprints != before:
        draft.discard()
        raise CorpusError(f"{_names(corpus)}: the corpus changed while it was read; try again")
    place = draft.place
    if not place.count:
        draft.discard()
        raise CorpusError(f"{_names(corpus)}: the corpus is empty")
    path = draft.finish(folder / _TOKENS)
    meta = {
        "format": _FORMAT,
        "dtype": dtype.name,
        "count": place.count,
        "crc32": place.crc32,
    }
    write_json(folder / _META, meta)
    return TokenStore(tokens=mapped(path, dtype), path=path)


def _last(tokens: Tokens, token: int, first: int, end: int) -> int | None:
    """The last place of a token from `first` up to `end`; never looks at all of them at once."""
    for stop in range(end, first, -_BLOCK):
        start = max(first, stop - _BLOCK)
        found = np.flatnonzero(tokens[start:stop] == token)
        if len(found):
            return start + int(found[-1])
    return None


def _names(corpus: Corpus) -> str:
    return ", ".join(source.name for source in corpus.sources)


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
                used = [one, *one.glob(_META), *one.glob(JOURNAL)]
                if max(file.stat().st_mtime for file in used) < oldest:
                    shutil.rmtree(one)
