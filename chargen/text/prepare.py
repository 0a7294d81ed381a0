"""From CORPUS arguments to tokens to learn and tokens to score: all of this room put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chargen.errors import CorpusError, UsageError, unknown_name
from chargen.text.corpus import DOCUMENT_MODES, Corpus, open_corpus
from chargen.text.reading import Reading
from chargen.text.registry import tokenizer_kind
from chargen.text.store import MIN_VALID, Tokens, build_tokenizer, encode_corpus
from chargen.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What to read, how to divide it, and into what kind of tokens."""

    corpus: tuple[str, ...] = ()
    """CORPUS arguments; none is the built-in corpus."""
    tokenizer: str = "char"
    """A row of `TOKENIZERS`."""
    vocab_size: int | None = None
    """Pieces of a subword tokenizer."""
    documents: str = "whole"
    """`whole`, `files` or `lines`."""
    encoding: str | None = None
    """Of the files; None recognises UTF-8 and byte order marks."""
    column: str | None = None
    """Of tables; None finds it."""
    valid: str | None = None
    """A text to validate on, instead of the corpus's tail."""
    valid_fraction: float = 0.1
    """The tail's share."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        tokenizer_kind(self.tokenizer)
        problems = []
        if self.documents not in DOCUMENT_MODES:
            problems.append(unknown_name("documents", self.documents, DOCUMENT_MODES))
        if not 0 <= self.valid_fraction < 1:
            problems.append(f"valid-fraction {self.valid_fraction}: must be at least 0 and below 1")
        if self.vocab_size is not None and not self.tokenizer.startswith("subword"):
            problems.append(
                f"vocab-size {self.vocab_size}: has no effect on the {self.tokenizer} tokenizer; "
                "leave it out, or use --tokenizer subword"
            )
        if [*self.corpus, self.valid].count("-") > 1:
            problems.append("'-' (standard input) can be read only once; name it once")
        if problems:
            raise UsageError("; ".join(problems))

    def open(self, names: Sequence[str]) -> Corpus:
        """A corpus of these names, read as these options say."""
        reading = Reading(
            encoding=self.encoding, column=self.column, as_bytes=self.tokenizer == "byte"
        )
        return open_corpus(names, documents=self.documents, reading=reading)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A corpus, ready to train on."""

    tokenizer: Tokenizer
    train: Tokens
    valid: Tokens
    card: dict[str, Any]
    notes: tuple[str, ...]


def prepare(options: TextOptions) -> Prepared:
    """Read a corpus, make its tokenizer, encode it and divide it.

    Raises:
        CorpusError: it cannot be read or is too short.
        UsageError: no such tokenizer.
    """
    corpus = options.open(options.corpus)
    extra = [] if options.valid is None else [options.open([options.valid])]
    tokenizer = build_tokenizer(corpus, options.tokenizer, options.vocab_size, *extra)
    store = encode_corpus(corpus, tokenizer)
    split: dict[str, Any]
    if extra:
        train, _ = store.split(0.0)
        valid = encode_corpus(extra[0], tokenizer).tokens
        if len(valid) < MIN_VALID:
            raise CorpusError(f"the validation text has {len(valid)} tokens: too short to score")
        split = {"valid": [asdict(one) for one in extra[0].fingerprints]}
    else:
        train, valid = store.split(options.valid_fraction, tokenizer.eos_id)
        split = {"valid_fraction": options.valid_fraction}
    notes = [note for one in (corpus, *extra) for note in one.notes()]
    if options.vocab_size is not None and tokenizer.vocab_size < options.vocab_size:
        notes.append(f"the corpus gives {tokenizer.vocab_size} subwords, not {options.vocab_size}")
    if 0 < len(valid) < 1000:
        notes.append(f"the validation part has only {len(valid)} tokens: its score says little")
    split |= {"train_tokens": len(train), "valid_tokens": len(valid)}
    card = {
        "corpus": [asdict(one) for one in corpus.fingerprints],
        "documents": options.documents,
        "split": split,
    }
    return Prepared(tokenizer=tokenizer, train=train, valid=valid, card=card, notes=tuple(notes))
