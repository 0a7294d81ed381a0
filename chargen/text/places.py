"""Where a passage stands: the file, and the line of the file as it is on disk.

The tokens of a corpus do not tell: documents may be lines, rows of tables or files, some of them
validate, and copies are left out. So the passage is looked for in the files themselves. A .csv or
.jsonl file counts its own lines, also those within quotes; rows of other tables have no lines.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from chargen.errors import ChargenError
from chargen.text.reader import Reading, read_lines, read_pieces, recognise_encoding
from chargen.text.sources import walk_files

_SHORTEST_CHARACTERS = 24
"""A part of a passage that is looked for where the whole is not in one piece."""
_SHIFT_CHARACTERS = 8
_HEAD_BYTES = 1 << 16

Text = tuple[int, str]
"""The number of a line, from 1, and the text that begins there."""


def find_place(names: Sequence[str], encoding: str | None, passage: str) -> str | None:
    """FILE:LINE of a passage's beginning, or of the first part of it that stands in one piece.

    Args:
        names: CORPUS arguments; only files and folders are looked into.
        encoding: that of the files, as for `Reading`.
        passage: the text.

    Returns:
        None where it is not found: the file has changed, or the text came from elsewhere.
    """
    parts = [passage] if passage.strip() else []
    for start in range(0, len(passage) - _SHORTEST_CHARACTERS, _SHIFT_CHARACTERS):
        parts.append(passage[start : start + _SHORTEST_CHARACTERS])
    for part in parts:
        for name, path in _files(names):
            with suppress(ChargenError, OSError, ValueError, csv.Error):
                line = _find_line(path, encoding, part)
                if line is not None:
                    return f"{name}:{line}"
    return None


def _files(names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Each file, and how it is called: by its name, or by its path from the folder on."""
    for name in names:
        path = Path(name)
        if path.is_dir():
            for inner in walk_files(path):
                yield f"{path.name}/{inner.relative_to(path).as_posix()}", inner
        elif path.is_file():
            yield path.name, path


def _find_line(path: Path, encoding: str | None, part: str) -> int | None:
    texts = _READERS.get(path.suffix.lower(), _plain_texts)
    held, held_line = "", 1
    for line, text in texts(path, encoding):
        # Plain text comes in pieces; a passage may begin in one and end in the next.
        joins = texts is _plain_texts
        if joins:
            text, line = held + text, held_line
        at = text.find(part)
        if at >= 0:
            # A row of .jsonl is one line, whatever its text holds.
            return line + (0 if texts is _jsonl_texts else text.count("\n", 0, at))
        if joins:
            cut = max(0, len(text) - len(part))
            held, held_line = text[cut:], line + text.count("\n", 0, cut)
    return None


def _plain_texts(path: Path, encoding: str | None) -> Iterator[Text]:
    with path.open("rb") as stream:
        for piece in read_pieces(stream, str(path), Reading(encoding=encoding), _Unhashed()):
            assert isinstance(piece, str)
            yield 1, piece


def _csv_texts(path: Path, encoding: str | None) -> Iterator[Text]:
    with path.open("rb") as stream:
        codec = encoding or recognise_encoding(stream.read(_HEAD_BYTES), str(path))
        stream.seek(0)
        reader = csv.reader(io.TextIOWrapper(stream, codec, newline=""))
        before = 0
        for fields in reader:
            # The fields before it may hold lines of the row too.
            for number, field in enumerate(fields):
                above = sum(earlier.count("\n") for earlier in fields[:number])
                yield before + 1 + above, field.replace("\r\n", "\n")
            before = reader.line_num


def _jsonl_texts(path: Path, encoding: str | None) -> Iterator[Text]:
    with path.open("rb") as stream:
        lines = read_lines(stream, str(path), Reading(encoding=encoding), in_table=True)
        for number, line in enumerate(lines, 1):
            for text in _strings(json.loads(line)) if line.strip() else ():
                yield number, text.replace("\r\n", "\n")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


class _Unhashed:
    """Takes the place of a hash where none is needed."""

    def update(self, data: bytes, /) -> None:
        """Does nothing."""


_READERS = {".csv": _csv_texts, ".jsonl": _jsonl_texts}
