"""Sources of text: files, folders, standard input, named corpora, tables, the Hub.

Every source can be read several times, document by document and piece by piece. The recipes of
named corpora are in recipes.py, rows of tables in tables.py, decoding in reader.py.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from chargen.errors import CorpusError, reason_of
from chargen.text import tables
from chargen.text.growing import open_as_begun
from chargen.text.reader import Hasher, Pieces, Reading, check_text, check_text_file, read_pieces
from chargen.text.recipes import Recipe, find_recipe, recipes

_MAX_SPOOL_MEMORY_BYTES = 1 << 26
"""A longer pipe is kept in a temporary file."""
_COPIED_BLOCK_BYTES = 1 << 20


class Source(Protocol):
    """One CORPUS argument of the command line."""

    @property
    def name(self) -> str:
        """What messages and the model's card call it."""

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """The pieces of each document; `hasher` is updated with the raw content."""

    def size(self) -> int | None:
        """Bytes of raw content; None if they are unknown before it is read."""


@dataclass(frozen=True)
class FileSource:
    """One text file."""

    path: Path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return _last_part(self.path)

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document."""
        yield _file_pieces(self.path, reading, hasher)

    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size


@dataclass(frozen=True)
class FolderSource:
    """All text files below a folder, in the order of their paths."""

    path: Path
    notes: list[str] = field(default_factory=list, compare=False)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return _last_part(self.path)

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document per file; files that are not text are skipped and noted.

        A folder with only tables of one kind is one table in shards: one document per row.

        Raises:
            CorpusError: the folder has no text file.
        """
        kinds = {path.suffix.lower() for path in walk_files(self.path)}
        if len(kinds) == 1 and kinds <= tables.TABLE_SUFFIXES:
            notes: list[str] = []
            for shard in walk_files(self.path):
                table = TableSource(shard)
                yield from table.documents(reading, hasher)
                notes += table.notes
            self.notes[:] = notes
            return
        skipped: list[str] = []
        read = 0
        for path in walk_files(self.path):
            problem = check_text_file(path, reading)
            if problem:
                skipped.append(f"{path.relative_to(self.path)} ({problem})")
                continue
            read += 1
            yield _file_pieces(path, reading, hasher)
        self.notes.clear()
        if skipped:
            more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
            self.notes.append(
                f"{self.path}: skipped {len(skipped)} of {read + len(skipped)} files: "
                f"{', '.join(skipped[:3])}{more}"
            )
        if not read:
            raise CorpusError(f"{self.path}: no text file in this folder; name another one")

    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in walk_files(self.path))


class PipeSource:
    """Standard input or another pipe.

    A pipe can be read only once. Its content is kept to be read again: in memory, or in an unnamed
    temporary file if it is large.
    """

    def __init__(self, name: str = "-", stream: IO[bytes] | None = None) -> None:
        self.name = name
        self._stream = stream
        self._spool: IO[bytes] | None = None

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document."""
        shown = "standard input" if self.name == "-" else self.name
        if self._spool is None:
            # Stays open to be read again; is closed, and so removed, with this object.
            self._spool = tempfile.SpooledTemporaryFile(  # noqa: SIM115
                max_size=_MAX_SPOOL_MEMORY_BYTES
            )
            weakref.finalize(self, self._spool.close)
            with self._open() as stream:
                head = stream.read(_COPIED_BLOCK_BYTES)
                check_text(head, shown, reading)  # before an endless pipe fills the disk
                self._spool.write(head)
                shutil.copyfileobj(stream, self._spool, _COPIED_BLOCK_BYTES)
        self._spool.seek(0)
        yield read_pieces(self._spool, shown, reading, hasher)

    def size(self) -> None:
        """Unknown: a pipe may have no end."""

    def _open(self) -> AbstractContextManager[IO[bytes]]:
        if self._stream is not None:
            return nullcontext(self._stream)
        return nullcontext(sys.stdin.buffer) if self.name == "-" else open(self.name, "rb")


@dataclass(frozen=True)
class TableSource:
    """A local .jsonl, .csv or .parquet file: one document per row."""

    path: Path
    notes: list[str] = field(default_factory=list, compare=False)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return _last_part(self.path)

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document per row."""
        rows = tables.local_rows(self.path, reading, self.notes)
        return tables.documents(rows, reading, hasher)

    def size(self) -> None:
        """Unknown: the text is one column of several, and may be compressed."""


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hugging Face Hub, streamed: hf:DATASET[:CONFIG[:COLUMN]]."""

    spec: str

    @property
    def name(self) -> str:
        """`hf:` and the data set."""
        return f"hf:{self.spec}"

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document per row."""
        dataset, _, rest = self.spec.partition(":")
        config, _, column = rest.partition(":")
        rows = tables.hub_rows(
            self.name, dataset, config=config or None, column=column or reading.column
        )
        return tables.documents(rows, reading, hasher)

    def size(self) -> None:
        """Unknown: the text is one column of several."""


