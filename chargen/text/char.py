"""The char tokenizer: one token a code point. Fast, because whole corpora go through it.

Shape letter: N tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from chargen.errors import CorpusError, ModelFileError, UsageError
from chargen.text.nearest import nearest
from chargen.text.tokenizer import Ids, TokenizerState


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
        self._ascii_fits = len(characters) < 255
        self._known_ascii = bytes(np.flatnonzero(low >= 0).astype(np.uint8))

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
        plain = self._encode_ascii(text)
        if plain is not None:
            return plain.astype(np.int32)
        ids = np.take(self._table, _code_points(text), mode="clip")
        if len(ids) == 0 or ids.min() >= 0:
            return ids
        return self._encode_unseen(text, ids, unknown)

    def encode_compact(self, text: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Ids (N,) in the store's own type: what `encode` gives, without the detour by int32."""
        plain = self._encode_ascii(text)
        if plain is not None:
            return plain.astype(dtype, copy=False)
        unknown = np.iinfo(np.dtype(dtype)).max
        if self.vocab_size > unknown:
            return self.encode(text).astype(dtype)
        ids: npt.NDArray[Any] = np.take(self._table.astype(dtype), _code_points(text), mode="clip")
        # -1 became the largest number of the type, which is no id.
        return self.encode(text).astype(dtype) if (ids == unknown).any() else ids

    def _encode_ascii(self, text: str) -> npt.NDArray[np.uint8] | None:
        """Ids of a text of known ASCII characters; None of any other."""
        if not (self._ascii_fits and text.isascii()):
            return None
        raw = text.encode("ascii")
        if raw.translate(None, self._known_ascii):
            return None
        return np.frombuffer(raw.translate(self._ascii), np.uint8)

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
            codes = _code_points(chunk)
            # Looking is four times faster than marking, and most chunks bring nothing new.
            if not np.take(self._seen, codes).all():
                self._seen[codes] = True

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


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
