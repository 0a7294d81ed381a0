"""A corpus: several sources of text, read as one text, any number of times and never whole.

This file does not know tokens. The kinds of sources are in sources.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chargen.text.division import DIVIDING_MODES, divided
from chargen.text.reader import Hasher, Reading
from chargen.text.sources import Source, find_source

DOCUMENT_MODES = ("whole", "files", "lines", "paragraphs", "separator")

_JOINED = ("whole", "lines")
"""Modes in which a line end is put between two files where the first lacks one."""

Watcher = Callable[[str, int, int | None], None]
"""Called during a pass over a corpus with what is done, the bytes done, and the bytes in all (None
if unknown). The pass is over when both numbers are equal."""


def unwatched(doing: str, done: int, of: int | None) -> None:
    """A watcher that ignores every call."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Name, size and hash of a source as it was read; the card of a model has them."""

    name: str
    bytes: int
    sha256: str
    boundaries: str | None = None
    """SHA-256 of the lengths of its documents: the same bytes in three files are another text than
    in one. Empty for one document; None in the cards of older versions, which do not tell."""

    def is_same_text(self, other: Fingerprint) -> bool:
        """Whether two sources held the same documents, as far as both tell."""
        known = None not in (self.boundaries, other.boundaries)
        return self.sha256 == other.sha256 and (not known or self.boundaries == other.boundaries)


Fingerprints = tuple[Fingerprint, ...]
"""The fingerprint of each source of a corpus, in order."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Sources, how to read them, and how to divide them into documents."""

    sources: Sequence[Source]
    documents: str = "whole"
    """`whole`: one long text; `files`: one document per file or row; `lines`: one per line;
    `paragraphs`: divided by empty lines; `separator`: by lines that are exactly `separator`."""
    separator: str | None = None
    reading: Reading = field(default_factory=Reading)
    watcher: Watcher = field(default=unwatched, compare=False)

    @property
    def name(self) -> str:
        """The names of all sources, for messages."""
        return ", ".join(source.name for source in self.sources)

    def pieces(self, doing: str = "reading") -> CorpusPass:
        """Starts to read the corpus from its beginning.

        Args:
            doing: what the pass is for, in a word, for the watcher.
        """
        return CorpusPass(self, doing)

    def fingerprints(self) -> Fingerprints:
        """Reads the whole corpus once and returns its fingerprints.

        Raises:
            CorpusError, NetworkError: a source cannot be read.
        """
        reading = self.pieces()
        for _ in reading:
            pass
        return reading.fingerprints

    def total_bytes(self) -> int | None:
        """Bytes of all sources; None if a source does not know its size before it is read."""
        try:
            sizes = [source.size() for source in self.sources]
        except OSError:
            return None
        known_sizes = [size for size in sizes if size is not None]
        return sum(known_sizes) if len(known_sizes) == len(sizes) else None

    def notes(self) -> list[str]:
        """What a person should know about the last pass, such as skipped files."""
        return [note for source in self.sources for note in getattr(source, "notes", ())]


class CorpusPass:
    """One pass over a corpus: an iterator of pieces that also computes the fingerprints.

    Its items are chunks of text (or bytes), and None after each document, but for `whole` and
    `lines`: there the tokenizer's line ends divide. Files of a
    `whole` corpus are joined by a line end where the first lacks one. Iteration raises CorpusError
    or NetworkError if a source cannot be read.
    """

    def __init__(self, corpus: Corpus, doing: str) -> None:
        self._corpus = corpus
        self._doing = doing
        self._fingerprints: Fingerprints | None = None
        self._pieces = self._read()

    def __iter__(self) -> Iterator[str | bytes | None]:
        return self

    def __next__(self) -> str | bytes | None:
        return next(self._pieces)

    @property
    def fingerprints(self) -> Fingerprints:
        """The fingerprints of what was read; available only after the last piece."""
        assert self._fingerprints is not None, "the corpus is not read to its end"
        return self._fingerprints

    def _read(self) -> Iterator[str | bytes | None]:
        corpus = self._corpus
        fingerprints: list[Fingerprint] = []
        divides = corpus.documents in DIVIDING_MODES
        newline: str | bytes = b"\n" if corpus.reading.as_bytes else "\n"
        last: str | bytes = newline
        done = 0
        total = None if corpus.watcher is unwatched else corpus.total_bytes()
        for source in corpus.sources:
            hasher = _CountingHasher(
                done, lambda bytes_done: corpus.watcher(self._doing, bytes_done, total)
            )
            for document in source.documents(corpus.reading, hasher):
                empty = True
                pieces: Iterator[str | bytes | None] = document
                if divides:
                    pieces = divided(document, corpus.separator)
                for piece in pieces:
                    if piece is None:
                        yield None
                        continue
                    if empty and corpus.documents in _JOINED and last[-1:] != newline:
                        yield newline
                    empty = False
                    last = piece
                    yield piece
                if corpus.documents == "files" and not empty:
                    yield None
                if not empty:
                    hasher.end_document()
            fingerprints.append(
                Fingerprint(
                    name=source.name,
                    bytes=hasher.bytes,
                    sha256=hasher.hexdigest(),
                    boundaries=hasher.boundaries(),
                )
            )
            done += hasher.bytes
        corpus.watcher(self._doing, done, done)
        self._fingerprints = tuple(fingerprints)


class _CountingHasher(Hasher):
    """SHA-256 of a source that also counts the bytes and reports them."""

    def __init__(self, bytes_before: int, report: Callable[[int], None]) -> None:
        self._hash = hashlib.sha256()
        self._bytes_before = bytes_before
        self._report = report
        self.bytes = 0
        self._lengths = hashlib.sha256()
        self._document_start = 0
        self._documents = 0

    def end_document(self) -> None:
        """What was read since the last call is one document."""
        self._lengths.update((self.bytes - self._document_start).to_bytes(8, "little"))
        self._document_start = self.bytes
        self._documents += 1

    def boundaries(self) -> str:
        """See `Fingerprint`."""
        return self._lengths.hexdigest() if self._documents > 1 else ""

    def update(self, data: bytes, /) -> None:
        self._hash.update(data)
        self.bytes += len(data)
        self._report(self._bytes_before + self.bytes)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def open_corpus(
    names: Sequence[str],
    *,
    documents: str = "whole",
    separator: str | None = None,
    reading: Reading | None = None,
    watcher: Watcher = unwatched,
) -> Corpus:
    """The corpus that the CORPUS arguments name; without any, the default recipe.

    Raises:
        CorpusError: a name is neither a file, a folder, nor another kind of source.
    """
    assert documents in DOCUMENT_MODES
    sources = [find_source(name) for name in list(names) or ["builtin:python-docs"]]
    return Corpus(
        sources=sources,
        documents=documents,
        separator=separator,
        reading=reading or Reading(),
        watcher=watcher,
    )
