"""The table of tokenizers: their names, and how each is made for a corpus or rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from chargen import hints
from chargen.errors import ModelFileError, UsageError, unknown_name
from chargen.text.char import CharBuilder, CharTokenizer
from chargen.text.corpus_tokenizer import with_corpus_settings
from chargen.text.pieces import EXAMPLE, PieceBuilder, PieceTokenizer, compile_pattern
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
    builder: Callable[..., Builder]
    """Makes a builder, given those of the options that it takes."""
    from_state: Callable[[TokenizerState], Tokenizer]
    options: tuple[str, ...] = ()
    """Which of `vocab_size` (the most tokens) and `pattern` (a regular expression) it takes."""
    unit: str = "tokens"
    """What the tokens beside single characters are called."""


def _subword_builder(vocab_size: int | None = None) -> Builder:
    from chargen.text.subword import SubwordBuilder  # a slow import: only subword models need it

    return SubwordBuilder(vocab_size)


def _bpe_builder(vocab_size: int | None = None) -> Builder:
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
        options=("vocab_size",),
        unit="subwords",
    ),
    "subword-bpe": TokenizerKind(
        help="SentencePiece byte-pair pieces",
        builder=_bpe_builder,
        from_state=_subword_from_state,
        options=("vocab_size",),
        unit="subwords",
    ),
    "words": TokenizerKind(
        help="frequent words and punctuation marks, else characters",
        builder=partial(PieceBuilder, "words"),
        from_state=PieceTokenizer.from_state,
        options=("vocab_size",),
        unit="words and characters",
    ),
    "spaces": TokenizerKind(
        help="frequent symbols between blanks (chords, k-mers, moves), else characters",
        builder=partial(PieceBuilder, "spaces"),
        from_state=PieceTokenizer.from_state,
        options=("vocab_size",),
        unit="symbols and characters",
    ),
    "regex": TokenizerKind(
        help="frequent matches of --pattern, else characters",
        builder=partial(PieceBuilder, "regex"),
        from_state=PieceTokenizer.from_state,
        options=("vocab_size", "pattern"),
        unit="matches and characters",
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


def check_tokenizer(name: str, *, vocab_size: int | None, pattern: str | None) -> None:
    """Checks the options of a tokenizer without loading what learns it.

    Raises:
        UsageError: there is no such tokenizer, or an option is missing, wrong, or has no effect.
    """
    kind = tokenizer_kind(name)
    for option, value in (("vocab_size", vocab_size), ("pattern", pattern)):
        if value is not None and option not in kind.options:
            taker = next(other for other, row in TOKENIZERS.items() if option in row.options)
            raise UsageError(
                f"{option.replace('_', '-')} {value}: has no effect on the {name} tokenizer"
                + hints.ways("leave it out", ("use", hints.option("--tokenizer", taker)))
            )
    if pattern is not None:
        compile_pattern(pattern)
    elif "pattern" in kind.options:
        raise UsageError(
            f"the {name} tokenizer needs a regular expression that finds its tokens"
            + hints.ways(("give", hints.any_of("--pattern")))
            + f", such as {EXAMPLE}"
        )


def tokenizer_builder(
    name: str, *, vocab_size: int | None = None, pattern: str | None = None
) -> Builder:
    """Makes the builder of a tokenizer.

    Args:
        name: a row of `TOKENIZERS`.
        vocab_size: the most tokens; None is the tokenizer's default.
        pattern: the regular expression of the `regex` tokenizer.

    Raises:
        UsageError: there is no such row, or an option is missing, wrong, or has no effect.
    """
    check_tokenizer(name, vocab_size=vocab_size, pattern=pattern)
    kind = TOKENIZERS[name]
    given = {"vocab_size": vocab_size, "pattern": pattern}
    return kind.builder(**{option: given[option] for option in kind.options})


def tokenizer_from_state(state: TokenizerState) -> Tokenizer:
    """Rebuilds the tokenizer that a model file stores.

    Raises:
        ModelFileError: the kind is unknown or the settings are damaged.
    """
    if state.kind not in TOKENIZERS:
        raise ModelFileError(f"its tokenizer is of a kind unknown here: {state.kind!r}")
    return with_corpus_settings(TOKENIZERS[state.kind].from_state(state), state)
