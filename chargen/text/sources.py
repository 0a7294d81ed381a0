"""Sources of text: files, folders, standard input, named corpora, tables, the Hub.

Every source can be read several times, document by document and piece by piece. The recipes of
named corpora are in recipes.py, kinds of files in file_kinds.py, decoding in reader.py.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Protocol

from chargen.errors import CorpusError, UsageError, reason_of
from chargen.text.columns import TABLE_SUFFIXES
from chargen.text.compressed import ARCHIVE_SUFFIXES
from chargen.text.contents import FileContent
from chargen.text.convert import CONVERTERS
from chargen.text.file_kinds import read_documents
from chargen.text.folders import Folder
from chargen.text.hub import hub_documents
from chargen.text.many_files import read_many
from chargen.text.reader import TextDecoder, read_pieces
from chargen.text.reading import Document, Hasher, Reading
from chargen.text.recipes import Recipe, find_recipe, recipes

_MAX_SPOOL_MEMORY_BYTES = 1 << 26
"""A longer pipe is kept in a temporary file."""
_COPIED_BLOCK_BYTES = 1 << 20


class Source(Protocol):
    """One CORPUS argument of the command line."""

    @property
    def name(self) -> str:
        """What messages and the model's card call it."""

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Document]:
        """The documents; `hasher` is updated with the raw content, `reading` gets the notes."""

    def size(self) -> int | None:
        """Bytes of raw content; None if they are unknown before it is read."""


@dataclass(frozen=True)
class FileSource:
    """One file: a text, a table, an archive, or a document of another program."""

    path: Path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return _last_part(self.path)

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Document]:
        """One for a text, one per row of a table, and so on; see file_kinds.py."""
        content = FileContent(path=self.path, shown=self.name)
        return read_documents(content, reading, hasher)

    def size(self) -> int | None:
        """Bytes of a text; unknown for other files, whose text is not all that they hold."""
        return self.path.stat().st_size if is_plain_name(self.path) else None


@dataclass(frozen=True)
class FolderSource:
    """All files below a folder, in natural order."""

    path: Path
    folder: Folder = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Prepares the walk."""
        object.__setattr__(self, "folder", Folder(self.path))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return _last_part(self.path)

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Document]:
        """Those of each file; files that cannot be read are skipped and noted.

        Raises:
            CorpusError: the folder has no file that can be read.
        """
        contents = (
            FileContent(path=path, shown=f"{self.name}/{shown}")
            for shown, path in self.folder.files(reading)
        )
        return read_many(
            contents,
            str(self.path),
            reading,
            hasher,
            read_documents,
            lambda: self.folder.problems,
        )

    def size(self) -> int | None:
        """Bytes of all files; unknown if some are no plain texts."""
        paths = [path for _, path in Folder(self.path).files(Reading())]
        if not all(map(is_plain_name, paths)):
            return None
        return sum(path.stat().st_size for path in paths)


class PipeSource:
    """Standard input or another pipe.

    A pipe can be read only once. Its content is kept to be read again: in memory, or in an unnamed
    temporary file if it is large.
    """

    def __init__(self, name: str = "-", stream: IO[bytes] | None = None) -> None:
        self.name = name
        self._stream = stream
        self._spool: IO[bytes] | None = None

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Document]:
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
                if not reading.raw:  # before an endless pipe of no text fills the disk
                    TextDecoder(shown, reading).decode(head)
                self._spool.write(head)
                shutil.copyfileobj(stream, self._spool, _COPIED_BLOCK_BYTES)
        self._spool.seek(0)
        yield Document(pieces=read_pieces(self._spool, shown, reading, hasher))

    def size(self) -> None:
        """Unknown: a pipe may have no end."""

    def _open(self) -> AbstractContextManager[IO[bytes]]:
        if self._stream is not None:
            return nullcontext(self._stream)
        if self.name != "-":
            return open(self.name, "rb")
        if sys.stdin is None or getattr(sys.stdin, "closed", False):
            raise UsageError("'-' (standard input): it is closed; give a file instead")
        return nullcontext(sys.stdin.buffer)


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hugging Face Hub, streamed: hf:DATASET[:CONFIG[:COLUMN]]."""

    spec: str

    @property
    def name(self) -> str:
        """`hf:` and the data set."""
        return f"hf:{self.spec}"

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Document]:
        """One document per row."""
        dataset, _, rest = self.spec.partition(":")
        config, _, column = rest.partition(":")
        if column:
            reading = replace(reading, column=column)
        return hub_documents(self.name, dataset, reading, hasher, config=config or None)

    def size(self) -> None:
        """Unknown: the text is one column of several."""


@dataclass(frozen=True)
class RecipeSource:
    """builtin:NAME."""

    recipe: Recipe

    @property
    def name(self) -> str:
        """`builtin:` and the recipe's name."""
        return f"builtin:{self.recipe.name}"

    def documents(self, reading: Reading, hasher: Hasher) -> Iterator[Document]:
        """The documents of the recipe; says so if they are not the text that the recipe means."""
        own = hashlib.sha256()
        yield from self.recipe.documents(reading, _Both(hasher, own))
        if self.recipe.sha256 not in (None, own.hexdigest()):
            reading.note(
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
    return FileSource(path)


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


def is_plain_name(path: Path) -> bool:
    """Whether a file is a plain text by its ending, so that its size is that of its text."""
    suffix = path.suffix.lower()
    return suffix not in TABLE_SUFFIXES | ARCHIVE_SUFFIXES | CONVERTERS.keys()
