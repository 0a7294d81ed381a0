"""Decodes the bytes of a stream to pieces of text: byte order marks, encodings, line ends.

UTF-8, and UTF-16 and UTF-32 with a byte order mark, are recognised. Other encodings must be named:
a wrong guess would show only in what the model writes. This file knows one stream at a time.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from chargen.errors import CorpusError, UsageError
from chargen.hints import any_of, option, ways
from chargen.text.encoding_guess import binary_kind, guess_encoding

Pieces = Iterator[str | bytes]
MARK = "\ufeff"
"""The byte order mark as a character: no part of a text that it begins."""
_CHUNK_BYTES = 1 << 20
_CHECKED_BYTES = 16 << 20
"""Bytes at the beginning of a file of a folder that must decode, or the file is skipped."""
# The longer marks come first: UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Hasher(Protocol):
    """A hash of raw content that is updated while the content is read."""

    def update(self, data: bytes, /) -> None:
        """Adds the next bytes."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How sources are read."""

    encoding: str | None = None
    """The name of a codec of Python; None recognises UTF-8 and byte order marks."""
    column: str | None = None
    """The column of a table that holds the text; None finds it."""
    as_bytes: bool = False
    """Read raw bytes (for byte models); with an encoding, the text in UTF-8."""
    sizes: dict[Path, int] = field(default_factory=dict, compare=False, repr=False)
    """How long each file was when it was first opened; what it grows by since is not read."""

    def __post_init__(self) -> None:
        """Checks the name of the encoding.

        Raises:
            UsageError: Python has no such codec.
        """
        if self.encoding is not None:
            try:
                is_text_encoding = codecs.lookup(self.encoding)._is_text_encoding
            except (LookupError, ValueError):
                is_text_encoding = False
            if not is_text_encoding:
                raise UsageError(
                    f"--encoding {self.encoding}: not an encoding that Python knows; "
                    "common ones: utf-8, cp1252, latin-1, gb18030, shift_jis, koi8-r"
                )


def read_pieces(stream: IO[bytes], name: str, reading: Reading, hasher: Hasher) -> Pieces:
    r"""Decodes a stream into chunks that end with a whole line, if their lines are not too long.

    The line ends \\r\\n and \\r become \\n, except in raw bytes.

    Args:
        stream: the content.
        name: how messages call it.
        reading: how it is read.
        hasher: is updated with the raw content.

    Raises:
        CorpusError: the content is binary or in another encoding.
    """
    if reading.as_bytes and reading.encoding is None:
        while raw := stream.read(_CHUNK_BYTES):
            hasher.update(raw)
            yield raw
        return
    decoder = TextDecoder(name, reading)
    rest, raw = "", stream.read(_CHUNK_BYTES)
    while True:
        hasher.update(raw)
        text = rest + decoder.decode(raw)
        # A chunk ends with a whole line: its end does not divide a word.
        cut = text.rfind("\n") + 1 if raw else len(text)
        if cut == 0 and len(text) > 4 * _CHUNK_BYTES:
            cut = len(text)
        if cut:
            piece, rest = text[:cut], text[cut:]
            yield piece.encode("utf-8", "surrogatepass") if reading.as_bytes else piece
        else:
            rest = text
        if not raw:
            return
        raw = stream.read(_CHUNK_BYTES)


class TextDecoder:
    r"""Decodes a content block by block: its mark is left out, \\r\\n and \\r become \\n."""

    def __init__(self, name: str, reading: Reading, *, in_table: bool = False) -> None:
        """Begins a content.

        Args:
            name: how messages call it.
            reading: its encoding; None recognises UTF-8 and byte order marks.
            in_table: whether it is a table, whose errors name FILE:LINE.
        """
        self._name, self._reading, self._in_table = name, reading, in_table
        self._decoder: io.IncrementalNewlineDecoder | None = None
        self._encoding = ""
        self._position = 0
        self._line = 1
        self._begun = False

    def decode(self, raw: bytes) -> str:
        """The text of the next block; no bytes end the content.

        Raises:
            CorpusError: the content is binary or in another encoding.
        """
        if self._decoder is None:
            self._encoding = self._reading.encoding or recognise_encoding(
                raw, self._name, in_table=self._in_table
            )
            codec = codecs.getincrementaldecoder(self._encoding)()
            self._decoder = io.IncrementalNewlineDecoder(codec, translate=True)
        try:
            text = self._decoder.decode(raw, final=not raw)
        except UnicodeError as error:
            raise CorpusError(self._describe(raw, error)) from error
        if text and not self._begun:
            self._begun = True
            # Codecs whose names say the order of the bytes, and utf-8, keep the mark.
            if self._reading.encoding is not None:
                text = text.removeprefix(MARK)
        self._position += len(raw)
        if self._in_table:
            self._line += text.count("\n")
        return text

    def _describe(self, raw: bytes, error: UnicodeError) -> str:
        if not self._in_table:
            wrong = _wrong_encoding(self._name, self._encoding, self._position, error)
            return (
                f"{wrong}{way_to_read(whole_lines(raw) if self._position else raw, self._reading)}"
            )
        line, part = self._line, raw
        if isinstance(error, UnicodeDecodeError):
            good = error.object[: error.start].decode(self._encoding, "ignore")
            line += len(re.findall("\r\n|\r|\n", good))
            part = whole_lines(error.object)
        encoding = self._encoding.removesuffix("-sig").upper()
        return f"{self._name}:{line}: not {encoding}{way_to_read(part, in_table=True)}"


