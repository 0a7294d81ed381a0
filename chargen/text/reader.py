"""Bytes of a file to pieces of text: byte order marks, encodings, line ends.

Knows one stream at a time. UTF-8, UTF-16 and UTF-32 with a mark are recognised; anything else
must be named, because a guess that is wrong shows up only in what the model writes.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from chargen.errors import CorpusError, UsageError

Pieces = Iterator[str | bytes]
_CHUNK = 1 << 20
_CHECKED = 16 << 20
# UTF-32's little-endian mark begins with UTF-16's: the longer ones come first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Hasher(Protocol):
    """What raw content is shown to while it is read."""

    def update(self, data: bytes, /) -> None:
        """See the next bytes."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How sources are read."""

    encoding: str | None = None
    """A codec's name; None recognises UTF-8 and byte order marks."""
    column: str | None = None
    """The column of a table that holds the text; None finds it."""
    as_bytes: bool = False
    """Hand over raw bytes (for byte models); with an encoding, the text as UTF-8."""

    def __post_init__(self) -> None:
        """Check the encoding's name.

        Raises:
            UsageError: Python has no such codec.
        """
        if self.encoding is not None:
            try:
                known = codecs.lookup(self.encoding)._is_text_encoding
            except (LookupError, ValueError):
                known = False
            if not known:
                raise UsageError(
                    f"--encoding {self.encoding}: not an encoding that Python knows; "
                    "common ones: utf-8, cp1252, latin-1, gb18030, shift_jis, koi8-r"
                )


def read_pieces(stream: IO[bytes], name: str, reading: Reading, hasher: Hasher) -> Pieces:
    r"""Decode a stream into chunks that end at a line end where there is one.

    Line ends \\r\\n and \\r become \\n, unless raw bytes were asked for.

    Raises:
        CorpusError: the content is binary or in another encoding.
    """
    if reading.as_bytes and reading.encoding is None:
        while raw := stream.read(_CHUNK):
            hasher.update(raw)
            yield raw
        return
    head = stream.read(_CHUNK)
    encoding = reading.encoding or _recognise(head, name)
    plain = codecs.getincrementaldecoder(encoding)()
    decoder = io.IncrementalNewlineDecoder(plain, translate=True)
    rest, position, raw = "", 0, head
    while True:
        hasher.update(raw)
        try:
            text = rest + decoder.decode(raw, final=not raw)
        except UnicodeError as error:
            raise CorpusError(_wrong_encoding(name, encoding, position, error)) from error
        # A chunk ends with a whole line, so that pieces of words are never cut by chance.
        cut = text.rfind("\n") + 1 if raw else len(text)
        if cut == 0 and len(text) > 4 * _CHUNK:
            cut = len(text)
        if cut:
            piece, rest = text[:cut], text[cut:]
            yield piece.encode("utf-8", "surrogatepass") if reading.as_bytes else piece
        else:
            rest = text
        if not raw:
            return
        position += len(raw)
        raw = stream.read(_CHUNK)


def check_text_file(path: Path, reading: Reading) -> str | None:
    """Why a file of a folder should be skipped, or None when it is text."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_CHECKED)
            whole = not stream.read(1)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if reading.as_bytes and reading.encoding is None:
        return None
    try:
        encoding = reading.encoding or _recognise(head, path.name)
        codecs.getincrementaldecoder(encoding)().decode(head, final=whole)
    except CorpusError:
        return "binary"
    except UnicodeError:
        return f"not {encoding.upper()}"
    return None


def check_text(head: bytes, name: str, reading: Reading) -> None:
    """Refuse by its first bytes what is binary and was not asked for as such.

    Raises:
        CorpusError: it is binary.
    """
    if not reading.as_bytes and reading.encoding is None:
        _recognise(head, name)


def marked_encoding(path: Path) -> str | None:
    """The encoding that a file's byte order mark tells, or None without one."""
    with path.open("rb") as stream:
        head = stream.read(4)
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def _recognise(head: bytes, name: str) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        raise CorpusError(
            f"{name}: binary, not text (a zero byte at offset {head.index(0)}); "
            "name its encoding with --encoding, or use --tokenizer byte"
        )
    return "utf-8"


def _wrong_encoding(name: str, encoding: str, position: int, error: UnicodeError) -> str:
    where = ""
    if isinstance(error, UnicodeDecodeError):
        # The decoder may have held back up to three bytes of the chunk before.
        bad = error.object[error.start : error.start + 1].hex().upper()
        where = f" (byte 0x{bad} near offset {max(0, position + error.start):,})"
    return (
        f"{name}: not {encoding.removesuffix('-sig').upper()}{where}; name its encoding with "
        "--encoding (for example --encoding cp1252), or use --tokenizer byte"
    )
