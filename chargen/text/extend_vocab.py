"""A vocabulary takes in what it lacks: new characters, pieces, an end of documents.

Says what each new token is made from, as text has it: é from e, “ from ", an unseen capital from
its small letter. What that means for weights is model/grafting.py's. Shape letter: V vocabulary.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chargen.errors import CorpusError, UsageError
from chargen.text.char import CharTokenizer
from chargen.text.nearest import relative
from chargen.text.subword import SubwordTokenizer
from chargen.text.tokenizer import ByteTokenizer, Tokenizer, TokenizerState

_SHOWN = 12
_USER_DEFINED = 4
"""SentencePiece's type of pieces that are always taken whole."""


@dataclass(frozen=True, kw_only=True)
class VocabExtension:
    """A grown tokenizer, and where each of its tokens comes from."""

    tokenizer: Tokenizer
    old: tuple[int, ...]
    """For each new id (V), its id before; -1 for what is new."""
    seeds: dict[int, tuple[int, ...]]
    """For each new token, the old ids that it begins as the mean of."""
    report: tuple[str, ...]
    """Lines that say what came from what."""

    @property
    def added(self) -> int:
        """How many tokens are new."""
        return len(self.seeds)


def count_characters(pieces: Iterable[str | bytes | None]) -> Counter[str]:
    """How often each character occurs in a corpus."""
    counts: Counter[str] = Counter()
    for piece in pieces:
        if isinstance(piece, str):
            counts.update(piece)
    return counts


def extend_characters(
    tokenizer: CharTokenizer, counts: Counter[str], *, documents: bool, grow: bool = True
) -> VocabExtension:
    """A char tokenizer that knows the characters of another text as well.

    Args:
        tokenizer: before; everything it knows it goes on knowing.
        counts: the characters of the new text.
        documents: whether the new text has ends of documents.
        grow: False only takes in the end of documents, where that is lacking.

    Raises:
        CorpusError: the new text has no character that the tokenizer knows, nor a relative of one.
    """
    known = set(tokenizer.characters)
    new = [one for one in counts if one not in known] if grow else []
    relatives = {one: relative(one, known) for one in new}
    if counts and not known & set(counts) and not any(relatives.values()):
        raise CorpusError(
            "not one character of this text is known to the model, nor related to one that is: "
            "there is nothing to fine-tune; train a model of its own"
        )
    characters = "".join(sorted(known | set(new)))
    documents = documents or tokenizer.eos_id is not None
    grown = CharTokenizer(characters, documents=documents)
    place = {one: number for number, one in enumerate(tokenizer.characters)}
    old = [place.get(one, -1) for one in characters]
    seeds = {}
    for number, one in enumerate(characters):
        if one in relatives:
            seeds[number] = _seeds(one, relatives[one], tokenizer.characters, place)
    if documents:
        old.append(-1 if tokenizer.eos_id is None else tokenizer.eos_id)
        if tokenizer.eos_id is None:
            line_end = place.get("\n")
            seeds[len(old) - 1] = tuple(place.values()) if line_end is None else (line_end,)
    return VocabExtension(
        tokenizer=grown, old=tuple(old), seeds=seeds, report=tuple(_report(relatives, counts))
    )


def _seeds(character: str, near: str | None, known: str, place: dict[str, int]) -> tuple[int, ...]:
    """The ids that a new character begins as the mean of."""
    if near is not None:
        return (place[near],)
    category = unicodedata.category(character)
    for width in (2, 1):
        alike = [one for one in known if unicodedata.category(one)[:width] == category[:width]]
        if alike:
            return tuple(place[one] for one in alike)
    return tuple(place.values())


def _report(relatives: dict[str, str | None], counts: Counter[str]) -> Iterator[str]:
    """What came from what, the most frequent first."""
    if not relatives:
        return
    ordered = sorted(relatives, key=lambda one: -counts[one])
    related = [f"{one} ← {relatives[one]}" for one in ordered if relatives[one]]
    strangers = [one for one in ordered if not relatives[one]]
    parts = []
    if related:
        more = f" and {len(related) - _SHOWN} more" if len(related) > _SHOWN else ""
        parts.append(f"{', '.join(related[:_SHOWN])}{more}")
    if strangers:
        more = f" and {len(strangers) - _SHOWN} more" if len(strangers) > _SHOWN else ""
        parts.append(f"{' '.join(strangers[:_SHOWN])}{more} ← the mean of their kind")
    plural = "s" if len(ordered) > 1 else ""
    yield f"{len(ordered)} new character{plural}: {'; '.join(parts)}"


def extend_pieces(
    tokenizer: SubwordTokenizer, text: str, count: int, *, documents: bool
) -> VocabExtension:
    """A subword tokenizer with pieces for the new text's words that cost it the most tokens.

    Raises:
        UsageError: the text has ends of documents, and the model was made without.
    """
    if documents and tokenizer.eos_id is None:
        raise UsageError(
            "--documents: this subword model was trained without ends of documents, and pieces "
            "cannot be given one; leave --documents out"
        )
    blob = tokenizer.to_state().blob or b""
    seeds: dict[int, tuple[int, ...]] = {}
    words = Counter(re.findall(r" ?[^\W\d_]{3,24}", text)) if count else Counter[str]()
    encoded = {word: tuple(map(int, tokenizer.encode(word))) for word in words}
    gains = {word: times * (len(encoded[word]) - 1) for word, times in words.items()}
    best = sorted((one for one in gains if gains[one] > 1), key=lambda one: (-gains[one], one))
    for word in best[:count]:
        seeds[tokenizer.vocab_size + len(seeds)] = encoded[word]
        blob += _piece(word.replace(" ", "▁"))
    grown = SubwordTokenizer.from_state(TokenizerState(kind=tokenizer.kind, blob=blob))
    old = (*range(tokenizer.vocab_size), *([-1] * len(seeds)))
    shown = ", ".join(word.strip() for word in best[: min(count, _SHOWN)])
    report = (f"{len(seeds)} new pieces: {shown}",) if seeds else ()
    return VocabExtension(tokenizer=grown, old=old, seeds=seeds, report=report)


def extend_bytes(tokenizer: ByteTokenizer, *, documents: bool) -> VocabExtension:
    """A byte tokenizer lacks nothing, but perhaps an end of documents."""
    grown = ByteTokenizer(documents=documents or tokenizer.eos_id is not None)
    old = list(range(tokenizer.vocab_size))
    seeds: dict[int, tuple[int, ...]] = {}
    if grown.vocab_size > len(old):
        seeds[len(old)] = (10,)
        old.append(-1)
    return VocabExtension(tokenizer=grown, old=tuple(old), seeds=seeds, report=())


def _piece(text: str) -> bytes:
    """A piece as the last field of a SentencePiece model: protocol buffers may be joined so.

    Message `SentencePiece`: 1 the piece, 2 its score, 3 its type; field 1 of the model.
    """
    spelled = text.encode()
    message = b"\x0a" + bytes([len(spelled)]) + spelled
    message += b"\x15" + struct.pack("<f", 0.0) + b"\x18" + bytes([_USER_DEFINED])
    return b"\x0a" + bytes([len(message)]) + message
