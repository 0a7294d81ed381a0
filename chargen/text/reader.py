"""Decodes the bytes of a stream to pieces of text: byte order marks, encodings, line ends.

UTF-8, and UTF-16 and UTF-32 with a byte order mark, are recognised. Other encodings must be named
or a guess be asked for: a wrong guess would show only in what the model writes. This file knows one
stream at a time.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any, Protocol

import numpy as np

from chargen.errors import CorpusError
from chargen.hints import any_of, option, ways
from chargen.text.encoding_guess import binary_kind, guess_encoding
from chargen.text.reading import AUTO, Hasher, Pieces, Reading
from chargen.text.wrong_bytes import REPLACEMENTS, begun_pair, decode_block, incremental_decoder

MARK = "\ufeff"
"""The byte order mark as a character: no part of a text that it begins."""
_CHUNK_BYTES = 1 << 20
# The longer marks come first: UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
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
    if reading.raw:
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
            yield piece
        else:
            rest = text
        if not raw:
            return
        raw = stream.read(_CHUNK_BYTES)


class TextDecoder:
    r"""Decodes a content block by block: its mark is left out, \\r\\n and \\r become \\n.

    Bytes that are no text, zero bytes among them, are judged as `Reading.encoding_errors` says.
    """

    def __init__(self, name: str, reading: Reading, *, in_table: bool = False) -> None:
        """Begins a content.

        Args:
            name: how messages call it.
            reading: its encoding; None recognises UTF-8 and byte order marks.
            in_table: whether it is a table, which also byte models read as text.
        """
        self._name, self._reading, self._in_table = name, reading, in_table
        self._codec: codecs.IncrementalDecoder | None = None
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._encoding = ""
        self._held = b""
        self._line = 1
        self._begun = False
        self._is_ascii = True
        self._may_guess = reading.encoding == AUTO
        self._wrong: Counter[str] = Counter()
        self._first_wrong_line = 0

    def decode(self, raw: bytes) -> str:
        """The text of the next block; no bytes end the content.

        Raises:
            CorpusError: the content is binary or in another encoding.
        """
        if self._codec is None:
            self._encoding = self._find_encoding(raw)
            self._codec = incremental_decoder(self._encoding)
        data, self._held = self._held + raw, b""
        is_utf8 = self._encoding.startswith("utf-8")
        if is_utf8 and raw and (cut := begun_pair(data)) < len(data):
            data, self._held = data[:cut], data[cut:]
        if self._may_guess and data:
            self._guess(data)
        text = self._newlines.decode(self._decoded(data, final=not raw), final=not raw)
        # A search through bytes is the faster one.
        if (not is_utf8 or b"\0" in data) and "\0" in text:
            text = self._without_zeros(text, data)
        if text and not self._begun:
            self._begun = True
            # Codecs whose names say the order of the bytes, and utf-8, keep the mark.
            if self._reading.encoding not in (None, AUTO):
                text = text.removeprefix(MARK)
        self._is_ascii = self._is_ascii and text.isascii()
        self._line += _line_ends(text, data if is_utf8 else b"")
        if not raw:
            self._tell()
        return text

    def _find_encoding(self, head: bytes) -> str:
        name = self._reading.encoding
        return encoding_by_mark(head) if name in (None, AUTO) else codecs.lookup(str(name)).name

    def _guess(self, data: bytes) -> None:
        """Guesses the encoding at the first bytes that tell; a line says it."""
        if data.isascii() and b"\0" not in data:
            return  # nearly every encoding reads it alike
        self._may_guess = False
        if self._encoding != "utf-8":
            return  # a mark said it
        with suppress(UnicodeError):
            decoder = incremental_decoder(self._encoding)
            if "\0" not in decode_block(decoder, data, "strict", final=False)[0]:
                return
        guess = guess_encoding(data)
        if guess is not None:
            self._encoding = guess
            self._codec = incremental_decoder(guess)
            self._reading.note(f"{self._name}: read as {guess}, which is a guess")

    def _decoded(self, data: bytes, *, final: bool) -> str:
        assert self._codec is not None
        errors = self._reading.encoding_errors
        try:
            text, count, first = decode_block(self._codec, data, errors, final=final)
        except UnicodeError as error:
            raise CorpusError(self._describe(error)) from error
        if first is not None:
            self._note_wrong(f"not {self._shown_encoding()}", count, self._line_of(first))
        return text

    def _without_zeros(self, text: str, data: bytes) -> str:
        line = self._line + text.count("\n", 0, text.index("\0"))
        errors = self._reading.encoding_errors
        if errors == "strict":
            raise CorpusError(self._describe_zero(line, data))
        self._note_wrong("zero", text.count("\0"), line)
        return text.replace("\0", REPLACEMENTS[errors])

    def _note_wrong(self, kind: str, count: int, line: int) -> None:
        first = self._first_wrong_line
        # Of one block, wrong bytes are met before zeros, wherever these stand.
        self._first_wrong_line = min(first, line) if first >= self._line else first or line
        self._wrong[kind] += count

    def _tell(self) -> None:
        """Notes what was wrong in the whole content."""
        if self._wrong:
            done = "replaced" if self._reading.encoding_errors == "replace" else "left out"
            kinds = " and ".join(f"{count:,} {kind}" for kind, count in self._wrong.items())
            self._reading.note(
                f"{self._name}: wrong bytes {done} ({kinds}), the first at "
                f"{self._name}:{self._first_wrong_line}"
            )

    def _shown_encoding(self) -> str:
        return self._encoding.removesuffix("-sig").upper()

    def _line_of(self, error: UnicodeError) -> int:
        """The line of a wrong byte."""
        if not isinstance(error, UnicodeDecodeError):
            return self._line
        good = error.object[: error.start].decode(self._encoding, "ignore")
        return self._line + len(re.findall("\r\n|\r|\n", good))

    def _describe(self, error: UnicodeError) -> str:
        wrong, part = "", b""
        where = f"{self._name}:{self._line_of(error)}"
        if isinstance(error, UnicodeDecodeError):
            part = error.object
            wrong = f" (byte 0x{part[error.start]:02X})"
            if self._encoding == "utf-8" and b"\0" in part:
                line = self._line + part.count(b"\n", 0, part.index(b"\0"))
                return self._describe_zero(line, part)
        wrong = f"{where}: not {self._shown_encoding()}{wrong}"
        reason = error.reason if isinstance(error, UnicodeDecodeError) else ""
        at_end = reason in ("unexpected end of data", "truncated data")
        by_mark = self._reading.encoding is None and self._encoding != "utf-8"
        if at_end and (by_mark or not self._is_ascii):
            replace_it = option("--encoding-errors", "replace")
            return f"{wrong}: it ends inside a character{ways(('use', replace_it))}"
        return f"{wrong}{self._way_to_read(part)}"

    def _describe_zero(self, line: int, part: bytes) -> str:
        wrong = f"{self._name}:{line}: binary, not text (a zero byte)"
        return f"{wrong}{self._way_to_read(part)}"

    def _way_to_read(self, part: bytes) -> str:
        part = whole_lines(part) if self._begun else part
        return way_to_read(part, self._reading, in_table=self._in_table)


def _line_ends(text: str, data: bytes) -> int:
    """How many line ends a text has; `data` is its UTF-8, where it has any."""
    if text.isascii() and len(text) == len(data) and b"\r" not in data:
        # numpy counts ten times faster, and every text is counted.
        return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))
    return text.count("\n")


class LineStream(Protocol):
    """What `read_lines` needs of a stream of bytes."""

    def readline(self) -> bytes:
        """The next line with its end; empty at the end of the stream."""


def read_lines(stream: LineStream, name: str, reading: Reading) -> Iterator[str]:
    """The lines of a pipe, without their ends, each as soon as it is there.

    Args:
        stream: the content.
        name: how messages call it.
        reading: how it is read.

    Raises:
        CorpusError: the content is binary or in another encoding.
    """
    # A line of bytes, not a block: a program at the other end of a pipe may wait for the answer.
    # No mark holds the byte of a line end, so the first line has it whole.
    blocks = iter(stream.readline, b"")
    yield from _lines(blocks, TextDecoder(name, reading))


def read_table_lines(stream: IO[bytes], name: str, reading: Reading) -> Iterator[str]:
    """The lines of a table of text, without their ends; see `read_lines`."""
    blocks = iter(lambda: stream.read(_CHUNK_BYTES), b"")
    yield from _lines(blocks, TextDecoder(name, reading, in_table=True))


def _lines(blocks: Iterator[bytes], decoder: TextDecoder) -> Iterator[str]:
    rest = ""
    for raw in blocks:
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
    if reading.raw:
        raw: bytes = b"".join(pieces)
        return raw
    text: str = "".join(pieces)
    return text.encode("utf-8", "surrogatepass") if reading.as_bytes else text


def read_text(data: bytes, name: str, reading: Reading) -> str:
    """A whole content as text, also for byte models; see `read_all`."""
    text = read_all(data, name, replace(reading, as_bytes=False))
    assert isinstance(text, str)
    return text


def encoding_by_mark(head: bytes) -> str:
    """The encoding that a byte order mark says, or UTF-8."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")


