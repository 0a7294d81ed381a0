"""The table of tokenizers: their names, how they are made, and how they are rebuilt."""

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
        help="one token a byte, reads any file",
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