def read_lines(
    stream: IO[bytes], name: str, reading: Reading, *, in_table: bool = False
) -> Iterator[str]:
    """The lines of a content, without their ends, each as soon as it is there.

    Args:
        stream: the content.
        name: how messages call it.
        reading: how it is read.
        in_table: as for `TextDecoder`.

    Raises:
        CorpusError: the content is binary or in another encoding.
    """
    decoder, rest = TextDecoder(name, reading, in_table=in_table), ""
    # A line of bytes, not a block: a program at the other end of a pipe may wait for the answer.
    # No mark holds the byte of a line end, so the first line has it whole.
    while raw := stream.readline():
        *lines, rest = (rest + decoder.decode(raw)).split("\n")
        yield from lines
    *lines, rest = (rest + decoder.decode(b"")).split("\n")
    yield from lines
    if rest:
        yield rest


def read_all(data: bytes, name: str, reading: Reading) -> str | bytes:
    """A whole content, decoded as a corpus is: marks, encodings and line ends are read alike.

    Args:
        data: the content.
        name: how messages call it.
        reading: how it is read; with `as_bytes`, the result is bytes.

    Raises:
        CorpusError: the content is binary or in another encoding.
    """
    pieces: list[Any] = list(read_pieces(io.BytesIO(data), name, reading, hashlib.sha256()))
    whole: str | bytes = (b"" if reading.as_bytes else "").join(pieces)
    return whole


def check_text_file(path: Path, reading: Reading) -> str | None:
    """Why a file of a folder is skipped; None if it is text."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_CHECKED_BYTES)
            complete = not stream.read(1)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if reading.as_bytes and reading.encoding is None:
        return None
    encoding = reading.encoding or _encoding_by_mark(head)
    if encoding is None:
        return "binary"
    try:
        codecs.getincrementaldecoder(encoding)().decode(head, final=complete)
    except UnicodeError:
        return f"not {encoding.upper()}"
    return None


def check_text(head: bytes, name: str, reading: Reading) -> None:
    """Checks the first bytes of a stream.

    Raises:
        CorpusError: they are binary, and neither bytes nor an encoding were asked for.
    """
    if not reading.as_bytes and reading.encoding is None:
        recognise_encoding(head, name)


def recognise_encoding(head: bytes, name: str, *, in_table: bool = False) -> str:
    """The encoding of a content by its first bytes: that of its byte order mark, or UTF-8.

    Args:
        head: the first bytes.
        name: how messages call the content.
        in_table: whether it is a table, which also byte models read as text.

    Raises:
        CorpusError: the bytes are binary.
    """
    encoding = _encoding_by_mark(head)
    if encoding is None:
        zero = f"a zero byte at offset {head.index(0)}"
        raise CorpusError(
            f"{name}: binary, not text ({zero}){way_to_read(head, in_table=in_table)}"
        )
    return encoding


def _encoding_by_mark(head: bytes) -> str | None:
    """The encoding that a byte order mark says, or UTF-8; None for binary content."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    return None if b"\0" in head else "utf-8"


def _wrong_encoding(name: str, encoding: str, position: int, error: UnicodeError) -> str:
    """What is wrong with the chunk at offset `position`, which is not of this encoding."""
    where = ""
    if isinstance(error, UnicodeDecodeError):
        # Approximate: the decoder may have kept up to three bytes of the chunk before.
        bad = error.object[error.start : error.start + 1].hex().upper()
        where = f" (byte 0x{bad} near offset {max(0, position + error.start):,})"
    return f"{name}: not {encoding.removesuffix('-sig').upper()}{where}"


def whole_lines(part: bytes) -> bytes:
    """A part of a content from its first line end on: its beginning may divide a character."""
    return part[part.find(b"\n") + 1 :] or part


def way_to_read(data: bytes, reading: Reading | None = None, *, in_table: bool = False) -> str:
    """The end of a message about bytes that are no text: what they may be, and how to read them.

    Args:
        data: the beginning of a content, or the part of it that is not of the encoding.
        reading: how it was read; None is as UTF-8.
        in_table: whether they stand in a table, which also byte models read as text.
    """
    kind = binary_kind(data)
    if kind is not None:
        return f": it is {kind}{ways('give the text that it holds')}"
    named = any_of("--encoding") if reading is not None and reading.encoding else None
    as_bytes = None if in_table else option("--tokenizer", "byte")
    if named is not None and as_bytes is not None:
        as_bytes += f" without {named}"
    if reading is not None and reading.as_bytes:
        as_bytes = None
    guess = guess_encoding(data)
    if guess is None:
        return ways("give a text", ("use", as_bytes))
    encoding = option("--encoding", guess)
    use = "save it as UTF-8" if encoding is None else f"use {encoding}"
    return f": it may be {guess}{ways(use, ('use', as_bytes))}"
