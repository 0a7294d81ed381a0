"""Several files as one text: what cannot be read is left out and named, and is no error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from chargen.errors import CorpusError, reason_of
from chargen.hints import any_of, ways
from chargen.text.columns import TABLE_SUFFIXES
from chargen.text.compressed import find_compression, is_zip
from chargen.text.contents import Content, suffix_by_mark
from chargen.text.convert import CONVERTERS
from chargen.text.encoding_guess import binary_kind
from chargen.text.reader import TextDecoder
from chargen.text.reading import Document, Hasher, Reading

_CHECKED_BYTES = 16 << 20
"""Bytes at the beginning of a file of a folder that must decode, or the file is skipped."""
_MAX_ZERO_SHARE = 0.01
"""A file of a folder with more zero bytes is no text, even if wrong bytes are replaced."""
_MAX_NAMED = 3
"""Skipped files that a line names."""
_MAX_NOTES = 10
"""Lines about the files of one folder."""

FileReader = Callable[[Content, Reading, Hasher], Iterator[Document]]


def read_many(
    contents: Iterable[Content],
    name: str,
    reading: Reading,
    hasher: Hasher,
    read_file: FileReader,
    problems: Callable[[], Iterable[str]] = tuple,
) -> Iterator[Document]:
    """The documents of several files; what cannot be read is left out and named.

    Args:
        contents: the files.
        name: what errors call all of them.
        reading: how they are read; gets the notes.
        hasher: is updated with what is read.
        read_file: reads one of them.
        problems: what else was left out, known after the last file.

    Raises:
        CorpusError: none can be read, or one turns out to be damaged after its first document.
    """
    skipped: list[str] = []
    read = 0
    notes_before = len(reading.notes)
    for content in contents:
        problem = _problem_of(content, reading)
        documents = read_file(content, reading, hasher)
        first = None
        if problem is None:
            try:
                first = next(documents, None)
            except CorpusError as error:
                problem = _short_reason(error, content.name)
        if problem is not None:
            skipped.append(f"{content.shown.partition('/')[2] or content.shown} ({problem})")
            continue
        read += 1
        if first is not None:
            yield first
            yield from documents
    is_misfit = not (read or skipped)
    skipped += problems()
    added = len(reading.notes) - notes_before
    if added > _MAX_NOTES:
        del reading.notes[notes_before + _MAX_NOTES :]
        reading.note(f"{name}: and {added - _MAX_NOTES:,} more lines about its files")
    if skipped and read:
        more = f" and {len(skipped) - _MAX_NAMED:,} more" if len(skipped) > _MAX_NAMED else ""
        reading.note(
            f"{name}: skipped {len(skipped)} of {read + len(skipped)} files: "
            f"{', '.join(skipped[:_MAX_NAMED])}{more}"
        )
    if not read:
        raise CorpusError(_describe_nothing(name, skipped, reading, is_misfit=is_misfit))


def _describe_nothing(name: str, skipped: list[str], reading: Reading, *, is_misfit: bool) -> str:
    if is_misfit and (reading.include or reading.exclude):
        patterns = ", ".join((*reading.include, *(f"not {name}" for name in reading.exclude)))
        change = any_of("--include", "--exclude")
        return f"{name}: no file of this folder fits {patterns}{ways(('change', change))}"
    more = f" and {len(skipped) - _MAX_NAMED:,} more" if len(skipped) > _MAX_NAMED else ""
    why = f" ({', '.join(skipped[:_MAX_NAMED])}{more})" if skipped else ""
    return f"{name}: no text file in this folder{why}; name another one"


def _short_reason(error: CorpusError, name: str) -> str:
    """The reason without the name of the file, which stands before it, and without advice."""
    return str(error).removeprefix(name).lstrip(": ").split(";")[0]


def _problem_of(content: Content, reading: Reading) -> str | None:
    """Why a file of a folder is no text that can be read; None if it is."""
    is_plain = content.suffix not in TABLE_SUFFIXES | CONVERTERS.keys() and not reading.chat
    if not is_plain or reading.raw:
        return None
    try:
        with content.open(reading) as stream:
            head = stream.read(_CHECKED_BYTES)
            is_whole = not stream.read(1)
    except OSError as error:
        return f"cannot be read: {reason_of(error)}"
    except CorpusError as error:
        return _short_reason(error, content.name)
    if find_compression(head) or is_zip(head) or suffix_by_mark(head):
        return None
    if binary_kind(head):
        return "binary"
    zeros = head.count(0)
    strict = reading.encoding_errors == "strict"
    try:
        decoder = TextDecoder(content.name, Reading(encoding=reading.encoding))
        decoder.decode(head)
        if is_whole and head:
            decoder.decode(b"")
    except CorpusError as error:
        is_binary = ": binary" in str(error)
        if not strict and not (is_binary and zeros > _MAX_ZERO_SHARE * len(head)):
            return None
        return "binary" if is_binary else str(error).split(": ", 1)[1].split(" (")[0].split(";")[0]
    return None
