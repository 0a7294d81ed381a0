"""Extends a vocabulary with the characters, pieces or end token that another text needs.

For each new token this file names its donors: the tokens that it is initialised from, such as é
from e, “ from ", or an unseen capital from its small letter. What that means for weights is in
model/extend_weights.py. Shape letter: V vocabulary.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chargen.errors import CorpusError, UsageError
from chargen.hints import any_of, ways
from chargen.text.char import CharTokenizer
from chargen.text.corpus_tokenizer import form_of, labels_of, unwrapped, wrapped
from chargen.text.nearest import relative
from chargen.text.pieces import PieceTokenizer, divide, is_piece
from chargen.text.subword import SubwordTokenizer
from chargen.text.tokenizer import ByteTokenizer, Tokenizer, TokenizerState, newline_id

_MAX_REPORTED = 12
"""New tokens that the report names."""
_USER_DEFINED = 4
"""SentencePiece's type of pieces that are always taken whole."""
_NEWLINE_BYTE = 10


@dataclass(frozen=True, kw_only=True)
class VocabExtension:
    """An extended tokenizer, and where each of its tokens comes from."""

    tokenizer: Tokenizer
    old: tuple[int, ...]
    """(V,): the old id of each token; -1 for new tokens."""
    donors: dict[int, tuple[int, ...]]
    """The donors of each new token: the old ids whose mean initialises it."""
    report: tuple[str, ...]
    """Lines that say which tokens are new and what initialises them."""

    @property
    def added(self) -> int:
        """The number of new tokens."""
        return len(self.donors)


def extend_characters(
    tokenizer: CharTokenizer,
    counts: Mapping[str, int],
    *,
    documents: bool,
    add_characters: bool = True,
) -> VocabExtension:
    """Extends a char tokenizer with the characters of another text.

    Args:
        tokenizer: the tokenizer; all of its characters stay.
        counts: how often each character occurs in the other text.
        documents: whether the other text needs an end-of-document token.
        add_characters: False adds no characters, only the end-of-document token if it is needed.

    Raises:
        CorpusError: the tokenizer knows no character of the text, nor a relative of one.
    """
    known_characters = set(tokenizer.characters)
    new: list[str] = []
    if add_characters:
        new = [character for character in counts if character not in known_characters]
    relatives = {character: relative(character, known_characters) for character in new}
    if counts and not known_characters & set(counts) and not any(relatives.values()):
        raise CorpusError(
            "not one character of this text is known to the model or related to a known one: "
            "there is nothing to fine-tune; train a new model"
        )
    characters = "".join(sorted(known_characters | set(new)))
    documents = documents or tokenizer.eos_id is not None
    old_ids = {character: number for number, character in enumerate(tokenizer.characters)}
    old = [old_ids.get(character, -1) for character in characters]
    donors = {}
    for number, character in enumerate(characters):
        if character in relatives:
            donors[number] = _choose_donors(character, relatives[character], old_ids)
    if documents:
        old.append(-1 if tokenizer.eos_id is None else tokenizer.eos_id)
        if tokenizer.eos_id is None:
            line_end = old_ids.get("\n")
            donors[len(old) - 1] = tuple(old_ids.values()) if line_end is None else (line_end,)
    return VocabExtension(
        tokenizer=CharTokenizer(characters, documents=documents),
        old=tuple(old),
        donors=donors,
        report=tuple(_report(relatives, counts)),
    )


def _choose_donors(
    character: str, related: str | None, old_ids: Mapping[str, int]
) -> tuple[int, ...]:
    """Old ids for a new character: its relative, or all of its Unicode category, or all."""
    if related is not None:
        return (old_ids[related],)
    category = unicodedata.category(character)
    for width in (2, 1):
        same_category = [
            old_id
            for other, old_id in old_ids.items()
            if unicodedata.category(other)[:width] == category[:width]
        ]
        if same_category:
            return tuple(same_category)
    return tuple(old_ids.values())


def _report(relatives: Mapping[str, str | None], counts: Mapping[str, int]) -> Iterator[str]:
    """One line about the new characters and their donors, the most frequent first."""
    if not relatives:
        return
    ordered = sorted(relatives, key=lambda character: -counts[character])
    related = [f"{new} ← {relatives[new]}" for new in ordered if relatives[new]]
    unrelated = [new for new in ordered if not relatives[new]]
    parts = []
    if related:
        parts.append(_shorten(related, ", "))
    if unrelated:
        parts.append(f"{_shorten(unrelated, ' ')} ← the mean of their kind")
    plural = "s" if len(ordered) > 1 else ""
    yield f"{len(ordered)} new character{plural}: {'; '.join(parts)}"


def _shorten(names: list[str], separator: str) -> str:
    more = f" and {len(names) - _MAX_REPORTED} more" if len(names) > _MAX_REPORTED else ""
    return f"{separator.join(names[:_MAX_REPORTED])}{more}"


