"""Contents: the bytes of a file, of a file in an archive, or of what a compressed file holds.

What reads a format (tables, chats, converters) gets a content and need not know where it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from chargen.text.compressed import Compression, ZipFiles, decompressed, inner_name
from chargen.text.growing import open_as_begun
from chargen.text.reading import Reading

_MARKS = ((b"%PDF-", ".pdf"), (b"{\\rtf", ".rtf"))


def suffix_by_mark(head: bytes) -> str | None:
    """The ending of a document's kind by its first bytes, whatever its name ends with."""
    return next((suffix for mark, suffix in _MARKS if head.startswith(mark)), None)


class Content(Protocol):
    """Bytes that can be read several times, each time from their beginning."""

    @property
    def name(self) -> str:
        """How errors call it: the whole path."""

    @property
    def shown(self) -> str:
        """How places and notes call it: its name, or its path from the named folder on."""

    @property
    def path(self) -> Path | None:
        """The file, if it is one of its own."""

    @property
    def suffix(self) -> str:
        """The ending of the name, in small letters."""

    def open(self, reading: Reading) -> AbstractContextManager[IO[bytes]]:
        """The bytes as a stream.

        Raises:
            OSError, CorpusError: they cannot be read.
        """


@dataclass(frozen=True, kw_only=True)
class FileContent:
    """A file."""

    path: Path
    shown: str

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def suffix(self) -> str:
        """The ending of the name, in small letters."""
        return self.path.suffix.lower()

    def open(self, reading: Reading) -> AbstractContextManager[IO[bytes]]:
        """The file up to where it was at the first opening."""
        return open_as_begun(self.path, reading)


@dataclass(frozen=True, kw_only=True)
class UnpackedContent:
    """What a compressed file holds."""

    packed: FileContent
    format: Compression

    @property
    def name(self) -> str:
        """That of the compressed file."""
        return self.packed.name

    @property
    def shown(self) -> str:
        """That of the compressed file."""
        return self.packed.shown

    @property
    def path(self) -> None:
        """None: it is no file of its own."""

    @property
    def suffix(self) -> str:
        """The ending before that of the compression."""
        return PurePosixPath(inner_name(self.packed.path.name)).suffix.lower()

    @contextmanager
    def open(self, reading: Reading) -> Iterator[IO[bytes]]:
        """The unpacked bytes."""
        size = self.packed.path.stat().st_size
        with (
            self.packed.open(reading) as stream,
            decompressed(stream, self.format, self.name, size) as unpacked,
        ):
            yield unpacked


@dataclass(frozen=True, kw_only=True)
class MemberContent:
    """A file in a zip archive."""

    archive: ZipFiles
    member: str
    name: str
    shown: str

    @property
    def path(self) -> None:
        """None: it is no file of its own."""

    @property
    def suffix(self) -> str:
        """The ending of the name, in small letters."""
        return PurePosixPath(self.member).suffix.lower()

    def open(self, reading: Reading) -> AbstractContextManager[IO[bytes]]:
        """The unpacked bytes."""
        return self.archive.open(self.member)
