"""Where a passage stands: the file, and the line of the file as it is on disk.

The tokens of a corpus do not tell: documents may be lines, rows of tables or files, some of them
validate, and copies are left out. So the passage is looked for in the documents as the corpus gives
them, which know their places. Where it stands several times, what comes before and after it
decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from chargen.errors import ChargenError
from chargen.text.letters import LetterForm, Letters
from chargen.text.reading import Document
from chargen.text.sources import FileSource, FolderSource
from chargen.text.text_options import TextOptions

_SHORTEST_CHARACTERS = 24
"""A part of a passage that is looked for where the whole is not in one piece."""
_SHIFT_CHARACTERS = 8
_MAX_CONTEXT_CHARACTERS = 1000
"""Characters before and after a passage that tell equal passages apart."""
_MAX_PARTS = 12


def find_place(
    options: TextOptions,
    names: Sequence[str],
    passage: str,
    *,
    before: str = "",
    after: str = "",
) -> str | None:
    """FILE:LINE of a passage's beginning, or of the first part of it that stands in one piece.

    Args:
        options: how the corpus was read.
        names: CORPUS arguments; only files and folders are looked into.
        passage: the text.
        before: the text before it.
        after: the text after it.

    Returns:
        The place, and how many others are as good. None where the passage is not found: the file
        has changed, or the text came from elsewhere.
    """
    if not passage.strip():
        return None
    starts = range(0, len(passage) - _SHORTEST_CHARACTERS, _SHIFT_CHARACTERS)
    parts = [(passage, before, after)]
    for start in list(starts)[:_MAX_PARTS]:
        end = start + _SHORTEST_CHARACTERS
        parts.append((passage[start:end], before + passage[:start], passage[end:] + after))
    for part in parts:
        found = [place for name in names for place in _places(options, name, *part)]
        if found:
            best = max(score for score, _ in found)
            places = list(dict.fromkeys(place for score, place in found if score == best))
            return places[0] + (f" and {len(places) - 1:,} more" if len(places) > 1 else "")
    return None


def _places(
    options: TextOptions, name: str, part: str, before: str, after: str
) -> Iterator[tuple[int, str]]:
    """Each place of a part, and how many characters around it are those that are wanted."""
    # What was tidied away is there in the file; lines must be counted as they stand.
    letters = Letters(normalize=options.reading.letters.normalize)
    form = LetterForm(letters)
    with suppress(ChargenError, OSError):
        corpus = options.open([name])
        (source,) = corpus.sources
        if not isinstance(source, FileSource | FolderSource):
            return
        reading = replace(options.reading, letters=letters, as_bytes=False)
        for document in source.documents(reading, _Unhashed()):
            pieces = (piece for piece in document.pieces if isinstance(piece, str))
            yield from _in_document(document, form.read(pieces), part, before, after)


def _in_document(
    document: Document, pieces: Iterator[str], part: str, before: str, after: str
) -> Iterator[tuple[int, str]]:
    if document.place is None:
        return
    text, lines = "", 0
    kept = _MAX_CONTEXT_CHARACTERS + len(part)
    searched = 0
    ended = False
    while not ended:
        piece = next(pieces, None)
        ended = piece is None
        text += piece or ""
        # What comes after a passage must be there too, so the last characters wait.
        limit = len(text) if ended else len(text) - kept
        while (at := text.find(part, searched)) >= 0 and at < limit:
            score = _common_end(text[:at], before) + _common_start(text[at + len(part) :], after)
            yield score, document.place.at(lines + text.count("\n", 0, at))
            searched = at + 1
        searched = max(searched, limit)
        cut = max(0, searched - _MAX_CONTEXT_CHARACTERS)
        lines += text.count("\n", 0, cut)
        text, searched = text[cut:], searched - cut


def _common_start(first: str, second: str) -> int:
    count = 0
    for left, right in zip(first[:_MAX_CONTEXT_CHARACTERS], second, strict=False):
        if left != right:
            break
        count += 1
    return count


def _common_end(first: str, second: str) -> int:
    return _common_start(first[-_MAX_CONTEXT_CHARACTERS:][::-1], second[::-1])


class _Unhashed:
    """Takes the place of a hash where none is needed."""

    def update(self, data: bytes, /) -> None:
        """Does nothing."""
