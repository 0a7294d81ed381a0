"""From pieces of text to ids on disk, batch by batch; an interruption costs a few seconds of it.

What is on disk and how far it goes is written down now and then. A later attempt reads the corpus
again, which is quick, and encodes only what was not encoded yet. Shape letters: N tokens.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from chargen.errors import ChargenError
from chargen.files import write_json
from chargen.text.char import CharTokenizer
from chargen.text.corpus import Corpus
from chargen.text.tokenizer import Tokenizer, Tokens

JOURNAL = "journal.json"
_DRAFT = "tokens.part"
_BATCH = 1 << 20
"""Characters that are encoded at once."""
_CHECKED = 1 << 24
_NOTE_SECONDS = 5.0
"""Between two notes of how far it is."""


@dataclass(frozen=True, kw_only=True)
class EncodingProgress:
    """How far an encoding is: all that it takes to go on from there."""

    batches: int = 0
    ended: bool = True
    """Whether a document ends here; at the beginning, an end token would end nothing."""
    count: int = 0
    """Tokens."""
    crc32: int = 0
    """Of their bytes."""


class PartialStore:
    """Ids on their way to a store; one process at a time may have the folder."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        """Take up what an earlier attempt left in the folder, if it is whole."""
        self._path, self._journal = folder / _DRAFT, folder / JOURNAL
        self._dtype = dtype
        self.place = self._found() or EncodingProgress()

    def _found(self) -> EncodingProgress | None:
        try:
            value = json.loads(self._journal.read_text(encoding="utf-8"))
            place = EncodingProgress(**value)
            kinds = {one.name: type(one.default) for one in fields(EncodingProgress)}
            if any(type(value[name]) is not kind for name, kind in kinds.items()):
                return None
            # The note may have reached the disk before what it tells of.
            size = place.count * self._dtype.itemsize
            if not self._path.stat().st_size >= size > 0:
                return None
            return place if checksum(self._path, size) == place.crc32 else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def extend(self, corpus: Corpus, tokenizer: Tokenizer) -> None:
        """Encode the rest of the corpus.

        Raises:
            CorpusError: it cannot be read.
            ChargenError: the disk is full.
        """
        noted, done = time.monotonic(), self.place.batches
        batches = encoded_batches(corpus, tokenizer, self._dtype, done, ended=self.place.ended)
        try:
            with self._path.open("r+b" if done else "wb") as out:
                out.truncate(out.seek(self.place.count * self._dtype.itemsize))
                try:
                    for ids, ended in batches:
                        out.write(ids.data)
                        done += 1
                        # Replaced in one go: an interruption sees the place before or after it.
                        self.place = EncodingProgress(
                            batches=done,
                            ended=ended,
                            count=self.place.count + len(ids),
                            crc32=zlib.crc32(ids.data, self.place.crc32),
                        )
                        if time.monotonic() - noted >= _NOTE_SECONDS:
                            self._note(out)
                            noted = time.monotonic()
                    out.flush()
                    os.fsync(out.fileno())
                except KeyboardInterrupt:
                    self._note(out)
                    raise
        except OSError as error:
            raise ChargenError(
                f"{self._path}: cannot be written ({error.strerror or error}); make room, or set "
                "CHARGEN_CACHE to a folder elsewhere"
            ) from error

    def _note(self, out: IO[bytes]) -> None:
        out.flush()
        write_json(self._journal, asdict(self.place))

    def finish(self, path: Path) -> Path:
        """Rename it: from now on it is a store's."""
        os.replace(self._path, path)
        with suppress(OSError):
            self._journal.unlink()
        return path

    def discard(self) -> None:
        """Forget it: it is of no use."""
        for one in (self._journal, self._path):
            with suppress(OSError):
                one.unlink()


def checksum(path: Path, size: int) -> int:
    """CRC-32 of a file's first bytes: against a disk's mistakes, not against malice.

    Read and not mapped: pages of a map would count as this process's memory.
    """
    found = 0
    with path.open("rb") as stream:
        while size > 0 and (part := stream.read(min(size, _CHECKED))):
            found = zlib.crc32(part, found)
            size -= len(part)
    return found


def mapped(path: Path, dtype: np.dtype[Any]) -> Tokens:
    """A file of ids as a read-only array (N,)."""
    return np.memmap(path, dtype, mode="r")


def encoded_batches(
    corpus: Corpus,
    tokenizer: Tokenizer,
    dtype: np.dtype[Any],
    done: int = 0,
    *,
    ended: bool = True,
) -> Iterator[tuple[Tokens, bool]]:
    """The ids of the corpus, batch by batch, with an end token after each document.

    Args:
        corpus: where the text comes from.
        tokenizer: made for it.
        dtype: of the ids.
        done: batches that are there already.
        ended: whether a document ended with them.

    Yields:
        Ids (N,), and whether a document ends with them.
    """
    eos = tokenizer.eos_id
    newline = _newline_id(tokenizer) if corpus.documents == "lines" else None
    for number, (batch, ends) in enumerate(_batches(corpus)):
        if number < done:
            continue
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
            ended = eos is not None and bool(ids[-1] == eos)
        if ends and eos is not None and not ended:
            ids = np.append(ids, dtype.type(eos))
            ended = True
        yield ids, ended
    if eos is not None and not ended:
        yield np.array([eos], dtype), True


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
    for piece in corpus.pieces("encoding"):
        if piece is not None:
            waiting.append(piece)
            size += len(piece)
        if waiting and (piece is None or size >= _BATCH):
            yield waiting[0][:0].join(waiting), piece is None
            waiting, size = [], 0
    if waiting:
        yield waiting[0][:0].join(waiting), False
