"""What a tokenizer is, the plainest of them (bytes), and decoding token by token.

A tokenizer knows nothing of models, corpora or files. The others are in char.py and subword.py,
the table of all kinds in registry.py.

Shape letters: V vocabulary, N tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError

Ids = npt.NDArray[np.int32]
Tokens = npt.NDArray[Any]
"""Ids as they are stored: of the smallest unsigned type that holds them."""
UNKNOWN_POLICIES = ("nearest", "skip", "error")


@dataclass(frozen=True, kw_only=True)
class TokenizerState:
    """What a model file keeps of a tokenizer: JSON settings, and bytes for what is not JSON."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    blob: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """All but the blob, as plain values."""
        return {"kind": self.kind, **self.settings}


class Tokenizer(Protocol):
    """Text to ids and back."""

    kind: ClassVar[str]
    reads_bytes: ClassVar[bool]
    """True when a corpus should be handed over as raw bytes instead of decoded text."""
    vocab_size: int
    eos_id: int | None
    """The end-of-document token, or None for a tokenizer trained on one whole text."""

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,) of `text`; `unknown` says what becomes of characters never seen."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; invalid UTF-8 shows as U+FFFD."""

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes (possibly a part of a character) that a token stands for."""

    def unseen(self, text: str) -> dict[str, str]:
        """The characters of `text` that have no token, each with the one that replaces it."""

    def to_state(self) -> TokenizerState:
        """Everything needed to rebuild this tokenizer."""


class Builder(Protocol):
    """Looks at a corpus once, chunk by chunk, and makes a tokenizer for it."""

    def feed(self, chunk: str | bytes) -> None:
        """Look at one more chunk."""

    def finish(self, *, documents: bool) -> Tokenizer:
        """Make the tokenizer; with `documents` it has an end-of-document token."""


class ByteTokenizer:
    """One token a byte: 256 of them, and the end-of-document token after them. Reads anything."""

    kind: ClassVar[str] = "byte"
    reads_bytes: ClassVar[bool] = True

    def __init__(self, *, documents: bool = False) -> None:
        self.eos_id = 256 if documents else None
        self.vocab_size = 256 + documents

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,): the bytes themselves, UTF-8 for text. No byte is unknown."""
        raw = text if isinstance(text, bytes) else utf8(text)
        return np.frombuffer(raw, np.uint8).astype(np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """UTF-8 text of `ids`, invalid bytes as U+FFFD."""
        return bytes(one for one in ids if one < 256).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The byte; empty for the end of a document."""
        return bytes((token_id,)) if token_id < 256 else b""

    def unseen(self, text: str) -> dict[str, str]:
        """Always empty."""
        return {}

    def to_state(self) -> TokenizerState:
        """Setting `documents`."""
        return TokenizerState(kind=self.kind, settings={"documents": self.eos_id is not None})

    @classmethod
    def from_state(cls, state: TokenizerState) -> ByteTokenizer:
        """Rebuild from a model file."""
        return cls(documents=bool(state.settings.get("documents", False)))


class ByteBuilder:
    """Makes a byte tokenizer; there is nothing to learn from the corpus."""

    def __init__(self, vocab_size: int | None = None) -> None:
        self._distinct: set[int] = set()

    def feed(self, chunk: str | bytes) -> None:
        """Note which bytes occur, so that a corpus of one byte value is refused."""
        if len(self._distinct) < 2:
            self._distinct |= set(chunk if isinstance(chunk, bytes) else utf8(chunk))

    def finish(self, *, documents: bool) -> ByteTokenizer:
        """The tokenizer.

        Raises:
            CorpusError: fewer than two distinct bytes.
        """
        if len(self._distinct) < 2:
            raise CorpusError(
                f"the corpus has {len(self._distinct)} distinct bytes: there is nothing to predict"
            )
        return ByteTokenizer(documents=documents)


class StreamDecoder:
    """Ids to text one token at a time: a character split over tokens is held until whole."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The text that became certain with these bytes; may be empty."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole."""
        return self._decoder.decode(b"", final=True)


def token_lengths(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """How many (bytes, characters) each token is worth: an array (2, V).

    A character counts with the token that holds its first byte.
    """
    lengths = np.zeros((2, tokenizer.vocab_size), np.int64)
    for token_id in range(tokenizer.vocab_size):
        data = tokenizer.token_bytes(token_id)
        lengths[0, token_id] = len(data)
        lengths[1, token_id] = sum(byte & 0xC0 != 0x80 for byte in data)
    return lengths


def utf8(text: str) -> bytes:
    """UTF-8 of any str: what the shell passed as raw bytes comes back raw."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def describe_unseen(
    unseen: Mapping[str, str], counts: Mapping[str, int], total: int, policy: str
) -> Iterator[str]:
    """One line that says what became of unseen characters; nothing when there are none.

    Args:
        unseen: each unseen character and its nearest relative.
        counts: how often each occurs.
        total: characters of the text.
        policy: one of `UNKNOWN_POLICIES`.
    """
    if not unseen:
        return
    shown = list(unseen.items())[:8]
    more = f" and {len(unseen) - len(shown)} more" if len(unseen) > len(shown) else ""
    fates = (
        f"{_quoted(one)} → {_quoted(near)}" if policy == "nearest" else _quoted(one)
        for one, near in shown
    )
    what = " (left out)" if policy == "skip" else ""
    times = sum(counts[one] for one in unseen)
    yield f"{times} of {total} characters unseen: {', '.join(fates)}{more}{what}"


def _quoted(character: str) -> str:
    """Quoted where the bare character would be lost in a list."""
    return repr(character) if character.isspace() or character in ",'\"→" else character
