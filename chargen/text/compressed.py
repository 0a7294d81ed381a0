"""Compressed files as the streams that they hold, and the files of a zip archive.

The format is recognised by the first bytes, not by the file's name. Nothing is unpacked to disk.
A bomb (a small file that unpacks to very much) is refused by what the archive says of its size, and
by what comes out of it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from chargen.errors import CorpusError, reason_of

ZIP_MARK = b"PK\x03\x04"
_EMPTY_ZIP_MARK = b"PK\x05\x06"
_MAX_RATIO = 100
"""How many times larger than the file its content may be. Prose reaches 5, tables and logs 50."""
_ALWAYS_ALLOWED_BYTES = 4 << 30
"""A content of this size is read whatever the ratio: a text that repeats itself is no attack."""
MAX_WHOLE_BYTES = 256 << 20
"""The largest file that is read whole, such as a page or a book."""
_BLOCK_BYTES = 1 << 20
_PACKED_BLOCK_BYTES = 1 << 14
"""Few, because a block of a bomb may unpack to thousands of times as many."""


@dataclass(frozen=True, kw_only=True)
class Compression:
    """A row of `COMPRESSIONS`."""

    name: str
    mark: bytes
    """How every file of the format begins."""
    suffixes: tuple[str, ...]
    open: Callable[[IO[bytes]], Any]
    """The content as a binary stream."""


def _open_zstandard(stream: IO[bytes]) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise CorpusError(f"zstandard: {MISSING_EXTRA}") from error
    return io.BufferedReader(_ZstandardFrames(stream, zstandard.ZstdDecompressor().decompressobj))


class _ZstandardFrames(io.RawIOBase):
    """Frames one after the other; the library's own reader takes a cut-off frame for a whole one.

    Args:
        stream: the compressed bytes.
        begin: makes what decompresses one frame.
    """

    def __init__(self, stream: IO[bytes], begin: Callable[[], Any]) -> None:
        super().__init__()
        self._stream, self._begin = stream, begin
        self._frame: Any = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer.

        Raises:
            EOFError: the last frame is cut off.
        """
        while not self._ready:
            self._packed = self._packed or self._stream.read(_PACKED_BLOCK_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the last frame is cut off")
                return 0
            self._frame = self._frame or self._begin()
            self._ready, self._packed = self._frame.decompress(self._packed), b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


MISSING_EXTRA = "reading this needs the extra packages: pip install 'chargen[documents]'"
COMPRESSIONS = (
    Compression(name="gzip", mark=b"\x1f\x8b", suffixes=(".gz", ".gzip"), open=gzip.open),
    Compression(name="bzip2", mark=b"BZh", suffixes=(".bz2",), open=bz2.open),
    Compression(name="xz", mark=b"\xfd7zXZ\x00", suffixes=(".xz",), open=lzma.open),
    Compression(
        name="zstandard", mark=b"\x28\xb5\x2f\xfd", suffixes=(".zst", ".zstd"), open=_open_zstandard
    ),
)
"""The formats in which one file is compressed."""
ARCHIVE_SUFFIXES = frozenset({".zip", *(s for row in COMPRESSIONS for s in row.suffixes)})


def find_compression(head: bytes) -> Compression | None:
    """The format of a file that begins with these bytes; None if it is not compressed."""
    for row in COMPRESSIONS:
        if head.startswith(row.mark) and (row.name != "bzip2" or head[4:10] in _BZIP2_BLOCKS):
            return row
    return None


_BZIP2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
"""What follows the mark and the block size: the first block, or the end of an empty file."""


def is_zip(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a zip archive."""
    return head.startswith((ZIP_MARK, _EMPTY_ZIP_MARK))


def inner_name(name: str) -> str:
    """The name of what a compressed file holds: its own without the last ending."""
    for row in COMPRESSIONS:
        for suffix in row.suffixes:
            if name.lower().endswith(suffix) and len(name) > len(suffix):
                return name[: -len(suffix)]
    return name


class Limited(io.RawIOBase):
    """A stream of decompressed bytes that refuses a bomb, and names what is wrong.

    Args:
        stream: the decompressed content.
        name: how messages call it.
        kind: its format, for messages.
        limit: the most bytes that may come out.
    """

    def __init__(self, stream: Any, name: str, kind: str, limit: int) -> None:
        super().__init__()
        self._stream, self._name, self._kind, self._limit = stream, name, kind, limit
        self._bytes = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer.

        Raises:
            CorpusError: the content is damaged, cut off, or larger than the limit.
        """
        try:
            data = self._stream.read(len(buffer))
        except (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, OSError) as error:
            raise damaged(self._name, self._kind, error) from error
        except Exception as error:  # zstandard's own
            if type(error).__module__.partition(".")[0] != "zstandard":
                raise
            raise damaged(self._name, self._kind, error) from error
        self._bytes += len(data)
        if self._bytes > self._limit:
            raise too_large(self._name, self._kind, self._limit)
        buffer[: len(data)] = data
        return len(data)


def damaged(name: str, kind: str, error: BaseException) -> CorpusError:
    """One line about an archive that cannot be read to its end."""
    cut = isinstance(error, EOFError) or "end-of-stream" in str(error) or "truncat" in str(error)
    if cut:
        return CorpusError(f"{name}: this {kind} file is cut off; copy or download it again")
    return CorpusError(
        f"{name}: this {kind} file is damaged ({reason_of(error)}); copy or download it again"
    )


def too_large(name: str, kind: str, limit: int) -> CorpusError:
    """One line about an archive that unpacks to far more than a text would."""
    return CorpusError(
        f"{name}: this {kind} file unpacks to more than {limit:,} bytes, which no text of its size "
        "does; if you trust it, unpack it and give what comes out"
    )


def output_limit(packed_bytes: int) -> int:
    """The most bytes that a compressed file of this size may hold."""
    return max(_ALWAYS_ALLOWED_BYTES, _MAX_RATIO * packed_bytes)


@contextmanager
def decompressed(stream: IO[bytes], row: Compression, name: str, size: int) -> Iterator[IO[bytes]]:
    """The content of a compressed stream.

    Args:
        stream: the compressed bytes.
        row: their format.
        name: how messages call them.
        size: how many they are.

    Raises:
        CorpusError: the content is damaged, cut off or a bomb (while it is read), or a package is
            missing.
    """
    try:
        opened = row.open(stream)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise damaged(name, row.name, error) from error
    with opened:
        limited = Limited(opened, name, row.name, output_limit(size))
        yield io.BufferedReader(limited, _BLOCK_BYTES)


def read_whole(stream: IO[bytes], name: str, kind: str) -> bytes:
    """All bytes of a stream that must be read at once.

    Raises:
        CorpusError: it is larger than `MAX_WHOLE_BYTES`.
    """
    data = stream.read(MAX_WHOLE_BYTES + 1)
    if len(data) > MAX_WHOLE_BYTES:
        raise CorpusError(
            f"{name}: larger than {MAX_WHOLE_BYTES >> 20} MB, the largest {kind} file that is "
            "read; divide it, or save it as text"
        )
    return data


class ZipFiles:
    """The files of a zip archive, in the order of the archive, each as a stream.

    Args:
        stream: the archive; seekable.
        name: how messages call it.
        limit: the most bytes that all files may have together.

    Raises:
        CorpusError: the archive is damaged, encrypted, or says that it holds more than `limit`.
    """

    def __init__(self, stream: IO[bytes], name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        try:
            self._archive = zipfile.ZipFile(stream)
            self._infos = [info for info in self._archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
            if isinstance(error, zipfile.BadZipFile) and "not a zip" in str(error):
                raise CorpusError(
                    f"{name}: this zip file is cut off; copy or download it again"
                ) from error
            raise damaged(name, "zip", error) from error
        if sum(info.file_size for info in self._infos) > limit:
            raise too_large(name, "zip", limit)

    @property
    def names(self) -> list[str]:
        """The names of the files, with folders, as the archive gives them."""
        return [info.filename for info in self._infos]

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The content of a file.

        Raises:
            CorpusError: it is missing, encrypted, damaged, or a bomb.
        """
        shown = f"{self._name}/{name}"
        try:
            info = self._archive.getinfo(name)
        except KeyError as error:
            raise CorpusError(f"{self._name}: there is no {name} in it; is it damaged?") from error
        if info.flag_bits & 1:
            raise CorpusError(f"{shown}: encrypted; unpack it with its password first")
        try:
            opened = self._archive.open(info)
        except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError) as error:
            raise damaged(shown, "zip", error) from error
        with opened:
            # zipfile stops at the size that the archive says, which was checked above.
            limited = Limited(opened, shown, "zip", self._limit)
            yield io.BufferedReader(limited, _BLOCK_BYTES)

    def read(self, name: str) -> bytes:
        """The content of a file that must be read at once."""
        with self.open(name) as stream:
            return read_whole(stream, f"{self._name}/{name}", "packed")