def extend_pieces(
    tokenizer: PieceTokenizer,
    counts: Mapping[str, int],
    text: str,
    count: int,
    *,
    documents: bool,
    add_characters: bool = True,
) -> VocabExtension:
    """Extends a tokenizer of pieces with the characters and the frequent pieces of another text.

    Args:
        tokenizer: the tokenizer; all of its characters and pieces stay.
        counts: how often each character occurs in the other text.
        text: the other text, or the beginning of it.
        count: the most pieces to add.
        documents: whether the other text needs an end-of-document token.
        add_characters: False adds neither characters nor pieces that have new ones.

    Raises:
        CorpusError: the tokenizer knows no character of the text, nor a relative of one.
    """
    letters = extend_characters(
        tokenizer.letters, counts, documents=False, add_characters=add_characters
    )
    assert isinstance(letters.tokenizer, CharTokenizer)
    characters = letters.tokenizer.characters
    found = Counter(divide(tokenizer.pattern, text)) if count else Counter[str]()
    new = [
        piece
        for piece, times in found.items()
        if times > 1 and is_piece(piece) and set(piece) <= set(characters)
    ]
    new = sorted(set(new) - set(tokenizer.pieces), key=lambda piece: (-found[piece], piece))[:count]
    documents = documents or tokenizer.eos_id is not None
    extended = PieceTokenizer(
        tokenizer.kind,
        tokenizer.pattern.pattern,
        characters,
        (*tokenizer.pieces, *new),
        documents=documents,
    )
    known_count = len(tokenizer.letters.characters)
    old = [*letters.old, *range(known_count, known_count + len(tokenizer.pieces))]
    donors = dict(letters.donors)
    for piece in new:
        donors[len(old)] = tuple(map(int, tokenizer.encode(piece)))
        old.append(-1)
    if documents:
        old.append(-1 if tokenizer.eos_id is None else tokenizer.eos_id)
        if tokenizer.eos_id is None:
            line_end = newline_id(tokenizer)
            donors[len(old) - 1] = tuple(range(known_count)) if line_end is None else (line_end,)
    shown = ", ".join(piece.strip() for piece in new[:_MAX_REPORTED])
    report = (*letters.report, *([f"{len(new)} new pieces: {shown}"] if new else []))
    return VocabExtension(tokenizer=extended, old=tuple(old), donors=donors, report=report)


def extend_subwords(
    tokenizer: SubwordTokenizer, text: str, count: int, *, documents: bool
) -> VocabExtension:
    """Extends a subword tokenizer with the words of another text that cost it the most tokens.

    Args:
        tokenizer: the tokenizer; all of its pieces stay.
        text: the other text, or the beginning of it.
        count: the most pieces to add.
        documents: whether the other text needs an end-of-document token.

    Raises:
        UsageError: the text needs an end-of-document token and the tokenizer has none.
    """
    if documents and tokenizer.eos_id is None:
        raise UsageError(
            "--documents: this subword model was trained without an end-of-document token and "
            f"cannot be given one{ways(('leave out', any_of('--documents')))}"
        )
    blob = tokenizer.to_state().blob or b""
    donors: dict[int, tuple[int, ...]] = {}
    words = Counter(re.findall(r" ?[^\W\d_]{3,24}", text)) if count else Counter[str]()
    encoded = {word: tuple(map(int, tokenizer.encode(word))) for word in words}
    gains = {word: times * (len(encoded[word]) - 1) for word, times in words.items()}
    best = sorted(
        (word for word in gains if gains[word] > 1), key=lambda word: (-gains[word], word)
    )
    for word in best[:count]:
        donors[tokenizer.vocab_size + len(donors)] = encoded[word]
        blob += _serialize_piece(word.replace(" ", "▁"))
    extended = SubwordTokenizer.from_state(TokenizerState(kind=tokenizer.kind, blob=blob))
    old = (*range(tokenizer.vocab_size), *([-1] * len(donors)))
    shown = ", ".join(word.strip() for word in best[: min(count, _MAX_REPORTED)])
    report = (f"{len(donors)} new pieces: {shown}",) if donors else ()
    return VocabExtension(tokenizer=extended, old=old, donors=donors, report=report)


def extend_bytes(tokenizer: ByteTokenizer, *, documents: bool) -> VocabExtension:
    """Extends a byte tokenizer with an end-of-document token, if one is needed and lacking."""
    extended = ByteTokenizer(documents=documents or tokenizer.eos_id is not None)
    old = list(range(tokenizer.vocab_size))
    donors: dict[int, tuple[int, ...]] = {}
    if extended.vocab_size > len(old):
        donors[len(old)] = (_NEWLINE_BYTE,)
        old.append(-1)
    return VocabExtension(tokenizer=extended, old=tuple(old), donors=donors, report=())


def extend_labels(
    extension: VocabExtension, tokenizer: Tokenizer, labels: Sequence[str]
) -> VocabExtension:
    """Adds the labels of the old tokenizer, then new ones, which begin as the mean of the old.

    Args:
        extension: of the inner tokenizer, whose tokens come first.
        tokenizer: the old tokenizer.
        labels: those of the other text.
    """
    known = labels_of(tokenizer)
    new = sorted(set(labels) - set(known))
    old, donors = list(extension.old), dict(extension.donors)
    first = unwrapped(tokenizer).vocab_size
    old_ids = tuple(range(first, first + len(known)))
    old += old_ids
    for _ in new:
        # Without labels, a document began with the end of another.
        eos = tokenizer.eos_id
        donors[len(old)] = old_ids or (tuple(range(first)) if eos is None else (eos,))
        old.append(-1)
    named = f"{', '.join(new[:_MAX_REPORTED])}{' and others' if len(new) > _MAX_REPORTED else ''}"
    return VocabExtension(
        tokenizer=wrapped(extension.tokenizer, form_of(tokenizer), (*known, *new)),
        old=tuple(old),
        donors=donors,
        report=(*extension.report, *([f"new labels: {named}"] if new else [])),
    )


def _serialize_piece(piece: str) -> bytes:
    """A piece in the format of a SentencePiece model, to be appended to the model's bytes.

    A protocol buffer may be extended so: the repeated field 1 of the model is the message
    `SentencePiece`, whose fields are 1 the piece, 2 its score, 3 its type.
    """
    encoded = piece.encode()
    message = b"\x0a" + bytes([len(encoded)]) + encoded
    message += b"\x15" + struct.pack("<f", 0.0) + b"\x18" + bytes([_USER_DEFINED])
    return b"\x0a" + bytes([len(message)]) + message
