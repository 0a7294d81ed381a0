"""Tokenizers: text to ids and back, character by character or byte by byte.

A tokenizer knows nothing of models, corpora or files. `TOKENIZERS` is the table of kinds;
`subword` lives in subword.py because it stands on a library.

Shape letters: V vocabulary, N tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError, ModelFileError, UsageError, unknown_name
from chargen.text.nearest import nearest

Ids = npt.NDArray[np.int32]
UNKNOWN_POLICIES = ("nearest", "skip", "error")


@dataclass(frozen=True, kw_only=True)
class TokenizerState:
    """What a model file keeps of a tokenizer: JSON settings, and bytes for what is not JSON."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    blob: bytes | None = None


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


class CharTokenizer:
    """One token a code point, in code point order; the end-of-document token comes last.

    `decode(encode(text)) == text` for every text made of known characters.
    """

    kind: ClassVar[str] = "char"
    reads_bytes: ClassVar[bool] = False

    def __init__(self, characters: str, *, documents: bool = False) -> None:
        self.characters = characters
        self.eos_id = len(characters) if documents else None
        self.vocab_size = len(characters) + documents
        self._known = frozenset(characters)
        self._bytes = [one.encode("utf-8", "replace") for one in characters]
        codes = _code_points(characters)
        # One entry past the highest known character stands for all that lie above it.
        self._table = np.full(int(codes.max()) + 2, -1, np.int32)
        self._table[codes] = np.arange(len(characters), dtype=np.int32)
        low = self._table[:128]
        low = np.concatenate([low, np.full(128 - len(low), -1, np.int32)])
        # bytes.translate is several times faster than indexing, where ids fit in a byte.
        self._ascii = low.astype(np.uint8).tobytes().ljust(256, b"\xff")
        self._ascii_known = len(characters) < 255
        self._ascii_foreign = bytes(np.flatnonzero(low >= 0).astype(np.uint8))

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,) of `text`.

        Args:
            text: bytes are read as UTF-8.
            unknown: `nearest` replaces, `skip` leaves out, `error` refuses unseen characters.

        Raises:
            UsageError: `unknown` is `error` and a character has no token.
        """
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        if self._ascii_known and text.isascii():
            raw = text.encode("ascii")
            if not raw.translate(None, self._ascii_foreign):
                return np.frombuffer(raw.translate(self._ascii), np.uint8).astype(np.int32)
        ids = np.take(self._table, _code_points(text), mode="clip")
        if len(ids) == 0 or ids.min() >= 0:
            return ids
        return self._encode_unseen(text, ids, unknown)

    def encode_compact(self, text: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Ids (N,) in the store's own type: what `encode` gives, without the detour by int32."""
        if self._ascii_known and dtype == np.uint8 and text.isascii():
            raw = text.encode("ascii")
            if not raw.translate(None, self._ascii_foreign):
                return np.frombuffer(raw.translate(self._ascii), np.uint8)
        return self.encode(text).astype(dtype)

    def _encode_unseen(self, text: str, ids: Ids, unknown: str) -> Ids:
        missing = self.unseen(text)
        if unknown == "error":
            listing = ", ".join(f"'{one}' (U+{ord(one):04X})" for one in list(missing)[:5])
            raise UsageError(
                f"{len(missing)} characters have no token: {listing}; "
                "use --unknown nearest or --unknown skip"
            )
        if unknown == "nearest":
            codes = _code_points(text)
            for one, near in missing.items():
                ids[codes == ord(one)] = self._table[ord(near)]
        return ids[ids >= 0]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; the end-of-document token is nothing."""
        return "".join(self.characters[one : one + 1] for one in ids)

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of the character; empty for the end of a document."""
        return self._bytes[token_id] if token_id < len(self._bytes) else b""

    def unseen(self, text: str) -> dict[str, str]:
        """Unseen characters in order of appearance, each with its nearest known relative."""
        missing = (one for one in dict.fromkeys(text) if one not in self._known)
        return {one: nearest(one, self._known) for one in missing}

    def to_state(self) -> TokenizerState:
        """Settings `characters` and `documents`."""
        documents = self.eos_id is not None
        settings = {"characters": self.characters, "documents": documents}
        return TokenizerState(kind=self.kind, settings=settings)

    @classmethod
    def from_state(cls, state: TokenizerState) -> CharTokenizer:
        """Rebuild from a model file.

        Raises:
            ModelFileError: the settings are not those of a char tokenizer.
        """
        characters = state.settings.get("characters")
        if not isinstance(characters, str) or not characters:
            raise ModelFileError("its char tokenizer lists no characters")
        if list(characters) != sorted(set(characters)):
            raise ModelFileError("its char tokenizer's characters are not sorted and distinct")
        return cls(characters, documents=bool(state.settings.get("documents", False)))


