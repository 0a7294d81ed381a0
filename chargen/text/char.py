"""The char tokenizer: one token per code point.

It is written for speed, because it encodes whole corpora. Shape letter: N tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError, ModelFileError, UsageError
from chargen.hints import option, ways
from chargen.text.nearest import nearest
from chargen.text.tokenizer import Ids, TokenizerState


class CharTokenizer:
    """One token per code point, in code point order; the end-of-document token comes last.

    `decode(encode(text)) == text` for every text of known characters.

    Args:
        characters: the known characters, sorted and distinct.
        documents: whether there is an end-of-document token.
    """

    kind: ClassVar[str] = "char"
    reads_bytes: ClassVar[bool] = False

    def __init__(self, characters: str, *, documents: bool = False) -> None:
        self.characters = characters
        self.eos_id = len(characters) if documents else None
        self.vocab_size = len(characters) + documents
        self._known_characters = frozenset(characters)
        self._bytes = [character.encode("utf-8", "replace") for character in characters]
        codes = code_points(characters)
        # The last entry stands for every code point above the highest known one.
        self._id_of = np.full(int(codes.max()) + 2, -1, np.int32)
        self._id_of[codes] = np.arange(len(characters), dtype=np.int32)
        ascii_ids = self._id_of[:128]
        ascii_ids = np.concatenate([ascii_ids, np.full(128 - len(ascii_ids), -1, np.int32)])
        # bytes.translate is several times faster than indexing, if ids fit into a byte.
        self._ascii_table = ascii_ids.astype(np.uint8).tobytes().ljust(256, b"\xff")
        self._ascii_fits = len(characters) < 255
        self._known_ascii = bytes(np.flatnonzero(ascii_ids >= 0).astype(np.uint8))

    def encode(self, text: str | bytes, unknown: str = "nearest") -> Ids:
        """Ids (N,) of `text`.

        Args:
            text: bytes are read as UTF-8.
            unknown: what happens to unseen characters: `nearest` replaces them, `skip` leaves
                them out, `error` raises.

        Raises:
            UsageError: `unknown` is `error` and a character has no token.
        """
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        ascii_ids = self._encode_ascii(text)
        if ascii_ids is not None:
            return ascii_ids.astype(np.int32)
        ids = np.take(self._id_of, code_points(text), mode="clip")
        if len(ids) == 0 or ids.min() >= 0:
            return ids
        return self._encode_unseen(text, ids, unknown)

    def encode_compact(self, text: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Ids (N,) of `text` as `dtype`: the ids of `encode`, without an int32 array between."""
        ascii_ids = self._encode_ascii(text)
        if ascii_ids is not None:
            return ascii_ids.astype(dtype, copy=False)
        unknown = np.iinfo(np.dtype(dtype)).max
        if self.vocab_size > unknown:
            return self.encode(text).astype(dtype)
        ids: npt.NDArray[Any] = np.take(self._id_of.astype(dtype), code_points(text), mode="clip")
        # -1, an unseen character, became the largest number of the type, which is not an id.
        return self.encode(text).astype(dtype) if (ids == unknown).any() else ids

    def _encode_ascii(self, text: str) -> npt.NDArray[np.uint8] | None:
        """Ids of a text of known ASCII characters; None for any other text."""
        if not (self._ascii_fits and text.isascii()):
            return None
        raw = text.encode("ascii")
        if raw.translate(None, self._known_ascii):
            return None
        return np.frombuffer(raw.translate(self._ascii_table), np.uint8)

    def _encode_unseen(self, text: str, ids: Ids, unknown: str) -> Ids:
        missing = self.unseen(text)
        if unknown == "error":
            listing = ", ".join(
                f"'{character}' (U+{ord(character):04X})" for character in list(missing)[:5]
            )
            characters = (
                "1 character has" if len(missing) == 1 else f"{len(missing)} characters have"
            )
            raise UsageError(
                f"{characters} no token: {listing}"
                + ways(*(("use", option("--unknown", policy)) for policy in ("nearest", "skip")))
            )
        if unknown == "nearest":
            codes = code_points(text)
            for character, replacement in missing.items():
                ids[codes == ord(character)] = self._id_of[ord(replacement)]
        return ids[ids >= 0]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; the end-of-document token gives no text."""
        return "".join(self.characters[token : token + 1] for token in ids)

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 of the character; empty for the end-of-document token."""
        return self._bytes[token_id] if token_id < len(self._bytes) else b""

    def unseen(self, text: str) -> dict[str, str]:
        """Unseen characters in order of appearance, each with the nearest known character."""
        known_characters = self._known_characters
        missing = (letter for letter in dict.fromkeys(text) if letter not in known_characters)
        return {letter: nearest(letter, known_characters) for letter in missing}

    def to_state(self) -> TokenizerState:
        """Settings `characters` and `documents`."""
        documents = self.eos_id is not None
        settings = {"characters": self.characters, "documents": documents}
        return TokenizerState(kind=self.kind, settings=settings)

    @classmethod
    def from_state(cls, state: TokenizerState) -> CharTokenizer:
        """Rebuilds the tokenizer from the state in a model file.

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

    def __init__(self) -> None:
        self._seen_ascii = b""
        self._seen = np.zeros(0x110000, bool)

    def feed(self, chunk: str | bytes) -> None:
        """Notes the characters of `chunk`."""
        assert isinstance(chunk, str)
        if chunk.isascii():
            # Deleting the seen characters is fast and leaves almost nothing to look at.
            unseen = chunk.encode("ascii").translate(None, self._seen_ascii)
            if unseen:
                self._seen_ascii += bytes(sorted(set(unseen)))
        else:
            codes = code_points(chunk)
            # Reading is four times faster than writing, and most chunks have nothing new.
            if not np.take(self._seen, codes).all():
                self._seen[codes] = True

    def finish(self, *, documents: bool) -> CharTokenizer:
        """The sorted characters as a tokenizer.

        Raises:
            CorpusError: fewer than two distinct characters.
        """
        self._seen[list(self._seen_ascii)] = True
        characters = "".join(map(chr, np.flatnonzero(self._seen)))
        if len(characters) < 2:
            raise CorpusError(
                f"the corpus has {len(characters)} distinct character"
                f"{'' if len(characters) == 1 else 's'}: there is nothing to predict; "
                "give a text with at least two"
            )
        return CharTokenizer(characters, documents=documents)


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The code points (N,) of a text; lone surrogates stay."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
