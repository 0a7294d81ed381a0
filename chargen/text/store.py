"""TokenStore: the token ids of a corpus, encoded once, on disk and memory-mapped.

A store lies in the cache folder under a hash of everything that its ids depend on. It can be
deleted at any time and is made again. This file knows ids; their meaning is the tokenizer's.
Shape letter: N tokens.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chargen.errors import ChargenError, CorpusError, UsageError
from chargen.files import cache_folder, locked, make_folder, sweep, write_json
from chargen.hints import any_of, option, ways
from chargen.text.corpus import Corpus, Fingerprint, Fingerprints, Label
from chargen.text.corpus_tokenizer import LabelledBuilder
from chargen.text.encoding import JOURNAL, PartialStore, checksum, mapped
from chargen.text.registry import tokenizer_builder
from chargen.text.spread import spread_split
from chargen.text.tokenizer import Tokenizer, TokenizerState, Tokens

_FORMAT = 2
_TOKENS, _META = "tokens.bin", "meta.json"
_USERS = "runs.txt"
"""The folders of the runs that were trained on a store, a line each."""
_KEY_LENGTH = 32
"""Hexadecimal digits of the name of a store's folder."""
_KEEP_DAYS = 30
_SEARCH_TOKENS = 1 << 22
"""Tokens that are searched at once for the end of a document."""
MIN_TRAIN, MIN_VALID = 16, 2
"""The fewest tokens that can be trained on and scored."""