class CharBuilder:
    """Collects the distinct code points of a corpus."""

    def __init__(self, vocab_size: int | None = None) -> None:
        self._ascii = b""
        self._seen = np.zeros(0x110000, bool)

    def feed(self, chunk: str | bytes) -> None:
        """Note the characters of `chunk`."""
        assert isinstance(chunk, str)
        if chunk.isascii():
            # Deleting all that is known leaves next to nothing to look at.
            rest = chunk.encode("ascii").translate(None, self._ascii)
            if rest:
                self._ascii += bytes(sorted(set(rest)))
        else:
            self._seen[_code_points(chunk)] = True

    def finish(self, *, documents: bool) -> CharTokenizer:
        """The sorted characters as a tokenizer.

        Raises:
            CorpusError: fewer than two distinct characters.
        """
        self._seen[list(self._ascii)] = True
        characters = "".join(map(chr, np.flatnonzero(self._seen)))
        if len(characters) < 2:
            raise CorpusError(
                f"the corpus has {len(characters)} distinct character"
                f"{'' if len(characters) == 1 else 's'}: there is nothing to predict; "
                "give a text with at least two"
            )
        return CharTokenizer(characters, documents=documents)


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


@dataclass(frozen=True, kw_only=True)
class TokenizerKind:
    """A row of `TOKENIZERS`."""

    help: str
    builder: Callable[[int | None], Builder]
    from_state: Callable[[TokenizerState], Tokenizer]


def _subword_builder(vocab_size: int | None) -> Builder:
    from chargen.text.subword import SubwordBuilder  # 15 ms that only subword models pay

    return SubwordBuilder(vocab_size)


def _bpe_builder(vocab_size: int | None) -> Builder:
    from chargen.text.subword import SubwordBuilder

    return SubwordBuilder(vocab_size, algorithm="bpe")


def _subword_from_state(state: TokenizerState) -> Tokenizer:
    from chargen.text.subword import SubwordTokenizer

    return SubwordTokenizer.from_state(state)


TOKENIZERS: dict[str, TokenizerKind] = {
    "char": TokenizerKind(
        help="one token a character", builder=CharBuilder, from_state=CharTokenizer.from_state
    ),
    "byte": TokenizerKind(
        help="one token a byte; reads any file",
        builder=ByteBuilder,
        from_state=ByteTokenizer.from_state,
    ),
    "subword": TokenizerKind(
        help="SentencePiece unigram pieces",
        builder=_subword_builder,
        from_state=_subword_from_state,
    ),
    "subword-bpe": TokenizerKind(
        help="SentencePiece byte-pair pieces",
        builder=_bpe_builder,
        from_state=_subword_from_state,
    ),
}


def tokenizer_kind(name: str) -> TokenizerKind:
    """The row of `TOKENIZERS` called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in TOKENIZERS:
        raise UsageError(unknown_name("tokenizer", name, TOKENIZERS))
    return TOKENIZERS[name]


def tokenizer_from_state(state: TokenizerState) -> Tokenizer:
    """Rebuild the tokenizer a model file carries.

    Raises:
        ModelFileError: its kind or its settings are not known here.
    """
    if state.kind not in TOKENIZERS:
        raise ModelFileError(f"its tokenizer is of a kind unknown here: {state.kind!r}")
    return TOKENIZERS[state.kind].from_state(state)


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


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


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
    fates = (f"{one} → {near}" if policy == "nearest" else one for one, near in shown)
    what = " (left out)" if policy == "skip" else ""
    times = sum(counts[one] for one in unseen)
    yield f"{times} of {total} characters unseen: {', '.join(fates)}{more}{what}"