@dataclass(frozen=True)
class RecipeSource:
    """builtin:NAME."""

    recipe: Recipe
    notes: list[str] = field(default_factory=list, compare=False)

    @property
    def name(self) -> str:
        """`builtin:` and the recipe's name."""
        return f"builtin:{self.recipe.name}"

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """The documents of the recipe; says so if they are not the text that the recipe means."""
        own = hashlib.sha256()
        yield from self.recipe.documents(reading, _Both(hasher, own))
        self.notes.clear()
        if self.recipe.sha256 not in (None, own.hexdigest()):
            self.notes.append(
                f"{self.name}: not the text that others measure on: its SHA-256 is "
                f"{own.hexdigest()[:12]}…, not {str(self.recipe.sha256)[:12]}…"
            )

    def size(self) -> None:
        """Unknown: only reading finds the text of a recipe."""


class _Both(Hasher):
    """Two hashes that are updated alike."""

    def __init__(self, first: Hasher, second: Hasher) -> None:
        self._hashers = first, second

    def update(self, data: bytes, /) -> None:
        for hasher in self._hashers:
            hasher.update(data)


def find_source(name: str) -> Source:
    """The source that a CORPUS argument names.

    Raises:
        CorpusError: it is neither a file, a folder, nor another kind of source.
    """
    if name == "-":
        return PipeSource()
    if not name:
        raise CorpusError("'' is not a corpus: give a file, a folder, '-' or builtin:NAME")
    if name.startswith("builtin:"):
        return RecipeSource(find_recipe(name.removeprefix("builtin:")))
    if name.startswith("hf:"):
        return HubSource(name.removeprefix("hf:"))
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise CorpusError(_describe_missing(name, path)) from None
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise CorpusError(f"{name}: cannot be read ({reason})") from error
    if stat.S_ISDIR(mode):
        return FolderSource(path)
    if stat.S_ISFIFO(mode):
        return PipeSource(name)
    if not stat.S_ISREG(mode):
        raise CorpusError(f"{name}: a device, not a file or a folder; give one of these")
    return TableSource(path) if path.suffix.lower() in tables.TABLE_SUFFIXES else FileSource(path)


def _last_part(path: Path) -> str:
    """The part of the path that goes into a model's card: the rest is private."""
    return path.name or path.resolve().name


def _describe_missing(name: str, path: Path) -> str:
    """One line about a file that does not exist, with the most similar name beside it."""
    import difflib

    if name in [recipe.name for recipe in recipes()]:
        return f"{name}: no such file or folder; the named corpus is builtin:{name}"
    try:
        beside = [other.name for other in path.parent.iterdir()]
    except OSError:
        return f"{name}: no such file, and no folder {path.parent}"
    similar = difflib.get_close_matches(path.name.lower(), sorted(beside), n=1, cutoff=0.6)
    hint = (
        f"did you mean '{similar[0]}'?"
        if similar
        else "give a path, '-' for standard input, builtin:NAME or hf:DATASET"
    )
    return f"{name}: no such file or folder: {hint}"


def walk_files(folder: Path) -> Iterator[Path]:
    """Files below `folder` in the order of their paths.

    Hidden files and folders are left out. Links to folders are not followed: they may be circular.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink():
                yield from walk_files(path)
        elif path.is_file():
            yield path


def _file_pieces(path: Path, reading: Reading, hasher: Hasher) -> Pieces:
    try:
        with open_as_begun(path, reading) as stream:
            yield from read_pieces(stream, str(path), reading, hasher)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror or error})") from error
