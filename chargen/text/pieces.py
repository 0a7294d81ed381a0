"""Tokenizers whose pieces a regular expression finds: words, symbols between blanks, one's own.

The frequent pieces of a corpus become tokens. Whatever is rare, or matches nowhere, is written
character by character, so every text of known characters has tokens and
`decode(encode(text)) == text`. Shape letter: N tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from chargen.errors import ModelFileError, UsageError
from chargen.text.char import CharBuilder, CharTokenizer
from chargen.text.tokenizer import Ids, TokenizerState, utf8

PATTERNS = {
    # A blank belongs to the word after it, as in GPT-2: the blank alone would be every other token.
    "words": r" ?[^\W\d_]+(?:['’][^\W\d_]+)*| ?[^\w\s]|\d",
    "spaces": r" ?[^ \t\n]+",
}
"""The patterns of the tokenizers that bring their own; `regex` is given one."""
EXAMPLE = r"'\[[^]]+\]|Br|Cl|.' for the atoms of SMILES"
_DEFAULT_VOCAB_SIZE = 5_000
_MAX_VOCAB_SIZE = 1_000_000
_MIN_COUNT = 3
"""A piece that occurs less often is written by character: its token could not be learned."""
_MAX_PIECE_CHARACTERS = 64
_MAX_PATTERN_CHARACTERS = 1_000
_MAX_COUNTED_PIECES = 2_000_000
"""When a corpus has more distinct pieces, those that occurred once so far are forgotten."""
_MAX_HELD_CHARACTERS = 10_000
"""Text after the last line end of a chunk that waits for the next chunk."""


class PieceTokenizer:
    """Characters first, in code point order; then pieces; the end-of-document token comes last.

    Args:
        kind: the row of `TOKENIZERS`.
        pattern: a regular expression; its matches are looked up among the pieces.
        characters: the known characters, sorted and distinct.
        pieces: distinct texts of several known characters, without line ends.
        documents: whether there is an end-of-document token.

    Raises:
        UsageError: the pattern is not a regular expression, or too long.
    """

    reads_bytes = False

    def __init__(
        self,
        kind: str,
        pattern: str,
        characters: str,
        pieces: Sequence[str],
        *,
        documents: bool = False,
    ) -> None:
        self.kind = kind
        self.pattern = compile_pattern(pattern)
        self.letters = CharTokenizer(characters)
        self.pieces = tuple(pieces)
        self._texts = [*characters, *pieces]
        self._ids: dict[str, tuple[int, ...]] = {
            text: (number,) for number, text in enumerate(self._texts)
        }
        self.eos_id = len(self._texts) if documents else None
        self.vocab_size = len(self._texts) + documents
        self._bytes = [text.encode("utf-8", "replace") for text in self._texts]

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,) of `text`; `unknown` says what happens to unseen characters.

        Raises:
            UsageError: `unknown` is `error` and a character has no token.
        """
        text = (text if isinstance(text, bytes) else utf8(text)).decode("utf-8", "replace")
        ids: list[int] = []
        for part in divide(self.pattern, text):
            known = self._ids.get(part)
            if known is None and part[0] == " " and part[1:] in self._ids and " " in self._ids:
                # Such as a word that began its lines wherever it occurred.
                known = (*self._ids[" "], *self._ids[part[1:]])
            ids += known if known is not None else self.letters.encode(part, unknown).tolist()
        return np.asarray(ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; the end-of-document token gives no text."""
        return "".join(self._texts[token] for token in ids if token < len(self._texts))

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of the character or piece; empty for the end-of-document token."""
        return self._bytes[token_id] if token_id < len(self._bytes) else b""

    def unseen(self, text: str) -> dict[str, str]:
        """Unseen characters in order of appearance, each with the nearest known character."""
        return self.letters.unseen(text)

    def to_state(self) -> TokenizerState:
        """Settings `pattern`, `characters`, `documents`; the pieces, a line each, as the blob."""
        settings = {
            "pattern": self.pattern.pattern,
            "characters": self.letters.characters,
            "documents": self.eos_id is not None,
        }
        blob = "\n".join(self.pieces).encode("utf-8", "surrogatepass") or None
        return TokenizerState(kind=self.kind, settings=settings, blob=blob)

    @classmethod
    def from_state(cls, state: TokenizerState) -> PieceTokenizer:
        """Rebuilds the tokenizer from the state in a model file.

        Raises:
            ModelFileError: the settings or the pieces are not those of such a tokenizer.
        """
        letters = CharTokenizer.from_state(state)
        pattern = state.settings.get("pattern")
        if not isinstance(pattern, str):
            raise ModelFileError(f"its {state.kind} tokenizer has no pattern")
        try:
            text = (state.blob or b"").decode("utf-8", "surrogatepass")
            pieces = text.split("\n") if text else []
            tokenizer = cls(
                state.kind,
                pattern,
                letters.characters,
                pieces,
                documents=bool(state.settings.get("documents", False)),
            )
        except (UnicodeDecodeError, UsageError) as error:
            raise ModelFileError(f"its {state.kind} tokenizer is damaged") from error
        known_characters = set(letters.characters)
        if len(set(pieces)) < len(pieces) or not all(
            len(piece) > 1 and set(piece) <= known_characters for piece in pieces
        ):
            raise ModelFileError(f"its {state.kind} tokenizer lists a wrong piece")
        return tokenizer


class PieceBuilder:
    """Counts the pieces of a corpus and keeps the frequent ones.

    Args:
        kind: the row of `TOKENIZERS`.
        vocab_size: the most tokens, characters included; None is 5,000.
        pattern: the regular expression; None takes that of `PATTERNS`.

    Raises:
        UsageError: `vocab_size` is out of range, or the pattern is missing or wrong.
    """

    def __init__(
        self, kind: str, vocab_size: int | None = None, pattern: str | None = None
    ) -> None:
        self.kind = kind
        self.vocab_size = _DEFAULT_VOCAB_SIZE if vocab_size is None else vocab_size
        if not 2 <= self.vocab_size <= _MAX_VOCAB_SIZE:
            raise UsageError(
                f"--vocab-size {self.vocab_size}: must be from 2 to {_MAX_VOCAB_SIZE:,}"
            )
        self.pattern = compile_pattern(PATTERNS[kind] if pattern is None else pattern)
        self._letters = CharBuilder()
        self._counts = Counter[str]()
        self._held = ""

    def feed(self, chunk: str | bytes) -> None:
        """Counts the pieces of the chunk up to its last line end; the rest waits."""
        assert isinstance(chunk, str)
        self._letters.feed(chunk)
        text = self._held + chunk
        cut = text.rfind("\n") + 1
        if len(text) - cut > _MAX_HELD_CHARACTERS:
            cut = len(text)
        self._count(text[:cut])
        self._held = text[cut:]

    def _count(self, text: str) -> None:
        self._counts.update(divide(self.pattern, text))
        if len(self._counts) > _MAX_COUNTED_PIECES:
            self._counts = Counter({piece: n for piece, n in self._counts.items() if n > 1})

    def finish(self, *, documents: bool) -> PieceTokenizer:
        """The characters, and the most frequent pieces that there is room for.

        Raises:
            CorpusError: fewer than two distinct characters.
            UsageError: the characters alone are more than `vocab_size`.
        """
        self._count(self._held)
        self._held = ""
        characters = self._letters.finish(documents=False).characters
        room = self.vocab_size - len(characters) - documents
        if room < 0:
            raise UsageError(
                f"--vocab-size {self.vocab_size}: the corpus alone has {len(characters)} "
                f"characters; give at least {len(characters) + documents}"
            )
        frequent = [
            piece
            for piece, count in self._counts.items()
            if count >= _MIN_COUNT and is_piece(piece)
        ]
        frequent.sort(key=lambda piece: (-self._counts[piece], piece))
        return PieceTokenizer(
            self.kind, self.pattern.pattern, characters, frequent[:room], documents=documents
        )


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern, compiled.

    Raises:
        UsageError: it is not a regular expression, or too long.
    """
    if len(pattern) > _MAX_PATTERN_CHARACTERS:
        raise UsageError(f"--pattern: longer than {_MAX_PATTERN_CHARACTERS:,} characters")
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"--pattern {pattern!r}: not a regular expression of Python ({error}); an example "
            f"is {EXAMPLE}"
        ) from error


def divide(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """The matches of the pattern, and the characters between them; joined, they are the text."""
    end = 0
    for match in pattern.finditer(text):
        start, stop = match.span()
        if start == stop:
            continue
        yield from text[end:start]
        yield match.group()
        end = stop
    yield from text[end:]


def is_piece(text: str) -> bool:
    """Whether a text can be a token beside the characters: a line end must be one of these."""
    return 1 < len(text) <= _MAX_PIECE_CHARACTERS and "\n" not in text
