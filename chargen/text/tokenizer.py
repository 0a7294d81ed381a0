"""What every tokenizer can do, the byte tokenizer, and decoding token by token.

A tokenizer does not know models, corpora or files. The other tokenizers are in char.py,
pieces.py and subword.py, the table of all of them in registry.py.

Shape letters: V vocabulary, N tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError

Ids = npt.NDArray[np.int32]
Tokens = npt.NDArray[Any]
"""(N,): ids as they are stored, of the smallest unsigned type that holds them."""
UNKNOWN_POLICIES = ("nearest", "skip", "error")
"""What happens to unseen characters: they are replaced, left out, or refused."""


@dataclass(frozen=True, kw_only=True)
class TokenizerState:
    """The part of a model file about its tokenizer: JSON settings, and bytes for the rest."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    blob: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """Kind and settings as plain values, without the blob."""
        return {"kind": self.kind, **self.settings}


class Tokenizer(Protocol):
    """Text to ids and back."""

    @property
    def kind(self) -> str:
        """A row of `TOKENIZERS`."""

    @property
    def reads_bytes(self) -> bool:
        """True if the tokenizer reads a corpus as raw bytes instead of decoded text."""

    vocab_size: int
    eos_id: int | None
    """The end-of-document token; None for a tokenizer that was made for one whole text."""

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,) of `text`; `unknown` is one of `UNKNOWN_POLICIES`."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; invalid UTF-8 shows as U+FFFD."""

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes that a token stands for, which may be a part of a character."""

    def unseen(self, text: str) -> dict[str, str]:
        """The characters of `text` that have no token, each with its replacement."""

    def to_state(self) -> TokenizerState:
        """Everything needed to rebuild this tokenizer."""


def newline_id(tokenizer: Tokenizer) -> int | None:
    """The id of a line end, which is one token in every tokenizer; None if it has none."""
    if tokenizer.unseen("\n"):
        return None
    ids = tokenizer.encode("\n")
    assert len(ids) == 1
    return int(ids[0])


class Builder(Protocol):
    """Reads a corpus once, chunk by chunk, and makes a tokenizer for it."""

    def feed(self, chunk: str | bytes) -> None:
        """Reads the next chunk."""

    def finish(self, *, documents: bool) -> Tokenizer:
        """Makes the tokenizer; with `documents` it has an end-of-document token."""


class ByteTokenizer:
    """One token per byte, and the end-of-document token after these 256. Reads any file."""

    kind: ClassVar[str] = "byte"
    reads_bytes: ClassVar[bool] = True

    def __init__(self, *, documents: bool = False) -> None:
        self.eos_id = 256 if documents else None
        self.vocab_size = 256 + documents

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,): the bytes, in UTF-8 for text. No byte is unknown."""
        raw = text if isinstance(text, bytes) else utf8(text)
        return np.frombuffer(raw, np.uint8).astype(np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """UTF-8 text of `ids`, invalid bytes as U+FFFD."""
        return bytes(token for token in ids if token < 256).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The byte; empty for the end-of-document token."""
        return bytes((token_id,)) if token_id < 256 else b""

    def unseen(self, text: str) -> dict[str, str]:
        """Always empty."""
        return {}

    def to_state(self) -> TokenizerState:
        """Setting `documents`."""
        return TokenizerState(kind=self.kind, settings={"documents": self.eos_id is not None})

    @classmethod
    def from_state(cls, state: TokenizerState) -> ByteTokenizer:
        """Rebuilds the tokenizer from the state in a model file."""
        return cls(documents=bool(state.settings.get("documents", False)))


class ByteBuilder:
    """Makes a byte tokenizer, which depends on no corpus."""

    def __init__(self) -> None:
        self._distinct: set[int] = set()

    def feed(self, chunk: str | bytes) -> None:
        """Notes which bytes occur: a corpus of one byte value is refused."""
        if len(self._distinct) < 2:
            self._distinct |= set(chunk if isinstance(chunk, bytes) else utf8(chunk))

    def finish(self, *, documents: bool) -> ByteTokenizer:
        """The tokenizer.

        Raises:
            CorpusError: fewer than two distinct bytes.
        """
        if len(self._distinct) < 2:
            raise CorpusError(
                f"the corpus has {len(self._distinct)} distinct bytes: there is nothing to "
                "predict; give a text with at least two"
            )
        return ByteTokenizer(documents=documents)


class StreamDecoder:
    """Decodes one token at a time; waits for the rest of a character that tokens divide."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The characters that these bytes complete; may be empty."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What is left at the end: U+FFFD for an incomplete character."""
        return self._decoder.decode(b"", final=True)


def token_lengths(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """The bytes and the characters that each token stands for: an array (2, V).

    A character belongs to the token that holds its first byte.
    """
    lengths = np.zeros((2, tokenizer.vocab_size), np.int64)
    for token_id in range(tokenizer.vocab_size):
        data = tokenizer.token_bytes(token_id)
        lengths[0, token_id] = len(data)
        lengths[1, token_id] = sum(byte & 0xC0 != 0x80 for byte in data)
    return lengths


def utf8(text: str) -> bytes:
    """UTF-8 of any str. Invalid bytes of a command line become the bytes that they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
