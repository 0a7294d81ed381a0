"""Encodes a corpus to token ids on disk, batch by batch, and resumes after an interruption.

The ids and the progress are written down every few seconds. A later attempt reads the corpus
again, which is quick, and encodes only what was not encoded yet. Shape letter: N tokens.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from chargen.errors import ChargenError
from chargen.files import is_unsupported, sync_file, write_json
from chargen.text.char import CharTokenizer
from chargen.text.corpus import Corpus, Fingerprints, Item, Label
from chargen.text.corpus_tokenizer import first_label, label_id, labels_of, unwrapped
from chargen.text.tokenizer import Tokenizer, Tokens, newline_id

JOURNAL = "journal.json"
_PARTIAL_TOKENS = "tokens.part"
_BATCH_CHARACTERS = 1 << 20
"""Characters (or bytes) of a batch, at least."""
_CHECKSUM_BYTES = 1 << 24
"""Bytes that are read at once for a checksum."""
_SECONDS_BETWEEN_NOTES = 5.0
"""Seconds after which the progress is written down again."""


@dataclass(frozen=True, kw_only=True)
class EncodingProgress:
    """How far an encoding is: everything that is needed to resume it."""

    batches: int = 0
    ended: bool = True
    """Whether a document ends here. True at the beginning: an end token would end nothing."""
    count: int = 0
    """Tokens written."""
    crc32: int = 0
    """CRC-32 of their bytes."""


class PartialStore:
    """The token ids of an unfinished store. The caller must have locked the folder."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        """Continues from what an earlier attempt left in the folder, if that is undamaged."""
        self._path, self._journal = folder / _PARTIAL_TOKENS, folder / JOURNAL
        self._dtype = dtype
        self.progress = self._read_progress() or EncodingProgress()

    def _read_progress(self) -> EncodingProgress | None:
        try:
            value = json.loads(self._journal.read_text(encoding="utf-8"))
            progress = EncodingProgress(**value)
            types = {field.name: type(field.default) for field in fields(EncodingProgress)}
            if any(type(value[name]) is not kind for name, kind in types.items()):
                return None
            # The journal may have reached the disk before the tokens that it counts.
            size = progress.count * self._dtype.itemsize
            if not self._path.stat().st_size >= size > 0:
                return None
            return progress if checksum(self._path, size) == progress.crc32 else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def extend(self, corpus: Corpus, tokenizer: Tokenizer) -> Fingerprints:
        """Encodes the rest of the corpus and returns the fingerprints of what was read.

        Raises:
            CorpusError: the corpus cannot be read.
            ChargenError: the disk is full.
        """
        noted, done = time.monotonic(), self.progress.batches
        pieces = corpus.pieces("encoding")
        batches = _encode_pieces(
            pieces, corpus.documents, tokenizer, self._dtype, done, ended=self.progress.ended
        )
        try:
            with self._path.open("r+b" if done else "wb") as out:
                out.truncate(out.seek(self.progress.count * self._dtype.itemsize))
                try:
                    for ids, ended in batches:
                        out.write(ids.data)
                        done += 1
                        # One assignment: an interruption sees the progress before or after it.
                        self.progress = EncodingProgress(
                            batches=done,
                            ended=ended,
                            count=self.progress.count + len(ids),
                            crc32=zlib.crc32(ids.data, self.progress.crc32),
                        )
                        if time.monotonic() - noted >= _SECONDS_BETWEEN_NOTES:
                            self._note_progress(out)
                            noted = time.monotonic()
                    sync_file(out)
                except KeyboardInterrupt:
                    self._note_progress(out)
                    raise
        except OSError as error:
            raise ChargenError(
                f"{self._path}: cannot be written ({error.strerror or error}); make room, or set "
                "CHARGEN_CACHE to a folder elsewhere"
            ) from error
        return pieces.fingerprints

    def _note_progress(self, out: IO[bytes]) -> None:
        out.flush()
        write_json(self._journal, asdict(self.progress))

    def finish(self, path: Path) -> Path:
        """Renames the finished ids to `path`, and removes the journal."""
        os.replace(self._path, path)
        with suppress(OSError):
            self._journal.unlink()
        return path

    def discard(self) -> None:
        """Removes the ids and the journal."""
        for path in (self._journal, self._path):
            with suppress(OSError):
                path.unlink()


def checksum(path: Path, size: int) -> int:
    """CRC-32 of the first `size` bytes of a file: finds disk errors, not forgery.

    Reads the file instead of mapping it: pages of a map would count as memory of this process.
    """
    crc32 = 0
    with path.open("rb") as stream:
        while size > 0 and (part := stream.read(min(size, _CHECKSUM_BYTES))):
            crc32 = zlib.crc32(part, crc32)
            size -= len(part)
    return crc32


def mapped(path: Path, dtype: np.dtype[Any]) -> Tokens:
    """A file of ids as a read-only array (N,): memory-mapped, or read where that is impossible."""
    try:
        return np.memmap(path, dtype, mode="r")
    except OSError as error:
        if not is_unsupported(error):
            raise
    tokens = np.fromfile(path, dtype)
    tokens.flags.writeable = False
    return tokens


def encoded_batches(
    corpus: Corpus, tokenizer: Tokenizer, dtype: np.dtype[Any]
) -> Iterator[tuple[Tokens, bool]]:
    """The ids of a corpus, batch by batch, with an end token after each document.

    Args:
        corpus: the text.
        tokenizer: the tokenizer; characters that it does not know become the nearest known ones.
        dtype: the type of the ids.

    Yields:
        Ids (N,), and whether a document ends with them.
    """
    return _encode_pieces(corpus.pieces("encoding"), corpus.documents, tokenizer, dtype)


def _encode_pieces(
    pieces: Iterable[Item],
    documents: str,
    tokenizer: Tokenizer,
    dtype: np.dtype[Any],
    done: int = 0,
    *,
    ended: bool = True,
) -> Iterator[tuple[Tokens, bool]]:
    """As `encoded_batches`, but skips the first `done` batches.

    `ended` says whether a document ended with the last skipped batch.
    """
    eos = tokenizer.eos_id
    newline = newline_id(tokenizer) if documents == "lines" else None
    inner = unwrapped(tokenizer)  # the corpus brought its letters to their form
    for number, (label, batch, ends_document) in enumerate(_join_pieces(pieces)):
        if number < done:
            continue
        if isinstance(inner, CharTokenizer) and isinstance(batch, str):
            ids = inner.encode_compact(batch, dtype)
        else:
            ids = inner.encode(batch).astype(dtype)
        if newline is not None and eos is not None:
            ids = np.where(ids == newline, dtype.type(eos), ids)
            # Empty lines are no documents: of several end tokens in a row one stays.
            repeated = ids == eos
            repeated[1:] &= ids[:-1] == eos
            repeated[:1] &= ended
            ids = ids[~repeated]
        labels = _labels_before(label, tokenizer)
        if len(labels):
            ends = np.flatnonzero(ids[:-1] == eos) + 1 if documents == "lines" else ()
            places = [*([0] if ended and len(ids) else []), *ends]
            ids = np.insert(ids, places, labels.astype(dtype))
        if len(ids):
            ended = eos is not None and bool(ids[-1] == eos)
        if ends_document and eos is not None and not ended:
            ids = np.append(ids, dtype.type(eos))
            ended = True
        yield ids, ended
    if eos is not None and not ended:
        yield np.array([eos], dtype), True


def _labels_before(label: Label | None, tokenizer: Tokenizer) -> Tokens:
    """The label (0 or 1,) with which a document begins: its own, or that of the tokenizer."""
    if label is not None and label.name in labels_of(tokenizer):
        return np.array([label_id(tokenizer, label.name)])
    return first_label(tokenizer)


def _join_pieces(pieces: Iterable[Item]) -> Iterator[tuple[Label | None, str | bytes, bool]]:
    """Joins short pieces to batches: (the label that begins it, text, whether a document ends)."""
    waiting: list[Any] = []
    size = 0
    label: Label | None = None
    for piece in pieces:
        if isinstance(piece, Label):
            label = piece
            continue
        if piece is not None:
            waiting.append(piece)
            size += len(piece)
        if waiting and (piece is None or size >= _BATCH_CHARACTERS):
            yield label, waiting[0][:0].join(waiting), piece is None
            waiting, size, label = [], 0, None
    if waiting:
        yield label, waiting[0][:0].join(waiting), False
