"""How a person's texts are read, and what reading gives: documents, each with its place.

`Reading` holds every choice. Whoever reads a source (sources.py, file_kinds.py) hands out
`Document`s; corpus.py makes one stream of them.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from chargen.errors import CorpusError, UsageError, unknown_name
from chargen.hints import option, ways
from chargen.text.letters import Letters

Pieces = Iterator[str | bytes]
"""A text, piece by piece."""
ENCODING_ERRORS = ("strict", "replace", "skip")
"""What happens to bytes that are no text in the encoding: an error, U+FFFD for them, or nothing."""
LABEL_SOURCES = ("folder", "file", "column:NAME", "speaker")
"""What may give a document its label."""
AS_THEY_ARE = Letters()
AUTO = "auto"
"""The name that asks for a guess of the encoding."""


class Hasher(Protocol):
    """A hash of raw content that is updated while the content is read."""

    def update(self, data: bytes, /) -> None:
        """Adds the next bytes."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a document begins, as a person finds it again."""

    name: str
    """The file, by its name, or by its path from the named folder on."""
    line: int | None = None
    """The line, from 1; None where the file has no lines of text."""
    row: int | None = None
    """The row of a table that has no lines, from 1."""
    is_one_line: bool = False
    """Whether line ends inside the document are none in the file, as in a row of JSON."""

    def at(self, lines: int) -> str:
        """FILE:LINE of the passage that begins so many line ends into the document.

        >>> Place(name="a.txt", line=3).at(2), Place(name="a.parquet", row=7).at(2)
        ('a.txt:5', 'a.parquet, row 7')
        """
        if self.line is None:
            return self.name if self.row is None else f"{self.name}, row {self.row:,}"
        return f"{self.name}:{self.line + (0 if self.is_one_line else lines)}"


@dataclass(frozen=True, kw_only=True)
class Document:
    """One file, one row, one letter or one message: what a source hands out."""

    pieces: Pieces
    place: Place | None = None
    """None where nobody can look it up: in a pipe or on another machine."""
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How sources are read.

    Raises:
        UsageError: on construction, for a name that is unknown.
    """

    encoding: str | None = None
    """The name of a codec of Python; None recognises UTF-8 and byte order marks; `auto` guesses."""
    encoding_errors: str = "strict"
    """One of `ENCODING_ERRORS`."""
    column: str | None = None
    """The column of a table that holds the text, in JSON also a path: `messages.content`; None
    finds it."""
    delimiter: str | None = None
    """What divides the fields of a table of text; None finds it."""
    chat: bool = False
    """Whether exports of chats are read as `NAME: message`."""
    speaker: str | None = None
    """Of chats, whose messages alone are read, without the name."""
    label_from: str | None = None
    """What gives each document its label, as in `LABEL_SOURCES`."""
    include: tuple[str, ...] = ()
    """Patterns of the files of a folder that are read; none is all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the files of a folder that are not read."""
    letters: Letters = AS_THEY_ARE
    """The form of the letters, and what is cleaned."""
    as_bytes: bool = False
    """Give bytes (for byte models): those of the file, or the text in UTF-8 if an encoding is named
    or the text is changed."""
    sizes: dict[Path, int] = field(default_factory=dict, compare=False, repr=False)
    """How long each file was when it was first opened; what it grows by since is not read."""
    notes: list[str] = field(default_factory=list, compare=False, repr=False)
    """What a person should know about the last pass, such as skipped files."""

    def __post_init__(self) -> None:
        """Checks what can be checked before anything is read."""
        if self.encoding is not None and self.encoding != AUTO:
            try:
                is_text_encoding = codecs.lookup(self.encoding)._is_text_encoding
            except (LookupError, ValueError):
                is_text_encoding = False
            if not is_text_encoding:
                raise UsageError(
                    f"--encoding {self.encoding}: not an encoding that Python knows; "
                    "common ones: utf-8, cp1252, latin-1, gb18030, shift_jis, koi8-r; "
                    "auto guesses"
                )
        if self.encoding_errors not in ENCODING_ERRORS:
            raise UsageError(unknown_name("encoding-errors", self.encoding_errors, ENCODING_ERRORS))
        character = self.field_delimiter
        if character is not None and (len(character) != 1 or character in '"\r\n'):
            raise UsageError(f"delimiter {character!r}: must be one character, such as ; or tab")
        kind = (self.label_from or "file").partition(":")[0]
        if kind not in ("folder", "file", "speaker") and not self.label_column:
            raise UsageError(unknown_name("label-from", str(self.label_from), LABEL_SOURCES))
        if self.speaker is not None and not self.chat:
            raise UsageError(
                f"speaker {self.speaker!r}: only a chat has speakers"
                + ways(("add", option("--chat")))
            )
        if self.label_from == "speaker" and not self.chat:
            raise UsageError(
                "label-from speaker: only a chat has speakers" + ways(("add", option("--chat")))
            )

    @property
    def field_delimiter(self) -> str | None:
        """`delimiter` as a character: a tab can be named, because it is hard to type."""
        return {"tab": "\t", "\\t": "\t"}.get(self.delimiter or "", self.delimiter)

    @property
    def label_column(self) -> str | None:
        """The column of a table that gives the labels; None if none does."""
        kind, _, name = (self.label_from or "").partition(":")
        return name if kind == "column" and name else None

    @property
    def raw(self) -> bool:
        """Whether bytes are handed out as they are in the file."""
        changed = self.letters.changes or self.encoding_errors != "strict" or self.chat
        return self.as_bytes and self.encoding is None and not changed

    def note(self, line: str) -> None:
        """Keeps a line for the person, once."""
        if line not in self.notes:
            self.notes.append(line)

    def key(self) -> dict[str, Any]:
        """What the text depends on beside what is hashed, but for what is the default.

        The rows of tables, the messages of chats and the labels are hashed as they are read.
        """
        value: dict[str, Any] = {"encoding": self.encoding, **self.letters.key()}
        if self.encoding_errors != "strict":
            value["encoding_errors"] = self.encoding_errors
        return value


def unreadable(where: str, kind: str, reason: str) -> CorpusError:
    """One line about a content that is not what its name says."""
    return CorpusError(f"{where}: cannot be read as {kind}: {reason}")
