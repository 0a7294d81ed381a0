"""What a corpus holds, without training: documents, characters, repeated lines, its bits.

One pass; the memory does not grow with the corpus, but for what is bounded below.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chargen.text.corpus import Corpus, Fingerprint, Label
from chargen.text.count_model import TailDifference, bits_per_character, tail_difference
from chargen.text.nearest import relative

_MAX_REMEMBERED_LINES = 2_000_000
_MAX_REMEMBERED_DOCUMENTS = 1_000_000
_BLOCK_CHARACTERS = 10_000
_MAX_BLOCKS = 40
_RARE_BELOW = 10
_MIN_SAMPLE_BLOCKS = 4
_SCORED_BLOCKS = 10
"""Each tenth block of the sample is scored, the others are counted."""
_HASH_BYTES = 8
_EMOJI_SIGNS = frozenset("\ufe0f\u200d\u20e3")


@dataclass(kw_only=True)
class Look:
    """What was found in a corpus."""

    sources: tuple[Fingerprint, ...] = ()
    notes: list[str] = field(default_factory=list)
    documents: int = 0
    shortest: int = 0
    """Characters of the shortest document that is not empty."""
    longest: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    """How often each character occurs."""
    lines: int = 0
    """Lines that are not empty."""
    repeated_lines: int = 0
    """Those of them that stood in the text before."""
    repeated_documents: int = 0
    longest_line: int = 0
    longest_line_place: str = ""
    labels: Counter[str] = field(default_factory=Counter)
    """Documents of each label."""
    bits: float | None = None
    """What a character costs by counts; None if there is too little text."""
    tail: TailDifference | None = None

    @property
    def total(self) -> int:
        """All characters."""
        return self.characters.total()

    def scripts(self) -> dict[str, int]:
        """How many characters there are of each script, the most first."""
        counts: Counter[str] = Counter()
        for character, count in self.characters.items():
            counts[script_of(character)] += count
        return dict(counts.most_common())

    def unusual(self) -> dict[str, list[str]]:
        """Characters that a person may not want, by what is wrong with them."""
        frequent = {c for c, count in self.characters.items() if count >= _RARE_BELOW}
        found: dict[str, list[str]] = {}
        for character, count in sorted(self.characters.items()):
            kind = _problem_of(character)
            if kind is None and count < _RARE_BELOW and relative(character, frequent):
                kind = "rare, with relatives (--clean rare)"
            if kind is not None:
                found.setdefault(kind, []).append(character)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "sources": [{"name": s.name, "bytes": s.bytes} for s in self.sources],
            "notes": self.notes,
            "documents": self.documents,
            "shortest_document": self.shortest,
            "longest_document": self.longest,
            "characters": self.total,
            "distinct_characters": len(self.characters),
            "scripts": self.scripts(),
            "unusual": {
                kind: [f"U+{ord(character):04X}" for character in characters]
                for kind, characters in self.unusual().items()
            },
            "lines": self.lines,
            "repeated_lines": self.repeated_lines,
            "repeated_documents": self.repeated_documents,
            "longest_line": self.longest_line,
            "longest_line_place": self.longest_line_place,
            "labels": dict(self.labels),
            "bits_per_character": self.bits,
            "tail_bits": None if self.tail is None else self.tail.tail_bits,
            "rest_bits": None if self.tail is None else self.tail.rest_bits,
        }


def look_at(corpus: Corpus) -> Look:
    """Reads a corpus once.

    Args:
        corpus: the text; its letters should be as they are trained on.

    Raises:
        CorpusError, NetworkError: a source cannot be read.
    """
    look = Look()
    seen_lines: set[bytes] = set()
    seen_documents: set[bytes] = set()
    sample = _Sample()
    reading = corpus.pieces("looking")
    document = hashlib.blake2b(digest_size=_HASH_BYTES)
    length, rest, line_number = 0, "", 0
    here = reading.document

    def end_document() -> None:
        nonlocal length, document
        if length:
            look.documents += 1
            look.shortest = min(look.shortest or length, length)
            look.longest = max(look.longest, length)
            digest = document.digest()
            look.repeated_documents += digest in seen_documents
            if len(seen_documents) < _MAX_REMEMBERED_DOCUMENTS:
                seen_documents.add(digest)
        length, document = 0, hashlib.blake2b(digest_size=_HASH_BYTES)

    def see_line(line: str) -> None:
        if not line.strip():
            return
        look.lines += 1
        digest = hashlib.blake2b(line.encode("utf-8", "replace"), digest_size=_HASH_BYTES).digest()
        look.repeated_lines += digest in seen_lines
        if len(seen_lines) < _MAX_REMEMBERED_LINES:
            seen_lines.add(digest)
        if len(line) > look.longest_line:
            place = here.place if here is not None else None
            look.longest_line = len(line)
            look.longest_line_place = "" if place is None else place.at(line_number)

    for item in reading:
        if here is not reading.document:
            see_line(rest)
            here, rest, line_number = reading.document, "", 0
        if isinstance(item, Label):
            look.labels[item.name] += 1
        elif item is None:
            end_document()
        else:
            text = item if isinstance(item, str) else item.decode("utf-8", "replace")
            look.characters.update(text)
            document.update(text.encode("utf-8", "replace"))
            length += len(text)
            sample.feed(text)
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                see_line(line)
                line_number += 1
    see_line(rest)
    end_document()
    if corpus.documents == "lines" and not look.labels:
        look.documents = look.lines
    look.sources = reading.fingerprints
    look.notes = corpus.notes()
    look.bits = sample.bits()
    if corpus.documents == "whole":
        look.tail = sample.tail_difference()
    return look


class _Sample:
    """Blocks of a text of unknown length, spread over it evenly, and its end."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._stride = 1
        self._number = 0
        self._held = ""

    def feed(self, text: str) -> None:
        """Takes the next piece."""
        text = self._held + text
        whole = len(text) // _BLOCK_CHARACTERS
        for start in range(0, whole * _BLOCK_CHARACTERS, _BLOCK_CHARACTERS):
            if self._number % self._stride == 0:
                self._blocks.append(text[start : start + _BLOCK_CHARACTERS])
                if len(self._blocks) > _MAX_BLOCKS:
                    self._blocks = self._blocks[::2]
                    self._stride *= 2
            self._number += 1
        self._held = text[whole * _BLOCK_CHARACTERS :]

    def bits(self) -> float | None:
        blocks = [*self._blocks, self._held] if self._held else self._blocks
        if sum(map(len, blocks)) < _BLOCK_CHARACTERS:
            return None
        if len(blocks) < _MIN_SAMPLE_BLOCKS:
            text = "".join(blocks)
            size = max(1, len(text) // _SCORED_BLOCKS)
            blocks = [text[start : start + size] for start in range(0, len(text), size)]
        scored = blocks[_SCORED_BLOCKS // 2 :: _SCORED_BLOCKS] or blocks[-1:]
        counted = [block for block in blocks if all(block is not other for other in scored)]
        return bits_per_character(counted, "".join(scored))

    def tail_difference(self) -> TailDifference | None:
        count = 10
        if len(self._blocks) < count:
            return None
        spread = self._blocks[:: max(1, len(self._blocks) // (count - 1))][: count - 1]
        tail = self._blocks[-1] if len(self._held) < _BLOCK_CHARACTERS // 2 else self._held
        return tail_difference([*spread, tail])


def script_of(character: str) -> str:
    """The script of a character, or what kind of sign it is.

    >>> [script_of(c) for c in "aя中 7.😀"]
    ['Latin', 'Cyrillic', 'Han', 'white space', 'digits', 'punctuation', 'emoji']
    """
    if character.isspace():
        return "white space"
    category = unicodedata.category(character)
    if category == "Nd":
        return "digits"
    name = unicodedata.name(character, "")
    if category[0] in "LM" and name:
        first = name.split()[0]
        if first == "CJK":
            return "Han"
        if first == "COMBINING":
            return "combining marks"
        if first in ("FULLWIDTH", "MODIFIER", "MASCULINE", "FEMININE", "MICRO"):
            return "Latin"
        return first.capitalize().partition("-")[0]
    if (category == "So" and ord(character) >= 0x2600) or character in _EMOJI_SIGNS:
        return "emoji"
    if category[0] == "P":
        return "punctuation"
    return "symbols" if category[0] in "SN" else "control characters and others"


def _problem_of(character: str) -> str | None:
    category = unicodedata.category(character)
    if character == "\ufffd":
        return "replacement characters, of bytes that were wrong (--encoding)"
    if category == "Co":
        return "of private use, which only their font can show"
    if character in ("\u00ad", "\u200b", "\ufeff"):
        return "invisible"
    if category == "Cc" and character not in "\n\t":
        return "control characters"
    return None
