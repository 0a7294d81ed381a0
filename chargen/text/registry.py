"""The table of tokenizers: their names, and how each is made for a corpus or rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chargen.errors import ModelFileError, UsageError, unknown_name
from chargen.text.char import CharBuilder, CharTokenizer
from chargen.text.tokenizer import (
    Builder,
    ByteBuilder,
    ByteTokenizer,
    Tokenizer,
    TokenizerState,
)


@dataclass(frozen=True, kw_only=True)
class TokenizerKind:
    """A row of `TOKENIZERS`."""

    help: str
    builder: Callable[[int | None], Builder]
    """Makes a builder, given the size of the vocabulary (None: its default)."""
    from_state: Callable[[TokenizerState], Tokenizer]


def _subword_builder(vocab_size: int | None) -> Builder:
    from chargen.text.subword import SubwordBuilder  # a slow import: only subword models need it

    return SubwordBuilder(vocab_size)


def _bpe_builder(vocab_size: int | None) -> Builder:
    from chargen.text.subword import SubwordBuilder

    return SubwordBuilder(vocab_size, algorithm="bpe")


def _subword_from_state(state: TokenizerState) -> Tokenizer:
    from chargen.text.subword import SubwordTokenizer

    return SubwordTokenizer.from_state(state)


TOKENIZERS: dict[str, TokenizerKind] = {
    "char": TokenizerKind(
        help="one token per character", builder=CharBuilder, from_state=CharTokenizer.from_state
    ),
    "byte": TokenizerKind(
        help="one token per byte, reads any file",
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
        UsageError: there is no such row.
    """
    if name not in TOKENIZERS:
        raise UsageError(unknown_name("tokenizer", name, TOKENIZERS))
    return TOKENIZERS[name]


def tokenizer_from_state(state: TokenizerState) -> Tokenizer:
    """Rebuilds the tokenizer that a model file stores.

    Raises:
        ModelFileError: the kind is unknown or the settings are damaged.
    """
    if state.kind not in TOKENIZERS:
        raise ModelFileError(f"its tokenizer is of a kind unknown here: {state.kind!r}")
    return TOKENIZERS[state.kind].from_state(state)
