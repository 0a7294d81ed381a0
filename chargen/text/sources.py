"""Sources of text: files, folders, standard input, named corpora, tables, the Hub.

Each can be read several times, document by document and piece by piece. The recipes of named
corpora are in recipes.py, rows of tables in tables.py, reading and decoding in reading.py.
"""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from chargen.errors import CorpusError, unknown_name
from chargen.text import tables
from chargen.text.reader import Hasher, Pieces, Reading, check_text, check_text_file, read_pieces
from chargen.text.recipes import Recipe, find_recipe, recipes


class Source(Protocol):
    """One CORPUS of the command line."""

    @property
    def name(self) -> str:
        """As it was given on the command line."""

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """The pieces of each document; raw content also goes into `hasher`."""

    def size(self) -> int | None:
        """Bytes of raw content; None where only reading tells."""


@dataclass(frozen=True)
class FileSource:
    """One text file."""

    path: Path

    @property
    def name(self) -> str:
        """The last part of the path: a card travels, and the rest is nobody's business."""
        return self.path.name or str(self.path.resolve().name)

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
        """The last part of the path: a card travels, and the rest is nobody's business."""
        return self.path.name or str(self.path.resolve().name)

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document a file; files that are not text are skipped and noted.

        A folder of nothing but tables of one kind is one table in shards: a document a row.

        Raises:
            CorpusError: no text file is there.
        """
        kinds = {one.suffix.lower() for one in walk_files(self.path)}
        if len(kinds) == 1 and kinds <= tables.TABLE_SUFFIXES.keys():
            for shard in walk_files(self.path):
                yield from TableSource(shard, self.notes).documents(reading, hasher)
            return
        skipped: list[str] = []
        kept = 0
        for path in walk_files(self.path):
            problem = check_text_file(path, reading)
            if problem:
                skipped.append(f"{path.relative_to(self.path)} ({problem})")
                continue
            kept += 1
            yield _file_pieces(path, reading, hasher)
        self.notes.clear()
        if skipped:
            more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
            self.notes.append(
                f"{self.path}: skipped {len(skipped)} of {kept + len(skipped)} files: "
                f"{', '.join(skipped[:3])}{more}"
            )
        if not kept:
            raise CorpusError(f"{self.path}: no text file in this folder")

    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.stat().st_size for one in walk_files(self.path))


class PipeSource:
    """Standard input or another pipe: what can be read once, kept to be read again.

    In memory, or in an unnamed temporary file when it is large.
    """

    def __init__(self, name: str = "-", stream: IO[bytes] | None = None) -> None:
        self.name = name
        self._stream = stream
        self._spool: IO[bytes] | None = None

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document."""
        shown = "standard input" if self.name == "-" else self.name
        if self._spool is None:
            # Kept open to be read again; closed, and so removed, with this object.
            self._spool = tempfile.SpooledTemporaryFile(max_size=1 << 26)  # noqa: SIM115
            weakref.finalize(self, self._spool.close)
            with self._open() as stream:
                head = stream.read(1 << 20)
                check_text(head, shown, reading)  # before an endless pipe fills the disk
                self._spool.write(head)
                shutil.copyfileobj(stream, self._spool, 1 << 20)
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
    """A local .jsonl, .csv or .parquet file, read through `datasets`: a document a row."""

    path: Path
    notes: list[str] = field(default_factory=list, compare=False)

    @property
    def name(self) -> str:
        """The last part of the path: a card travels, and the rest is nobody's business."""
        return self.path.name or str(self.path.resolve().name)

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document a row."""
        rows = tables.local_rows(self.path, reading, self.notes)
        return tables.documents(rows, reading, hasher)

    def size(self) -> None:
        """Unknown: the text is one column among others, and perhaps compressed."""


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hugging Face Hub, streamed: hf:DATASET[:CONFIG[:COLUMN]]."""

    spec: str

    @property
    def name(self) -> str:
        """`hf:` and the data set."""
        return f"hf:{self.spec}"

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """One document a row."""
        dataset, _, rest = self.spec.partition(":")
        config, _, column = rest.partition(":")
        rows = tables.hub_rows(
            self.name, dataset, config=config or None, column=column or reading.column
        )
        return tables.documents(rows, reading, hasher)

    def size(self) -> None:
        """Unknown: the text is one column among others."""


@dataclass(frozen=True)
class RecipeSource:
    """builtin:NAME."""

    recipe: Recipe

    @property
    def name(self) -> str:
        """`builtin:` and the recipe's name."""
        return f"builtin:{self.recipe.name}"

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Pieces]:
        """What the recipe says."""
        return self.recipe.documents(reading, hasher)

    def size(self) -> None:
        """Unknown: the recipe finds its text."""


def find_source(name: str) -> Source:
    """What a CORPUS argument names.

    Raises:
        CorpusError: it is neither a file, a folder, nor anything else that is known.
    """
    if name == "-":
        return PipeSource()
    if not name:
        raise CorpusError("'' is no corpus: give a file, a folder, '-' or builtin:NAME")
    if name.startswith("builtin:"):
        return RecipeSource(find_recipe(name.removeprefix("builtin:")))
    if name.startswith("hf:"):
        return HubSource(name.removeprefix("hf:"))
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise CorpusError(_missing(name, path)) from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"{name}: cannot be read ({_reason(error)})") from error
    if stat.S_ISDIR(mode):
        return FolderSource(path)
    if stat.S_ISFIFO(mode):
        return PipeSource(name)
    if not stat.S_ISREG(mode):
        raise CorpusError(f"{name}: a device, not a file or a folder")
    return TableSource(path) if path.suffix.lower() in tables.TABLE_SUFFIXES else FileSource(path)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _missing(name: str, path: Path) -> str:
    known = [one.name for one in recipes()]
    if name in known:
        return f"{name}: no such file or folder; the named corpus is builtin:{name}"
    try:
        beside = [one.name for one in path.parent.iterdir()]
    except OSError:
        return f"{name}: no such file, and no folder {path.parent}"
    return f"{name}: no such file or folder: {_near(path.name, beside)}"


def _near(name: str, known: Sequence[str]) -> str:
    hint = unknown_name("file", name, known).partition("did you mean ")[2].partition("?")[0]
    if hint:
        return f"did you mean {hint}?"
    return "give a path, '-' for standard input, builtin:NAME or hf:DATASET"


def walk_files(folder: Path) -> Iterator[Path]:
    """Files below `folder` in the order of their paths.

    Hidden ones are left out, and links to folders are not followed, lest they lead in a circle.
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
        with path.open("rb") as stream:
            yield from read_pieces(stream, str(path), reading, hasher)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror or error})") from error