@dataclass(frozen=True, kw_only=True)
class TokenStore:
    """The ids of a corpus as one memory-mapped array (N,) of uint8, uint16 or uint32."""

    tokens: Tokens
    path: Path

    def keep_for(self, run: Path) -> None:
        """Keeps the store in the cache as long as the folder of a run that needs it exists."""
        users = self.path.with_name(_USERS)
        line = f"{run.absolute()}\n"
        with suppress(OSError):
            if not users.exists() or line not in users.read_text(encoding="utf-8"):
                with users.open("a", encoding="utf-8") as file:
                    file.write(line)

    def split(
        self, valid_fraction: float, eos_id: int | None = None, *, spread: bool = False
    ) -> tuple[Tokens, Tokens]:
        """Divides the ids into a part to train on and a part to validate on.

        Args:
            valid_fraction: the share of tokens to validate on; 0 leaves none out.
            eos_id: the end-of-document token; if given, the cut moves back to the end of a
                document.
            spread: takes whole documents from everywhere instead of the end of the text, if there
                are enough of them.

        Raises:
            CorpusError: a part is too short to be trained on or scored.
        """
        count = len(self.tokens)
        cut = int((1 - valid_fraction) * count)
        if eos_id is not None and valid_fraction > 0:
            # With one or two documents no end is near, and the cut stays where it is.
            end = _find_last(self.tokens, eos_id, cut // 2, cut)
            cut = cut if end is None else end + 1
        parts = None
        if spread and eos_id is not None and valid_fraction > 0:
            parts = spread_split(self.tokens, eos_id, valid_fraction)
        train, valid = parts or (self.tokens[:cut], self.tokens[cut:])
        if len(train) < MIN_TRAIN:
            raise CorpusError(
                f"the corpus has only {count} tokens, {len(train)} of them to train on: "
                f"at least {MIN_TRAIN} are needed, and 20,000 before it writes words"
            )
        if valid_fraction > 0 and len(valid) < MIN_VALID:
            raise CorpusError(
                f"the validation part has {len(valid)} of {count} tokens: too short to score"
                + ways(("raise", any_of("--valid-fraction")), ("give", option("--valid", "FILE")))
            )
        return train, valid


def build_tokenizer(
    corpus: Corpus,
    kind: str,
    vocab_size: int | None,
    *extra: Corpus,
    pattern: str | None = None,
) -> tuple[Tokenizer, list[Fingerprints]]:
    """Reads the corpus once and makes a tokenizer for it.

    Args:
        corpus: the text; it decides whether there is an end-of-document token.
        kind: a row of `TOKENIZERS`.
        vocab_size: the most tokens; None is the tokenizer's default.
        extra: texts whose characters the tokenizer must know as well.
        pattern: the regular expression of the `regex` tokenizer.

    Returns:
        The tokenizer, and the fingerprints of `corpus` and of each of `extra`.

    Raises:
        UsageError: no such tokenizer.
        CorpusError: a corpus cannot be read, is empty, or has too few distinct characters.
    """
    inner = tokenizer_builder(kind, vocab_size=vocab_size, pattern=pattern)
    builder = LabelledBuilder(inner, corpus.reading.letters.normalize)
    fingerprints = []
    for text in (corpus, *extra):
        empty = True
        pieces = text.pieces()
        for piece in pieces:
            if isinstance(piece, Label):
                builder.feed_label(piece.name)
            elif piece:
                builder.feed(piece)
                empty = False
        if empty:
            raise CorpusError(f"{text.name}: the corpus is empty")
        fingerprints.append(pieces.fingerprints)
    corpus.watcher("making tokens", 0, None)
    try:
        return builder.finish(documents=corpus.documents != "whole"), fingerprints
    except CorpusError as error:
        raise CorpusError(f"{corpus.name}: {error}") from error
    finally:
        corpus.watcher("making tokens", 0, 0)


def encode_corpus(
    corpus: Corpus, tokenizer: Tokenizer, fingerprints: Sequence[Fingerprint]
) -> TokenStore:
    """The store of this corpus for this tokenizer, from the cache if it is there.

    Args:
        corpus: the text.
        tokenizer: the tokenizer.
        fingerprints: what the corpus was when it was last read.

    Raises:
        CorpusError: the corpus cannot be read, or is no longer what the fingerprints say.
        ChargenError: the disk is full.
    """
    folder = _store_folder(fingerprints, tokenizer, corpus.key())
    return _open_used(folder, tokenizer) or _build(folder, corpus, tokenizer, fingerprints)


def find_store(
    fingerprints: Sequence[Fingerprint], tokenizer: Tokenizer, key: Mapping[str, Any]
) -> TokenStore | None:
    """The store in the cache of a text that was read before; None if there is none.

    The text itself is not read: it may have changed, or be gone.

    Args:
        fingerprints: what the text was.
        tokenizer: the tokenizer.
        key: how it was read, as `Corpus.key` says.
    """
    return _open_used(_store_folder(fingerprints, tokenizer, key), tokenizer)


def token_dtype(vocab_size: int) -> npt.DTypeLike:
    """The smallest unsigned type that holds every id."""
    return np.uint8 if vocab_size <= 256 else np.uint16 if vocab_size <= 65536 else np.uint32


def _open_used(folder: Path, tokenizer: Tokenizer) -> TokenStore | None:
    """Opens a store and notes that it is in use, so that it is not pruned."""
    store = _open(folder, tokenizer)
    if store is not None:
        with suppress(OSError):
            os.utime(folder / _META)
    return store


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
        return None  # missing or damaged: it is made again


def _build(
    folder: Path, corpus: Corpus, tokenizer: Tokenizer, fingerprints: Sequence[Fingerprint]
) -> TokenStore:
    try:
        make_folder(folder)
    except UsageError as error:
        raise ChargenError(f"{error}; set CHARGEN_CACHE to a folder that can be written") from error
    _prune(folder.parent, keep=folder)
    with locked(folder, "another process is reading this corpus", wait=True):
        # The process that had the folder until now may have finished the store.
        return _open(folder, tokenizer) or _encode(folder, corpus, tokenizer, fingerprints)


def _encode(
    folder: Path, corpus: Corpus, tokenizer: Tokenizer, fingerprints: Sequence[Fingerprint]
) -> TokenStore:
    sweep(folder, (_TOKENS, _META, JOURNAL))
    dtype = np.dtype(token_dtype(tokenizer.vocab_size))
    partial = PartialStore(folder, dtype)
    if partial.extend(corpus, tokenizer) != tuple(fingerprints):
        partial.discard()
        raise CorpusError(f"{corpus.name}: the corpus changed while it was read; try again")
    progress = partial.progress
    if not progress.count:
        partial.discard()
        raise CorpusError(f"{corpus.name}: the corpus is empty")
    path = partial.finish(folder / _TOKENS)
    meta = {
        "format": _FORMAT,
        "dtype": dtype.name,
        "count": progress.count,
        "crc32": progress.crc32,
    }
    write_json(folder / _META, meta)
    return TokenStore(tokens=mapped(path, dtype), path=path)


def _find_last(tokens: Tokens, token: int, first: int, end: int) -> int | None:
    """The last position of a token from `first` up to `end`; searches backwards in blocks."""
    for stop in range(end, first, -_SEARCH_TOKENS):
        start = max(first, stop - _SEARCH_TOKENS)
        positions = np.flatnonzero(tokens[start:stop] == token)
        if len(positions):
            return start + int(positions[-1])
    return None


def _store_folder(
    fingerprints: Sequence[Fingerprint], tokenizer: Tokenizer, key: Mapping[str, Any]
) -> Path:
    """The folder of a store, named by a hash of everything that its ids depend on."""
    parts = {
        "format": _FORMAT,
        "corpus": [fingerprint.sha256 for fingerprint in fingerprints],
        "tokenizer": tokenizer_digest(tokenizer.to_state()),
        **key,
    }
    if any(fingerprint.boundaries for fingerprint in fingerprints):
        parts["boundaries"] = [fingerprint.boundaries for fingerprint in fingerprints]
    name = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_KEY_LENGTH]
    return cache_folder() / "tokens" / name


def tokenizer_digest(state: TokenizerState) -> str:
    """A hash that two tokenizers share only if they encode every text alike."""
    settings = json.dumps([state.kind, state.settings], sort_keys=True).encode()
    return hashlib.sha256(settings + (state.blob or b"")).hexdigest()


def _prune(folder: Path, *, keep: Path) -> None:
    """Removes the stores that were not used for a month, unless a run may still need them."""
    oldest = time.time() - _KEEP_DAYS * 86400
    for store in folder.iterdir():
        if store != keep and len(store.name) == _KEY_LENGTH:
            with suppress(OSError):
                used = [store, *store.glob(_META), *store.glob(JOURNAL)]
                if max(path.stat().st_mtime for path in used) < oldest and not _has_runs(store):
                    shutil.rmtree(store)


def _has_runs(store: Path) -> bool:
    """Whether the folder of a run that was trained on this store exists."""
    users = store / _USERS
    if not users.exists():
        return False
    return any(Path(line).is_dir() for line in users.read_text(encoding="utf-8").splitlines())
