"""A corpus: sources of text, read as one, as often as needed and never whole.

It knows nothing of tokens. What a source is lies in sources.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chargen.text.reader import Hasher, Reading
from chargen.text.sources import Source, find_source

DOCUMENT_MODES = ("whole", "files", "lines")

Watcher = Callable[[str, int, int | None], None]
"""Is told what is being done to a corpus, with how many bytes of it, and of how many: None where
nobody knows. When both are the same, it is over."""


def unwatched(doing: str, done: int, of: int | None) -> None:
    """A pass that nobody looks at."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a source was when it was read: goes into the model's card."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Sources, how to read them, and how to divide them into documents."""

    sources: Sequence[Source]
    documents: str = "whole"
    """`whole`: one long text; `files`: a document a file or row; `lines`: a document a line."""
    reading: Reading = field(default_factory=Reading)
    fingerprints: list[Fingerprint] = field(default_factory=list, compare=False)
    """One a source, set by each complete pass of `pieces`."""
    watcher: Watcher = field(default=unwatched, compare=False)

    def pieces(self, doing: str = "reading") -> Iterator[str | bytes | None]:
        """Read everything once: chunks of text (or bytes), None after each document of `files`.

        Files of a `whole` corpus are joined by a line end where the first lacks one.

        Args:
            doing: what for, in a word, for the watcher.

        Raises:
            CorpusError, NetworkError: a source cannot be read.
        """
        found: list[Fingerprint] = []
        newline: str | bytes = b"\n" if self.reading.as_bytes else "\n"
        last: str | bytes = newline
        before, size = 0, self._size()
        for source in self.sources:
            hasher = hashlib.sha256()
            count = _Counter(hasher, before, lambda done: self.watcher(doing, done, size))
            for document in source.documents(self.reading, count):
                empty = True
                for piece in document:
                    if empty and self.documents != "files" and last[-1:] != newline:
                        yield newline
                    empty = False
                    last = piece
                    yield piece
                if self.documents == "files" and not empty:
                    yield None
            found.append(
                Fingerprint(name=source.name, bytes=count.bytes, sha256=hasher.hexdigest())
            )
            before += count.bytes
        self.watcher(doing, before, before)
        self.fingerprints[:] = found

    def _size(self) -> int | None:
        if self.watcher is unwatched:
            return None
        try:
            sizes = [source.size() for source in self.sources]
        except OSError:
            return None
        return None if None in sizes else sum(one for one in sizes if one)

    def notes(self) -> list[str]:
        """What a person should know about the last pass, such as skipped files."""
        return [note for source in self.sources for note in getattr(source, "notes", ())]


class _Counter:
    """A hash that also counts what went into it, and tells."""

    def __init__(self, hasher: Hasher, before: int, tell: Callable[[int], None]) -> None:
        self._hasher = hasher
        self._before = before
        self._tell = tell
        self.bytes = 0

    def update(self, data: bytes, /) -> None:
        self._hasher.update(data)
        self.bytes += len(data)
        self._tell(self._before + self.bytes)


def open_corpus(
    names: Sequence[str],
    *,
    documents: str = "whole",
    reading: Reading | None = None,
    watcher: Watcher = unwatched,
) -> Corpus:
    """The corpus that the CORPUS arguments name; none at all is the default recipe.

    Raises:
        CorpusError: a name is neither a file, a folder, nor anything else that is known.
    """
    assert documents in DOCUMENT_MODES
    chosen = list(names) or ["builtin:python-docs"]
    sources = [find_source(name) for name in chosen]
    return Corpus(
        sources=sources, documents=documents, reading=reading or Reading(), watcher=watcher
    )
