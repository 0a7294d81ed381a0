"""A corpus: several sources of text, read as one text, any number of times and never whole.

This file does not know tokens. The kinds of sources are in sources.py.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chargen.text.division import DIVIDING_MODES, divided
from chargen.text.letters import LetterForm, rare_replacements
from chargen.text.reading import Document, Hasher, Pieces, Reading
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
    _rare: dict[str, str] | None = field(default=None, init=False, compare=False, repr=False)

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
        return list(self.reading.notes)

    def key(self) -> dict[str, Any]:
        """What its tokens depend on beside its bytes and the tokenizer."""
        separator = {} if self.separator is None else {"separator": self.separator}
        return {"documents": self.documents, **separator, **self.reading.key()}

    def rare_characters(self) -> dict[str, str]:
        """What replaces each rare character; reads the corpus once if that was asked for."""
        below = self.reading.letters.rare_below
        if below and self._rare is None:
            counts: Counter[str] = Counter()
            for piece in CorpusPass(self, "counting characters", rare={}):
                if isinstance(piece, str):
                    counts.update(piece)
            object.__setattr__(self, "_rare", rare_replacements(counts, below))
        return self._rare or {}


@dataclass(frozen=True)
class Label:
    """An item of a pass: the label of the document that comes next."""

    name: str


Item = str | bytes | Label | None


class CorpusPass:
    """One pass over a corpus: an iterator of pieces that also computes the fingerprints.

    Its items are chunks of text (or bytes), `Label` before each document that has one, and None
    after each document, but for `whole` and for `lines` without labels: there the tokenizer's line
    ends divide. Files of a `whole` corpus are joined by a line end where the first lacks one.
    Iteration raises CorpusError or NetworkError if a source cannot be read.
    """

    def __init__(self, corpus: Corpus, doing: str, rare: dict[str, str] | None = None) -> None:
        self._corpus = corpus
        self._doing = doing
        self._rare = corpus.rare_characters() if rare is None else rare
        self._fingerprints: Fingerprints | None = None
        self.document: Document | None = None
        """The document that the last item came from."""
        corpus.reading.notes.clear()
        self._pieces = self._read()

    def __iter__(self) -> Iterator[Item]:
        return self

    def close(self) -> None:
        """Ends a pass before its end; files are closed at once."""
        self._pieces.close()

    def __next__(self) -> Item:
        return next(self._pieces)

    @property
    def fingerprints(self) -> Fingerprints:
        """The fingerprints of what was read; available only after the last piece."""
        assert self._fingerprints is not None, "the corpus is not read to its end"
        return self._fingerprints

    def _read(self) -> Generator[Item]:
        corpus = self._corpus
        reading = corpus.reading
        fingerprints: list[Fingerprint] = []
        form = LetterForm(reading.letters, self._rare)
        last: str | bytes = b"\n" if reading.raw else "\n"
        done = 0
        total = None if corpus.watcher is unwatched else corpus.total_bytes()
        for source in corpus.sources:
            hasher = _CountingHasher(
                done, lambda bytes_done: corpus.watcher(self._doing, bytes_done, total)
            )
            for document in source.documents(reading, hasher):
                self.document = document
                empty = True
                for piece in self._divided(document, form):
                    if piece and not isinstance(piece, Label):
                        joins = empty and corpus.documents in _JOINED
                        if joins and last[-1:] not in ("\n", b"\n"):
                            yield self._item(_line_end(piece))
                        empty = False
                        last = piece
                    yield self._item(piece)
                if not empty:
                    hasher.end_document(document.label)
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
        reading.notes.extend(form.notes())
        self._fingerprints = tuple(fingerprints)

    def _item(self, piece: Item) -> Item:
        """A piece as it is handed out: byte models get text in UTF-8."""
        if isinstance(piece, str) and self._corpus.reading.as_bytes:
            return piece.encode("utf-8", "surrogatepass")
        return piece

    def _divided(self, document: Document, form: LetterForm) -> Iterator[Item]:
        """The pieces of a document of a source, divided as the corpus says, with its label."""
        pieces: Pieces = document.pieces
        if form.changes:
            pieces = form.read(piece for piece in pieces if isinstance(piece, str))
        mode = self._corpus.documents
        items: Iterable[str | bytes | None] = pieces
        if mode in DIVIDING_MODES:
            items = divided(pieces, self._corpus.separator)
        elif mode == "lines" and document.label is not None:
            items = _each_line(pieces)
        elif mode == "files":
            items = _ended(pieces)
        if document.label is None:
            yield from items
            return
        begins = True
        for item in items:
            if begins and item:
                yield Label(document.label)
                begins = False
            yield item
            begins |= item is None


def _line_end(piece: str | bytes) -> Any:
    return "\n" if isinstance(piece, str) else b"\n"


def _ended(pieces: Pieces) -> Iterator[str | bytes | None]:
    """The pieces, and None at their end if there are any."""
    empty = True
    for piece in pieces:
        empty = empty and not piece
        yield piece
    if not empty:
        yield None


def _each_line(pieces: Pieces) -> Iterator[str | bytes | None]:
    """The lines that are not empty, without their ends, and None after each."""
    rest: Any = None
    for piece in pieces:
        rest = piece if rest is None else rest + piece
        end: Any = _line_end(rest)
        *lines, rest = rest.split(end)
        for line in lines:
            yield from _ended(iter((line,)))
    if rest is not None:
        yield from _ended(iter((rest,)))


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
        self._labelled = False

    def end_document(self, label: str | None) -> None:
        """What was read since the last call is one document."""
        self._lengths.update((self.bytes - self._document_start).to_bytes(8, "little"))
        if label is not None:
            self._lengths.update(label.encode("utf-8", "replace") + b"\0")
            self._labelled = True
        self._document_start = self.bytes
        self._documents += 1

    def boundaries(self) -> str:
        """See `Fingerprint`."""
        many = self._documents > 1 or self._labelled
        return self._lengths.hexdigest() if many else ""

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