def whole_lines(part: bytes) -> bytes:
    """A part of a content from its first line end on: its beginning may divide a character."""
    return part[part.find(b"\n") + 1 :] or part


def way_to_read(data: bytes, reading: Reading, *, in_table: bool = False) -> str:
    """The end of a message about bytes that are no text: what they may be, and how to read them.

    Args:
        data: the beginning of a content, or the part of it that is not of the encoding.
        reading: how it was read.
        in_table: whether they stand in a table, which also byte models read as text.
    """
    kind = binary_kind(data)
    if kind is not None:
        return f": it is {kind}{ways('give the text that it holds')}"
    named = any_of("--encoding") if reading.encoding else None
    as_bytes = None if in_table or reading.as_bytes else option("--tokenizer", "byte")
    if named is not None and as_bytes is not None:
        as_bytes += f" without {named}"
    guess = guess_encoding(data)
    if guess is None or guess == reading.encoding:
        skip = option("--encoding-errors", "skip")
        return ways(("use", skip), ("use", as_bytes), "give a text")
    # Of a text in wide characters, nothing sensible stays if half of its bytes are replaced.
    errors = None if "16" in guess else option("--encoding-errors", "replace")
    encoding = option("--encoding", guess)
    use = "save it as UTF-8" if encoding is None else f"use {encoding}"
    return f": it may be {guess}{ways(('use', errors), use, ('use', as_bytes))}"
